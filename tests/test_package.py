"""What is shipped: a wheel that holds the dashboard, and locks that name no registry."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    folder = tmp_path_factory.mktemp("wheel")
    # Without isolation: what builds the wheel is in the hashed lock, and nothing is fetched.
    done = subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(ROOT)],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return zipfile.ZipFile(next(folder.glob("*.whl")))


def test_the_wheel_holds_the_dashboard_every_module_and_dictionary(wheel: zipfile.ZipFile) -> None:
    names = set(wheel.namelist())
    for path in (ROOT / "static").rglob("*"):
        if path.is_file():
            assert f"gateway/static/{path.relative_to(ROOT / 'static')}" in names
    for package in ("gateway", "exchanges"):
        for path in (ROOT / package).rglob("*"):
            if path.suffix in (".py", ".sql", ".dict"):
                assert str(path.relative_to(ROOT)) in names
    assert not [name for name in names if name.startswith("tests/")]


def test_the_wheel_installs_the_command(wheel: zipfile.ZipFile) -> None:
    (entry_points,) = [name for name in wheel.namelist() if name.endswith("entry_points.txt")]
    assert "perpwire = gateway.cli:main" in wheel.read(entry_points).decode()


@pytest.mark.parametrize("lock", ["run.lock", "test.lock"])
def test_locks_carry_hashes_and_name_no_registry(lock: str) -> None:
    lines = (ROOT / "locks" / lock).read_text().splitlines()
    requirements = [line for line in lines if line and not line.startswith((" ", "#"))]
    assert len(requirements) > 20
    assert all(line.endswith("\\") for line in requirements), "a requirement without a hash"
    assert not [line for line in lines if "://" in line or "index" in line.split("==")[0]]


def test_the_run_lock_is_part_of_the_test_lock() -> None:
    def pins(name: str) -> set[str]:
        text = (ROOT / "locks" / name).read_text()
        return {line.split(" ")[0] for line in text.splitlines() if "==" in line and not line.startswith(" ")}

    assert pins("run.lock") <= pins("test.lock")
