"""``python -m tests.residuals [--recordings DIR] [--write]``: print the table of residuals, or write it into ``docs/margin.md``."""

from __future__ import annotations

import argparse
from itertools import chain
from pathlib import Path

from tests.recordings import FOLDER
from tests.residuals import published, recorded, table
from tests.residuals.measure import measured


def main() -> None:
    """Measure and print; the page is written from the captured messages alone, never from a user's own folder."""
    parser = argparse.ArgumentParser(prog="make residuals", description=__doc__)
    parser.add_argument(
        "--recordings",
        type=Path,
        default=FOLDER,
        help="a folder with a manifest, or of recordings of `perpwire replay`",
    )
    parser.add_argument("--write", action="store_true", help="write the table into docs/margin.md")
    given = parser.parse_args()
    found = measured(chain(recorded.cases(given.recordings), published.cases()))
    print(table.table(found))
    if given.write:
        table.PAGE.write_text(table.written(table.PAGE.read_text(), found))


if __name__ == "__main__":
    main()
