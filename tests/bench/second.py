"""What is worked out once a second over all accounts: CPU time of one pass, every mark and so every figure moved before it.

    python -m tests.bench.second [--rounds 21]

10,000 cross positions in 1,000 accounts and 400 symbols: shares, risk scores, funding, summaries, the stress ladder of 12 steps and
its order of liquidations, the shock of every account. Once with one user, once with a thousand.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import time

from exchanges.events import Event, FundingRate
from gateway.config import EngineSettings
from gateway.core.accounts import AccountInfo
from gateway.engine import Engine
from tests.gateway.events_of import balance, instrument, mark, position

ACCOUNTS, PER_ACCOUNT, SYMBOLS = 1_000, 10, 400
AIM_MS = 20.0


def make(users: int, generator: random.Random) -> tuple[Engine, list[str]]:
    """Return an engine of so many users' positions, and the symbols."""
    infos = [AccountInfo(name=f"a{n}", venue="okx", env="live", user=f"u{n % users}") for n in range(ACCOUNTS)]
    engine = Engine("bench", infos, EngineSettings(), rules=())
    symbols = [f"C{n}-USDT-SWAP" for n in range(SYMBOLS)]
    engine.turn([instrument(symbol, base=symbol.partition("-")[0]) for symbol in symbols], 1_000)
    events: list[Event] = [
        FundingRate(venue="okx", env="live", symbol=symbol, rate="0.0001", next_at=9_000) for symbol in symbols
    ]
    for info in infos:
        events.append(balance("3000", account=info.name))
        for symbol in generator.sample(symbols, PER_ACCOUNT):
            side = generator.choice(("long", "short"))
            events.append(position(symbol, info.name, side=side, size=str(generator.randint(1, 20))))
    engine.turn(events, 2_000)
    engine.clock(3_000)
    return engine, symbols


def measure(users: int, rounds: int) -> dict[str, float]:
    """Return median and worst CPU milliseconds of a pass."""
    generator = random.Random(1)
    engine, symbols = make(users, generator)
    spent = []
    for now in range(4_000, 4_000 + rounds):
        engine.turn([mark(f"{generator.uniform(102.0, 118.0):.3f}", symbol, at=now) for symbol in symbols], now)
        start = time.process_time()
        engine.portfolio.turn(engine.accounts.values())
        spent.append(1e3 * (time.process_time() - start))
    return {"ms": round(statistics.median(spent), 1), "ms_max": round(max(spent), 1)}


def main() -> None:
    """Print both, and one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=21)
    options = parser.parse_args()
    figures: dict[str, object] = {"bench": "second", "positions": ACCOUNTS * PER_ACCOUNT, "aim_ms": AIM_MS}
    for users in (1, ACCOUNTS):
        found = measure(users, options.rounds)
        print(f"{users:>5} users: {found['ms']:>6.1f} ms (worst {found['ms_max']:.1f})")
        figures[f"users_{users}"] = found | {"met": found["ms"] <= AIM_MS}
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
