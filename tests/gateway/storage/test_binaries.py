"""Finding the programs, and judging who can reach them."""

from __future__ import annotations

import importlib.util
import subprocess
from pathlib import Path
from types import SimpleNamespace

import pytest

from gateway.storage import binaries
from gateway.storage.errors import BinariesMissing, PostgresFailed


def test_found_without_importing_the_wheels_helper() -> None:
    found = binaries.find()
    assert (found.bin / "initdb").is_file()
    assert found.major.isdecimal()


def test_missing_wheel_says_what_else_can_be_done(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: None)
    with pytest.raises(BinariesMissing, match="name a Postgres server of your own as DSN"):
        binaries.find()


def test_program_that_does_not_run_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    programs = tmp_path / "pginstall" / "bin"
    programs.mkdir(parents=True)
    (programs / "postgres").write_text("not a program")
    spec = SimpleNamespace(submodule_search_locations=[str(tmp_path)])
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: spec)
    with pytest.raises(PostgresFailed, match=r"bin/postgres: the server program does not run"):
        binaries.find()


def test_copy_runs_and_is_open_to_others(tmp_path: Path) -> None:
    copied = binaries.copy_for_others(binaries.find(), tmp_path)
    for program in ("postgres", "initdb"):
        said = subprocess.run([copied.bin / program, "--version"], capture_output=True, text=True, check=True).stdout
        assert copied.major in said
    assert all(path.stat().st_mode & 0o4 for path in tmp_path.rglob("*"))
    assert not (copied.bin / "psql").exists()


def test_reach_is_judged_by_every_folder_above(tmp_path: Path) -> None:
    program = tmp_path / "open" / "program"
    program.parent.mkdir(mode=0o755)
    program.write_text("")
    program.chmod(0o755)
    assert not binaries.open_to_others(program)  # pytest's own folder is closed
    assert binaries.open_to_others(Path("/bin/sh"))
