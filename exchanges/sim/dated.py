"""What expires: dated futures and options, always in the future of the moment at which the world begins.

Pure: the last Friday of the next quarter month, 08:00 UTC, as all of these venues settle. Symbols are spelt as each venue
spells them.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from exchanges.sim.catalog import CONTRACTS, Contract, Kind, VenueName, tiers_of
from exchanges.sim.roster import AccountSpec

_NEAREST = timedelta(days=7)
_QUARTERS = {3: "H", 6: "M", 9: "U", 12: "Z"}
_MONTHS = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")
STRIKE = Decimal(100_000)


def expiry(now_ms: int) -> datetime:
    """Return the next quarterly expiry that is at least a week away."""
    now = datetime.fromtimestamp(now_ms / 1000, UTC)
    year, month = now.year, now.month + -now.month % 3
    while (at := _last_friday(year, month)) < now + _NEAREST:
        year, month = (year + 1, 3) if month == 12 else (year, month + 3)
    return at


def _last_friday(year: int, month: int) -> datetime:
    after = datetime(year + month // 12, month % 12 + 1, 1, 8, tzinfo=UTC)
    last = after - timedelta(days=1)
    return last - timedelta(days=(last.weekday() - 4) % 7)


def spelt(symbol: str, at: datetime) -> str:
    """Fill the places of an expiry in a symbol: ``{yymmdd}`` (OKX), ``{ddmmmyy}`` and ``{quarter}`` (Bybit)."""
    return symbol.format(
        yymmdd=f"{at:%y%m%d}",
        ddmmmyy=f"{at.day}{_MONTHS[at.month - 1]}{at:%y}",
        quarter=f"{_QUARTERS[at.month]}{at:%y}",
    )


def contracts(now_ms: int) -> tuple[Contract, ...]:
    """Return everything that is listed in a world that begins at ``now_ms``."""
    at = expiry(now_ms)
    listed = {(c.venue, c.symbol): c for c in CONTRACTS}

    def like(venue: VenueName, perpetual: str, symbol: str, kind: Kind = "future") -> Contract:
        expires_at = int(at.timestamp() * 1000)
        return replace(listed[venue, perpetual], symbol=spelt(symbol, at), kind=kind, expires_at=expires_at)

    def option(contract: Contract, settle: str, size: str, tick: str, lot: str) -> Contract:
        return replace(
            contract, settle=settle, inverse=False, contract_size=Decimal(size), tick=Decimal(tick), mark_step=Decimal("1E-8"),
            lot=Decimal(lot), max_leverage=Decimal(1), tiers=tiers_of(("0", "0", "1"), deducted=False), strike=STRIKE, call=True,
        )  # fmt: skip

    return (
        *CONTRACTS,
        like("okx", "BTC-USDT-SWAP", "BTC-USDT-{yymmdd}"),
        like("okx", "BTC-USD-SWAP", "BTC-USD-{yymmdd}"),
        like("bybit", "BTCUSDT", "BTCUSDT-{ddmmmyy}"),
        like("bybit", "BTCUSD", "BTCUSD{quarter}"),
        # OKX quotes options in coins (ctMult 0.01 coin), Bybit in dollars.
        option(like("okx", "BTC-USD-SWAP", f"BTC-USD-{{yymmdd}}-{STRIKE}-C", "option"), "BTC", "0.01", "0.0001", "1"),
        option(like("bybit", "BTCUSDT", f"BTC-{{ddmmmyy}}-{STRIKE}-C-USDT", "option"), "USDT", "1", "1", "0.01"),
    )


def accounts(roster: Iterable[AccountSpec], now_ms: int) -> tuple[AccountSpec, ...]:
    """Return the accounts of a roster with the symbols of their openings filled in."""
    at = expiry(now_ms)
    return tuple(
        replace(spec, openings=tuple(replace(o, symbol=spelt(o.symbol, at)) for o in spec.openings)) for spec in roster
    )
