"""The table of the suite in ``docs/venues.md``: written from the cases and what the venues declare.

``python -m tests.conformance.table`` writes it; a test fails where it is stale. Needs neither recordings nor a simulator.
"""

from __future__ import annotations

from pathlib import Path

from exchanges import VENUES
from tests.conformance import case as suite
from tests.conformance import on_collateral, on_connections, on_messages, on_positions, on_records
from tests.conformance.case import Case, cell
from tests.conformance.through_ccxt import THROUGH

PAGE = Path(__file__).resolve().parents[2] / "docs" / "venues.md"
BEGIN, END = "<!-- conformance: begin -->", "<!-- conformance: end -->"
HEADING = "## Conformance"
_TITLES = {"okx": "OKX"}
_INTRODUCTION = """\
One suite, every venue by parameter (`tests/conformance`; `make conformance-table` writes this). *captured*: shown on messages
captured from the real venue or documented by it. *simulator*: shown through the real connection code at the simulated venue.
*no capture*: nothing was captured that the case could read. *not declared*: the venue's capabilities do not claim it, so the
case is skipped. *ccxt*: the same case, asked through ccxt's ports of the venues named; watchers there are never believed, so that
only cases that ask have something to show."""

# Their order is the table's, whichever was imported first.
_MODULES = (on_messages, on_positions, on_collateral, on_records, on_connections)
CASES = {name: case for module in _MODULES for name, case in suite.CASES.items() if case.module == module.__name__}


def table() -> str:
    """Return the block with its markers."""
    titles = [_TITLES.get(name, name.capitalize()) for name in VENUES]
    lines = [
        _INTRODUCTION,
        "",
        f"| what holds | {' | '.join(titles)} | ccxt |",
        f"| --- |{' --- |' * len(titles)} --- |",
        *(f"| {' | '.join(_row(case))} |" for case in CASES.values()),
    ]
    return "\n".join([BEGIN, *lines, END])


def _row(case: Case) -> list[str]:
    through = THROUGH.get(case.name)
    return [
        case.says,
        *(cell(case, venue) for venue in VENUES),
        f"simulator ✓ ({', '.join(through)})" if through else "",
    ]


def written(page: str) -> str:
    """Return the page with the present table; at its end, under a heading, where it has none yet."""
    before, begin, rest = page.partition(BEGIN)
    if not begin:
        return f"{page.rstrip()}\n\n{HEADING}\n\n{table()}\n"
    return before + table() + rest.partition(END)[2]


if __name__ == "__main__":
    PAGE.write_text(written(PAGE.read_text()))
