"""The launcher: made once, back after a kill, nobody else's folder, nothing left behind."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest

from gateway.storage import binaries
from gateway.storage.embedded import EmbeddedPostgres
from gateway.storage.errors import DataFolderInUse, PostgresFailed, UnusableFolder, WrongVersion
from tests.gateway.storage.conftest import eventually


@pytest.fixture
async def server(folder: Path) -> AsyncIterator[EmbeddedPostgres]:
    server = EmbeddedPostgres(folder / "data")
    await server.start()
    yield server
    await server.stop()


async def _fetch(dsn: str, sql: str) -> object:
    connection = await asyncpg.connect(dsn)
    try:
        return await connection.fetchval(sql)
    finally:
        await connection.close()


def _inhabitants(folder: Path) -> set[int]:
    """Pids of all processes that work in the cluster of a data folder."""
    home, found = str((folder / "cluster").resolve()), set()
    for process in Path("/proc").iterdir():
        try:
            if process.name.isdecimal() and os.readlink(process / "cwd") == home:
                found.add(int(process.name))
        except OSError:
            continue
    return found


async def test_listens_on_a_short_socket_alone_in_utf8(server: EmbeddedPostgres) -> None:
    assert await _fetch(server.dsn, "SELECT current_setting('listen_addresses')") == ""
    assert await _fetch(server.dsn, "SELECT current_setting('ssl')") == "off"
    sockets = str(await _fetch(server.dsn, "SELECT current_setting('unix_socket_directories')"))
    assert len(f"{sockets}/.s.PGSQL.5432") <= 107
    assert Path(sockets).stat().st_mode & 0o077 == 0
    locale = "SELECT datlocprovider::text || ' ' || datlocale || ' ' || pg_encoding_to_char(encoding) FROM pg_database"
    assert await _fetch(server.dsn, f"{locale} WHERE datname = current_database()") == "b C.UTF-8 UTF8"


async def test_secrets_of_our_environment_do_not_reach_the_server(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PERPWIRE_KEY", "very-secret")
    server = EmbeddedPostgres(folder / "data")
    await server.start()
    try:
        assert b"very-secret" not in Path(f"/proc/{server.pid}/environ").read_bytes()
        assert b"LC_ALL" in Path(f"/proc/{server.pid}/environ").read_bytes()
    finally:
        await server.stop()


async def test_rows_outlive_an_orderly_stop_and_nothing_stays_behind(folder: Path) -> None:
    server = EmbeddedPostgres(folder / "data")
    dsn = await server.start()
    await _fetch(dsn, "CREATE TABLE kept AS SELECT 7 AS seven")
    sockets = Path(str(await _fetch(dsn, "SELECT current_setting('unix_socket_directories')")))
    await server.stop()
    await server.stop()
    assert _inhabitants(folder / "data") == set()
    assert not sockets.parent.exists()
    assert await _fetch(await server.start(), "SELECT seven FROM kept") == 7
    await server.stop()


async def test_killed_postmaster_is_reaped_and_started_again_with_all_rows(folder: Path) -> None:
    back = asyncio.Event()
    server = EmbeddedPostgres(folder / "data", on_restart=back.set)
    dsn = await server.start()
    try:
        await _fetch(dsn, "CREATE TABLE kept AS SELECT 7 AS seven")
        for round_ in (1, 2):
            killed = server.pid
            assert killed is not None
            os.kill(killed, signal.SIGKILL)
            await asyncio.wait_for(back.wait(), 15)
            back.clear()
            assert server.restarts == round_
            assert server.pid != killed
            assert not Path(f"/proc/{killed}").exists(), "the dead postmaster is a zombie"
            assert await _fetch(dsn, "SELECT seven FROM kept") == 7
    finally:
        await server.stop()
    assert _inhabitants(folder / "data") == set()


async def test_ready_file_of_an_earlier_server_is_not_believed(folder: Path) -> None:
    server = EmbeddedPostgres(folder / "data")
    await server.start()
    lines = (folder / "data/cluster/postmaster.pid").read_text()
    assert lines.splitlines()[7].strip() == "ready"
    await server.stop()
    # The pid of a process that lives: Postgres itself would refuse to start beside this file.
    (folder / "data/cluster/postmaster.pid").write_text(lines.replace(lines.splitlines()[0], str(os.getpid()), 1))
    dsn = await server.start()
    assert await _fetch(dsn, "SELECT 1") == 1
    await server.stop()


async def test_data_folder_in_use_names_folder_and_process(server: EmbeddedPostgres, folder: Path) -> None:
    with pytest.raises(DataFolderInUse) as refused:
        await EmbeddedPostgres(folder / "data").start()
    assert refused.value.pid == os.getpid()
    assert str(folder / "data") in str(refused.value)
    assert f"Stop process {os.getpid()}" in str(refused.value)
    assert await _fetch(server.dsn, "SELECT 1") == 1, "the first one is not disturbed"


@pytest.mark.parametrize("where", ["cluster", "."])
async def test_folder_of_another_version_names_both(folder: Path, where: str) -> None:
    (folder / where).mkdir(exist_ok=True)
    (folder / where / "PG_VERSION").write_text("13\n")
    server = EmbeddedPostgres(folder)
    with pytest.raises(WrongVersion) as refused:
        await server.start()
    assert (refused.value.found, refused.value.expected) == ("13", binaries.find().major)
    assert "Postgres 13" in str(refused.value)
    (folder / where / "PG_VERSION").unlink()
    await server.start()  # the refused start holds nothing
    await server.stop()


async def test_cluster_that_does_not_start_says_why_and_lets_go(folder: Path) -> None:
    server = EmbeddedPostgres(folder / "data")
    await server.start()
    await server.stop()
    control = folder / "data/cluster/global/pg_control"
    saved = control.read_bytes()
    control.write_bytes(b"\0" * len(saved))
    with pytest.raises(PostgresFailed) as failed:
        await server.start()
    assert any("PG_CONTROL_VERSION" in line for line in failed.value.log)
    control.write_bytes(saved)
    await server.start()
    await server.stop()


async def test_initdb_that_was_cut_short_is_begun_again(folder: Path) -> None:
    half = folder / "data/cluster.new"
    half.mkdir(parents=True)
    (half / "PG_VERSION").write_text("18\n")
    server = EmbeddedPostgres(folder / "data")
    assert await _fetch(await server.start(), "SELECT 1") == 1
    await server.stop()


_ORPHAN = """
import asyncio, sys
from gateway.storage.embedded import EmbeddedPostgres
async def main():
    await EmbeddedPostgres(sys.argv[1]).start()
    print("up", flush=True)
    await asyncio.Event().wait()
asyncio.run(main())
"""


async def test_killed_process_leaves_no_server_and_the_next_one_starts(folder: Path) -> None:
    data = folder / "data"
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", _ORPHAN, str(data), stdout=asyncio.subprocess.PIPE, cwd=Path(__file__).parents[3]
    )
    assert process.stdout is not None
    assert await asyncio.wait_for(process.stdout.readline(), 30) == b"up\n"
    assert _inhabitants(data)
    runtime = Path((data / "runtime").read_text().strip())
    assert runtime.is_dir()
    process.kill()
    await process.wait()

    server = EmbeddedPostgres(data)  # at once: what is left of the other server is waited for
    assert await _fetch(await server.start(), "SELECT 1") == 1
    assert not runtime.exists(), "the killed run's socket folder is swept up"
    await server.stop()
    await eventually(lambda: not _inhabitants(data), "no Postgres lives in the folder")


async def test_restart_is_not_disturbed_by_the_loop_being_stopped_meanwhile(folder: Path) -> None:
    server = EmbeddedPostgres(folder / "data")
    await server.start()
    assert server.pid is not None
    os.kill(server.pid, signal.SIGKILL)
    await server.stop()  # right in the middle of it
    assert _inhabitants(folder / "data") == set()
    await server.start()
    await server.stop()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder to another user")
async def test_as_root_the_server_is_nobody_and_folders_above_stay_closed(folder: Path) -> None:
    closed = folder / "home"
    closed.mkdir(mode=0o700)
    server = EmbeddedPostgres(closed / "deep" / "data")
    await server.start()
    try:
        assert Path(f"/proc/{server.pid}").stat().st_uid != 0
        assert (closed / "deep/data/cluster").stat().st_uid != 0
        for above in (closed, closed / "deep", closed / "deep/data"):
            assert above.stat().st_uid == 0
        assert closed.stat().st_mode & 0o777 == 0o700
    finally:
        await server.stop()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root runs the server as another user")
async def test_programs_out_of_reach_are_copied(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(binaries, "open_to_others", lambda _path: False)
    server = EmbeddedPostgres(folder / "data")
    dsn = await server.start()
    try:
        runs = os.readlink(f"/proc/{server.pid}/exe")
        assert runs.startswith(str(Path((folder / "data/runtime").read_text().strip())))
        assert await _fetch(dsn, "SELECT 'x' || lower('Ä')") == "xä"
    finally:
        await server.stop()


async def test_a_folder_that_cannot_be_made_is_named_with_its_reason(folder: Path) -> None:
    (folder / "file").write_text("in the way")
    with pytest.raises(UnusableFolder) as refusal:
        await EmbeddedPostgres(folder / "file" / "data").start()
    assert str(refusal.value) == (
        f"{folder}/file/data: the data folder cannot be used (Not a directory). Give it to this user, or name another data "
        "folder (--data, or storage.data_dir in config.yaml)"
    )
