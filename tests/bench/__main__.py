"""All benchmarks, one after the other: ``make bench [SECONDS=20] [ROUNDS=7]``.

Each prints what it does; the last line is one JSON object with all figures, their aims, and whether they were met. A figure
below its aim never fails the run: it is a measurement.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def bench(name: str, *options: str) -> dict[str, object]:
    """Run one benchmark in a process of its own, show what it prints, and return its last line."""
    print(f"\n== {name}", flush=True)
    process = subprocess.Popen(
        [sys.executable, "-m", f"tests.bench.{name}", *options], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    last = ""
    assert process.stdout is not None
    for line in process.stdout:
        if last:
            print(last, flush=True)
        last = line.rstrip("\n")
    if process.wait() != 0:
        raise SystemExit(f"{name} ended with status {process.returncode}")
    found: dict[str, object] = json.loads(last)
    return found


def main() -> None:
    """Run them all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, default=20, help="length of the latency run, seconds")
    parser.add_argument("--rounds", type=int, default=7, help="interleaved rounds of the others")
    parser.add_argument("--journal", type=int, default=10_000_000, help="rows of the journal that is asked")
    parser.add_argument("--fills", type=int, default=1_000_000, help="fills that are stored")
    options = parser.parse_args()
    machine = {"cores": os.cpu_count(), "machine": platform.machine(), "python": platform.python_version()}
    print(f"Machine: {machine}")
    figures = {
        "machine": machine,
        "recompute": bench("recompute", "--rounds", str(options.rounds)),
        "second": bench("second"),
        "alerts": bench("alerts"),
        "whatif": bench("whatif"),
        "journal": bench("journal"),
        "base": bench("base"),
        "bad_night": bench("bad_night"),
        "queries": bench("queries", "--journal", str(options.journal), "--fills", str(options.fills)),
        "latency": bench("latency", "--seconds", str(options.seconds)),
        "fanout": bench("fanout", "--rounds", str(options.rounds)),
    }
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
