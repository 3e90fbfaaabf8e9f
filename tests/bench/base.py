"""What a base in the middle of a life costs the loop: CPU time of each step, of which the loop runs between any two.

    python -m tests.bench.base [--records 100000] [--accounts 40] [--positions 10] [--rounds 5]

A desk with so many fills of today: while the state is copied (``copying_ms``) no turn is taken, though the loop runs between the
steps; then records are encoded. Once so, and once with the positions of a thousand accounts.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterator

from gateway.config import EngineSettings
from gateway.core.accounts import AccountInfo
from gateway.core.beginning import bodies
from gateway.engine import Engine
from tests.gateway.events_of import balance, fill, instrument, mark, position

T0 = 1_760_000_000_000
AIM_MS = 10.0


def make(records: int, accounts: int, positions: int) -> Engine:
    """Return an engine with so many fills in all, and so many positions an account."""
    infos = [AccountInfo(name=f"a{n}", venue="okx", env="live") for n in range(accounts)]
    engine = Engine("bench", infos, EngineSettings())
    symbols = [f"C{n}-USDT-SWAP" for n in range(positions)]
    engine.turn([instrument(symbol, base=symbol.partition("-")[0]) for symbol in symbols], T0)
    for info in infos:
        held = [position(symbol, info.name, fence=(1,), venue_at=T0) for symbol in symbols]
        engine.turn([balance("3000", account=info.name), *held], T0)
        for begin in range(0, records // accounts, 100):
            told = [
                fill(
                    "buy" if n % 2 else "sell", "1", T0 + n, account=info.name, symbol=symbols[n // 2 % positions],
                    id=f"{info.name}:{n}", fee="-0.0123", fee_ccy="USDT", realized_pnl="1.2345",
                )
                for n in range(begin, min(begin + 100, records // accounts))
            ]  # fmt: skip
            engine.turn(told, T0 + begin + 100)
    engine.turn([mark("111", symbol, at=T0 + records) for symbol in symbols], T0 + records)
    engine.clock(T0 + records + 1_000)
    return engine


def steps(engine: Engine) -> Iterator[tuple[float, int]]:
    """Yield how long each step of a base takes (CPU, ms), and how many characters it puts down."""

    def timed(work: Callable[[], int]) -> tuple[float, int]:
        start = time.process_time()
        found = work()
        return 1e3 * (time.process_time() - start), found

    image = engine.image()
    told, copying = engine.told(T0), image.copy()
    done = False
    while not done:

        def step() -> int:
            nonlocal done
            done = next(copying, copying) is copying
            return 0

        yield timed(step)
    for body in bodies(told, b"{}", (), T0, state=image.portions()):
        yield timed(lambda body=body: len(body()))  # type: ignore[misc]  # bound now


def measure(records: int, accounts: int, positions: int, rounds: int) -> dict[str, float]:
    """Return the figures of a base; of each step the best of so many rounds."""
    engine = make(records, accounts, positions)
    found = [list(steps(engine)) for _ in range(rounds)]
    best = [min(each)[0] for each in zip(*found, strict=True)]
    return {
        "records": records,
        "positions": len(engine.positions),
        "longest_ms": round(max(best), 1),
        "steps": len(best),
        "copying_ms": round(sum(best[: sum(not size for _, size in found[0])]), 1),
        "mb": round(sum(size for _, size in found[0]) / 1e6, 1),
        "whole_ms": round(sum(best), 1),
    }


def main() -> None:
    """Print both, and one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--records", type=int, default=100_000)
    parser.add_argument("--accounts", type=int, default=40)
    parser.add_argument("--positions", type=int, default=10, help="of each account")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    figures = {
        "desk": measure(options.records, options.accounts, options.positions, options.rounds),
        "thousand_accounts": measure(options.records, 1_000, options.positions, options.rounds),
    }
    for name, found in figures.items():
        print(f"{name}: " + ", ".join(f"{key} {value:g}" for key, value in found.items()))
    met = figures["desk"]["longest_ms"] <= AIM_MS
    print(json.dumps({**figures, "aim_ms": AIM_MS, "met": met}))


if __name__ == "__main__":
    main()
