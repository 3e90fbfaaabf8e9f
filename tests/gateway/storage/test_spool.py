"""The spool: in order, once, across kills; and one path for everything that keeps it from taking a batch."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest

from gateway.storage.errors import SpoolFull, SpoolInUse, SpoolUnreadable
from gateway.storage.spool import Spool

_MB = 1 << 20


@asynccontextmanager
async def _opened(folder: Path, max_bytes: int = _MB) -> AsyncIterator[Spool]:
    spool = Spool(folder, max_bytes, now_ns=lambda: 7_000_000)
    await spool.open()
    try:
        yield spool
    finally:
        await spool.close()


async def _all(spool: Spool) -> list[tuple[str, int, bytes]]:
    found, number = [], 0
    while (one := await spool.after(number)) is not None:
        number = one.number
        found.append((*one.name, one.body))
    return found


async def test_batches_come_back_in_order_in_the_next_life(tmp_path: Path) -> None:
    async with _opened(tmp_path) as spool:
        for revision in (1, 2, 3):
            await spool.append(("e1", revision), revision * 10, b"%d" % revision)
    async with _opened(tmp_path) as spool:
        assert spool.figures == (3, 3, 30)
        await spool.append(("e2", 1), 40, b"new")
        assert await _all(spool) == [("e1", 1, b"1"), ("e1", 2, b"2"), ("e1", 3, b"3"), ("e2", 1, b"new")]
        assert await spool.find(("e1", 2)) == 2
        assert await spool.find(("e1", 9)) == 3, "later ones went directly"
        assert await spool.find(("other", 9)) == 0
        await spool.drop_through(2)
        assert [revision for _, revision, _ in await _all(spool)] == [3, 1]
        assert spool.figures == (2, 4, 40)


async def test_a_number_never_comes_back_also_where_the_file_is_another_one(tmp_path: Path) -> None:
    async with _opened(tmp_path) as spool:
        for revision in (1, 2):
            await spool.append(("e", revision), 0, b"old")
        spool._close()
        spool.file.write_bytes(b"rubbish" * 2_000)
        with pytest.raises(SpoolUnreadable) as told:
            await spool.append(("e", 3), 0, b"new")
        assert told.value.last == 2
        await spool.append(("e", 3), 0, b"new")
        await spool.drop_through(2)
        one = await spool.after(0)
        assert one is not None
        assert (one.number, one.body) == (3, b"new")


async def test_emptied_spool_gives_its_pages_back_and_numbers_rise_on(tmp_path: Path) -> None:
    async with _opened(tmp_path) as spool:
        for revision in range(20):
            await spool.append(("e", revision), 0, bytes(20_000))
        await spool.drop_through(20)
        assert spool.figures.batches == 0
        assert spool.file.stat().st_size < 100_000
        await spool.append(("e", 21), 0, b"")
        assert (one := await spool.after(20)) is not None
        assert one.number == 21


async def test_batch_for_which_the_disk_has_no_room_is_not_even_tried(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with _opened(tmp_path) as spool:
        await spool.append(("e", 1), 1, b"x")
        monkeypatch.setattr(os, "statvfs", lambda folder: SimpleNamespace(f_bavail=2, f_frsize=4096))
        await spool.probe(5_000)
        with pytest.raises(SpoolFull, match="no room for 500000 bytes"):
            await spool.probe(500_000)


async def test_limit_refuses_a_batch_and_takes_the_next_one_that_fits(tmp_path: Path) -> None:
    async with _opened(tmp_path, 200_000) as spool:
        await spool.append(("e", 1), 1, bytes(60_000))
        await spool.append(("e", 2), 2, bytes(60_000))
        with pytest.raises(SpoolFull, match="full"):
            await spool.append(("e", 3), 3, bytes(90_000))
        assert spool.error is not None
        assert spool.figures == (2, 120_000, 2)
        await spool.append(("e", 4), 4, bytes(1_000))
        assert spool.error is None
        await spool.drop_through(1)
        await spool.append(("e", 5), 5, bytes(60_000))
        assert [revision for _, revision, _ in await _all(spool)] == [2, 4, 5]


async def test_room_is_tried_by_a_small_write(tmp_path: Path) -> None:
    async with _opened(tmp_path, 200_000) as spool:
        await spool.append(("e", 1), 1, bytes(100_000))
        await spool.probe(50_000)
        with pytest.raises(SpoolFull, match="room"):
            await spool.probe(90_000)
        await spool.drop_through(1)
        await spool.probe(90_000)
        assert spool.figures.batches == 0


async def test_folder_that_cannot_be_used_is_the_same_and_is_tried_again(tmp_path: Path) -> None:
    folder = tmp_path / "spool"
    folder.write_text("a file in its place")
    async with _opened(folder) as spool:
        assert spool.error is not None
        with pytest.raises(SpoolFull, match="exists"):
            await spool.append(("e", 1), 1, b"x")
        folder.unlink()
        await spool.append(("e", 1), 1, b"x")
        assert await _all(spool) == [("e", 1, b"x")]


async def test_read_only_file_is_the_same(tmp_path: Path) -> None:
    async with _opened(tmp_path) as spool:
        await spool.append(("e", 1), 1, b"x")
        assert spool._db is not None
        spool._db.execute("PRAGMA query_only = ON")
        with pytest.raises(SpoolFull, match="readonly"):
            await spool.append(("e", 2), 2, b"y")
        await spool.append(("e", 2), 2, b"y")  # looked at anew
        assert [revision for _, revision, _ in await _all(spool)] == [1, 2]


@pytest.mark.parametrize("damage", ["not sqlite", "torn pages"])
async def test_unreadable_file_is_set_aside_and_never_deleted(tmp_path: Path, damage: str) -> None:
    async with _opened(tmp_path) as spool:
        for revision in range(8):
            await spool.append(("e", revision), 0, bytes(10_000))
    file = tmp_path / "spool.sqlite"
    content = file.read_bytes()
    broken = b"no database" * 1_000 if damage == "not sqlite" else content[:4096] + b"\xff" * (len(content) - 4096)
    file.write_bytes(broken)
    spool = Spool(tmp_path, _MB, now_ns=lambda: 7_000_000)
    with pytest.raises(SpoolUnreadable, match=r"spool\.sqlite\.unreadable-7"):
        await spool.open()
    assert (tmp_path / "spool.sqlite.unreadable-7").read_bytes() == broken
    assert len(spool.set_aside) == 1
    await spool.append(("e", 9), 0, b"goes on")
    assert await _all(spool) == [("e", 9, b"goes on")]
    await spool.close()


async def test_folder_belongs_to_one_process(tmp_path: Path) -> None:
    async with _opened(tmp_path):
        other = Spool(tmp_path, _MB)
        with pytest.raises(SpoolInUse, match=f"in use by process {os.getpid()}"):
            await other.open()
        await other.close()
    async with _opened(tmp_path) as spool:
        assert spool.error is None


async def test_what_was_appended_outlives_a_kill(tmp_path: Path) -> None:
    script = (
        "import asyncio, os, signal, sys\n"
        "from gateway.storage.spool import Spool\n"
        "async def main():\n"
        "    spool = Spool(sys.argv[1], 1 << 20)\n"
        "    await spool.open()\n"
        "    for revision in range(5):\n"
        "        await spool.append(('e', revision), revision, b'kept')\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
        "asyncio.run(main())\n"
    )
    killed = await asyncio.create_subprocess_exec(sys.executable, "-c", script, str(tmp_path))
    assert await asyncio.wait_for(killed.wait(), 60) == -9
    async with _opened(tmp_path) as spool:
        assert await _all(spool) == [("e", revision, b"kept") for revision in range(5)]
