"""Makes the dictionaries by which bodies of the journal are compressed (``gateway.storage.payloads``), from simulated messages.

    python -m tests.dictionaries [--seed 1] [--seconds 60] [--write]

A gateway reads all venues under the load of the crash matrix; of each venue and kind of message those bodies are taken that save
most on the others. With ``--write`` they become files, under the next numbers: those that are there stay as they are, since stored
rows need them. It prints how much of a second life, of another seed, they leave, and how much the present ones do. To be run again
when messages have other fields than before.
"""

from __future__ import annotations

import argparse
import asyncio
import re
import tempfile
import zlib
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path
from unittest.mock import patch

from gateway.core.journal import Entry
from gateway.storage import payloads
from gateway.storage.checkpoint import Checkpoint
from tests.system.burden import Burden
from tests.system.desk import desk, running_simulator
from tests.system.expected import Books

FOLDER = Path(payloads.__file__).parent / "dictionaries"
_FIGURES = re.compile(rb"0x[0-9a-f]+|-?\d[\d.]*")
_SHAPE_BYTES = 400  # messages that begin alike but for their figures are of one shape
_PIECE_BYTES = 2_048  # of a message: larger ones compress by themselves
_LEAST_BYTES = 40  # a message that is compressed to less needs no example

Bodies = Mapping[str, list[bytes]]  # by group


async def lived(seed: int, seconds: float) -> Bodies:
    """Return what a gateway puts down of so many seconds."""
    entries: list[Entry] = []
    plain = Checkpoint.put_entry

    def put_entry(self: Checkpoint, entry: Entry) -> None:
        entries.append(entry)
        plain(self, entry)

    with tempfile.TemporaryDirectory(prefix="perpwire-") as folder, patch.object(Checkpoint, "put_entry", put_entry):
        async with running_simulator(seed) as simulator, desk(simulator, Path(folder)) as shown:
            await shown.live()
            accounts = sorted(shown.gateway.config.accounts)
            async with Burden(simulator, seed, accounts, Books(accounts)).running():
                await asyncio.sleep(seconds)
    found = defaultdict(list)
    for entry in entries:
        if entry.body:
            found[payloads.group(entry.kind, entry.venue)].append(entry.body.encode())
    return found


def dictionary(bodies: Iterable[bytes]) -> bytes:
    """Return the bodies that save most on the others, the best of them last, where it is nearest."""
    shapes = defaultdict(list)
    for body in bodies:
        shapes[_FIGURES.sub(b"0", body)[:_SHAPE_BYTES]].append(body)
    left = {bodies[0][:_PIECE_BYTES]: len(bodies) ** 0.5 for bodies in shapes.values()}
    found = b""
    while left:
        costs = {piece: compressed(piece, found) for piece in left}
        best = max(left, key=lambda piece: left[piece] * (costs[piece] - _LEAST_BYTES / 2) / len(piece))
        del left[best]
        if costs[best] > _LEAST_BYTES and len(found) + len(best) <= payloads.MOST_BYTES:
            found = best + found
    return found


def compressed(body: bytes, by: bytes) -> int:
    """Return how many bytes are left of a body."""
    made = zlib.compressobj(6, zlib.DEFLATED, 14, 8, zlib.Z_DEFAULT_STRATEGY, by)
    return len(made.compress(body) + made.flush())


def left_of(bodies: Bodies, by: Mapping[str, bytes]) -> str:
    """Say how much of each group is left."""
    parts = []
    for group, of in sorted(bodies.items()):
        size, left = sum(map(len, of)), sum(compressed(body, by.get(group, b"")) for body in of)
        parts.append(f"{group} {left / size:.0%} of {len(of):,}, on average {size / len(of):,.0f} bytes")
    return "\n  ".join(parts)


def write(made: Mapping[str, bytes]) -> None:
    """Add files of the next numbers."""
    present = payloads.known().newest
    for group, data in made.items():
        number = present[group].number + 1 if group in present else 1
        (FOLDER / f"{group}-{number}-{zlib.adler32(data):08x}.dict").write_bytes(data)


def main() -> None:
    """Make them, and print what they do."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--write", action="store_true", help="add the files")
    given = parser.parse_args()
    made = {group: dictionary(of) for group, of in asyncio.run(lived(given.seed, given.seconds)).items()}
    other = asyncio.run(lived(given.seed + 1, given.seconds))
    present = {group: one.data for group, one in payloads.known().newest.items()}
    print(f"by the present ones:\n  {left_of(other, present)}")
    print(f"by these:\n  {left_of(other, made)}")
    if given.write:
        write(made)


if __name__ == "__main__":
    main()
