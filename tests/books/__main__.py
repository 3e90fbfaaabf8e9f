"""``python -m tests.books [--seed N] [--rounds N]``: books of recordings and of the simulator, untouched and tampered with.

Ends with one line of JSON; status 1 where untouched books have something unexplained, or a fault is not one line.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
from collections import Counter
from pathlib import Path

from gateway.storage.embedded import EmbeddedPostgres
from gateway.storage.migrate import upgrade
from tests.books.captured import compared
from tests.books.simulated import Outcome, lived, unexplained

async def simulated(seed: int, rounds: int) -> Outcome:
    """Live on a database of its own."""
    with tempfile.TemporaryDirectory(prefix="perpwire-books-") as made:
        folder = Path(made)
        postgres = EmbeddedPostgres(folder / "database")
        try:
            dsn = await postgres.start()
            await upgrade(dsn)
            (folder / "gateway").mkdir(mode=0o700)
            return await lived(dsn, folder / "gateway", seed, rounds)
        finally:
            await postgres.stop()


def main() -> None:
    """Verify and print."""
    parser = argparse.ArgumentParser(prog="make verify-books", description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    captures = compared()
    for venue, one in captures.items():
        print(f"captured {venue}: n = {one.n}, {dict(one.classes) or 'nothing was captured that could be compared'}")
    outcome = asyncio.run(simulated(given.seed, given.rounds))
    left = [(name, one) for name, rows in outcome.rows.items() for one in unexplained(rows)]
    for name, rows in outcome.rows.items():
        classes = Counter(one.cls for row in rows for one in row.findings)
        books = sum(row.compared for row in rows if row.symbol is None)
        print(f"{name}: n = {sum(row.compared for row in rows) - books}, {books} balances, {dict(classes)}")
    print(f"happened: {dict(outcome.done)}")
    for name, finding in left:
        print(f"unexplained: {name} {finding.symbol}: {finding.what} {finding.differences}")
    for kind, *whose in outcome.touched:
        print(f"tampered: {kind}: {' '.join(whose)}")
    for name, finding in outcome.tampered:
        print(f"found: {name} {finding.symbol}: {finding.what} {finding.differences}")
    captured_left = sum(one.classes["unexplained"] for one in captures.values())
    told = sorted((name, finding.symbol or "balance") for name, finding in outcome.tampered)
    done = sorted((account, symbol) for _, account, symbol, _ in outcome.touched)
    passed = not left and not captured_left and told == done
    summary = {
        "passed": passed, "seed": given.seed, "rounds": given.rounds, "captured": {v: one.n for v, one in captures.items()},
        "compared": sum(row.compared for rows in outcome.rows.values() for row in rows),
        "unexplained": len(left) + captured_left, "tampered": len(done), "found": len(told),
    }  # fmt: skip
    print(json.dumps(summary))
    sys.exit(not passed)


if __name__ == "__main__":
    main()
