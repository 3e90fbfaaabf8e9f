"""Captured messages of the real venues, read from where they lie: ``PERPWIRE_RECORDINGS`` or ``../shared/recordings``.

They are never copied into the project (their licences differ). Where the folder is absent, tests that need it declare so.
"""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

FOLDER = Path(os.environ.get("PERPWIRE_RECORDINGS", Path(__file__).resolve().parents[2] / "shared" / "recordings"))

needs_recordings = pytest.mark.skipif(
    not FOLDER.is_dir(),
    reason=f"no captured messages at {FOLDER}: set PERPWIRE_RECORDINGS to the folder that holds them",
)


class Recording(NamedTuple):
    """One file: ``kind`` is its channel or endpoint, ``status`` captured | docs | synthetic."""

    path: Path
    venue: str
    kind: str
    status: str
    note: str

    def messages(self) -> list[Any]:
        """Return the file's messages, without the wrapper that some sources put around each."""
        text = self.path.read_text()
        found = (
            [json.loads(line) for line in text.splitlines() if line.strip()]
            if self.path.suffix == ".jsonl"
            else [json.loads(text)]
        )
        return [m["msg"] if isinstance(m, dict) and set(m) <= {"msg", "recv_ts"} and "msg" in m else m for m in found]


def recordings(
    venue: str, kind: str | None = None, status: str | None = None, folder: Path = FOLDER
) -> Iterator[Recording]:
    """Yield the recordings of a venue from the manifest, optionally of one kind and status; nothing where the folder is absent."""
    manifest = folder / "MANIFEST.tsv"
    if not manifest.is_file():
        return
    with manifest.open(newline="") as lines:
        for row in csv.DictReader(lines, delimiter="\t", quoting=csv.QUOTE_MINIMAL):
            if row["venue"] == venue and kind in (None, row["kind"]) and status in (None, row["status"]):
                yield Recording(folder / row["path"], venue, row["kind"], row["status"], row["note"] or "")
