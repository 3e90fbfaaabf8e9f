"""The stored form of the journal's bodies: zlib with a preset dictionary for each venue and kind of message.

Owns the dictionaries, and the only way in and out. A message of 600 bytes holds little that was not in the one before it: names of
fields, symbols, accounts. A dictionary has these; what is stored is the rest. The bytes say themselves which dictionary they need:
the header of a zlib stream carries its Adler-32 (RFC 1950, section 2.2), and its end that of the text.

The dictionaries are files of this package, ``VENUE-KIND-NUMBER-ADLER32.dict``. None is ever changed or removed, since older rows
need it: better ones get the next number, and what is written takes the highest. ``python -m tests.dictionaries`` makes them, from
messages of the simulator.
"""

from __future__ import annotations

import asyncio
import functools
import zlib
from collections.abc import Iterable, Mapping, Sequence
from importlib import resources
from typing import NamedTuple

from gateway.core.journal import Entry
from gateway.storage.batch import EntryRow
from gateway.storage.errors import DictionaryChanged, PayloadUnreadable

MOST_BYTES = (1 << 14) - 262  # of a dictionary: what a window of 16 KB reaches back to
OWN = "gateway-turn"  # of what the engine was given, and of everything that no other is for
# Of a message's time a third goes into the copy of a primed compressor, which is small thus; more effort saves a twentieth.
_LEVEL, _WINDOW_BITS, _MEMORY = 3, 14, 5
_HEADER_BYTES, _HAS_DICTIONARY = 6, 0x20


class Dictionary(NamedTuple):
    """One file: what it is for, which of those it is, and what stored bytes call it."""

    group: str
    number: int
    adler: int
    data: bytes


class _Known(NamedTuple):
    by_adler: Mapping[int, Dictionary]
    newest: Mapping[str, Dictionary]  # by group


def group(kind: str, venue: str | None) -> str:
    """Return what a body is like: the name of its dictionaries."""
    return f"{venue}-{kind}" if kind in ("ws", "rest") else OWN


def parse(name: str, data: bytes) -> Dictionary:
    """Return the dictionary in a file of this name.

    Raises:
        DictionaryChanged: It is not what its name says.
    """
    of, number, adler = name.removesuffix(".dict").rsplit("-", 2)
    if zlib.adler32(data) != int(adler, 16):
        raise DictionaryChanged(name)
    return Dictionary(of, int(number), int(adler, 16), data)


@functools.cache
def known() -> _Known:
    """Return every dictionary; the files are read once.

    Raises:
        DictionaryChanged: One of them is not what its name says.
    """
    files = (
        one for one in resources.files(__package__).joinpath("dictionaries").iterdir() if one.name.endswith(".dict")
    )
    found = sorted(parse(one.name, one.read_bytes()) for one in files)
    return _Known({one.adler: one for one in found}, {one.group: one for one in found})


def pack(kind: str, venue: str | None, text: str) -> bytes:
    """Return what is stored of a body; nothing of an empty one. Half a surrogate pair, which no bytes can say, becomes "?"."""
    if not text:
        return b""
    primed = _primed(group(kind, venue)).copy()  # it has its dictionary already, which takes longer than a message
    return primed.compress(text.encode(errors="replace")) + primed.flush()


def unpack(stored: bytes, place: int) -> str:
    """Return a body as it came. ``place``: of its entry, for the error.

    Raises:
        PayloadUnreadable: The bytes are damaged, or need a dictionary that is not here.
    """
    if not stored:
        return ""
    dictionary = None
    if len(stored) >= _HEADER_BYTES and stored[1] & _HAS_DICTIONARY:
        adler = int.from_bytes(stored[2:_HEADER_BYTES])
        dictionary = known().by_adler.get(adler)
        if dictionary is None:
            raise PayloadUnreadable(place, f"it needs the dictionary {adler:08x}, which this version does not have")
    try:
        reader = zlib.decompressobj(zdict=dictionary.data) if dictionary else zlib.decompressobj()
        text = reader.decompress(stored).decode()
    except (zlib.error, UnicodeDecodeError) as error:
        raise PayloadUnreadable(place, f"its bytes are damaged ({error})") from None
    if not reader.eof or reader.unused_data:
        raise PayloadUnreadable(place, "its bytes are damaged (they end too early, or go on behind their end)")
    return text


@functools.cache
def _primed(of: str) -> zlib._Compress:
    newest = known().newest
    found = newest.get(of) or newest.get(OWN)
    given = (found.data,) if found else ()  # there is none where the first ones are being made
    return zlib.compressobj(_LEVEL, zlib.DEFLATED, _WINDOW_BITS, _MEMORY, zlib.Z_DEFAULT_STRATEGY, *given)


def rows(entries: Iterable[Entry | EntryRow]) -> list[EntryRow]:
    """Return entries as they are stored; those that are so already stay as they are."""
    return [one if isinstance(one, EntryRow) else _row(one) for one in entries]


async def rows_beside(entries: Sequence[Entry | EntryRow]) -> list[EntryRow]:
    """The same in a thread: 10 to 20 µs an entry, for the most part of which zlib leaves the loop to itself."""
    return await asyncio.to_thread(rows, entries) if entries else []


def _row(one: Entry) -> EntryRow:
    causes = f"{{{','.join(map(str, one.causes))}}}" if one.causes else None
    whose = (one.user, one.account, one.venue, one.source, one.request, one.request_id, one.venue_at)
    body = pack(one.kind, one.venue, one.body)
    return EntryRow(one.id, one.at, one.kind, one.epoch, one.turn, one.seq, *whose, causes, body)
