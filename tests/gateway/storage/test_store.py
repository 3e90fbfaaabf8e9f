"""The parts of storage beside each other: none of them ends unseen."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from gateway import store as stores
from gateway.config import StorageSettings
from gateway.storage import retention
from gateway.store import Store
from tests.gateway.storage.conftest import eventually


async def test_a_defect_in_tidying_ends_the_writing_with_it(
    dsn: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def tidy(*_args: object, **_named: object) -> None:
        raise ValueError("a defect")

    monkeypatch.setattr(retention, "tidy", tidy)
    monkeypatch.setattr(stores, "_FIRST_TIDY_S", 0.0)
    store = Store(StorageSettings(dsn=dsn, spool_dir=str(tmp_path)))
    await store.start("e", [])
    running = asyncio.create_task(store.run())
    await eventually(running.done, "it ends by itself", 5)
    assert repr(running.exception()) == "ValueError('a defect')"
    await store.stop()
