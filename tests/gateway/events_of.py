"""Short builders of events for the engine's tests; figures are the test's own."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from exchanges.events import (
    BalanceState,
    CoinBalance,
    FeedState,
    FeedStatus,
    Fill,
    Instrument,
    Order,
    OrderSide,
    PoolState,
    PositionsSnapshot,
    PositionState,
    Price,
    position_id,
)
from gateway.config import EngineSettings
from gateway.core.accounts import AccountInfo
from gateway.core.stress import StressSettings
from gateway.engine import Engine, Sink

OKX = AccountInfo(name="okx-main", venue="okx", env="live", user="ann")
BYBIT = AccountInfo(name="bybit-main", venue="bybit", env="live", user="ann")
DEMO = AccountInfo(name="okx-demo", venue="okx", env="demo", user="ann")


def engine(
    *accounts: AccountInfo,
    sink: Sink | None = None,
    promoted: Collection[str] = (),
    stress: StressSettings | None = None,
) -> Engine:
    """Return an engine of those accounts (OKX and Bybit without any), which trusts the ``promoted`` margin models too."""
    return Engine("epoch", accounts or (OKX, BYBIT), EngineSettings(), sink, promoted, stress=stress)


def position(symbol: str = "BTC-USDT-SWAP", account: str = "okx-main", **fields: Any) -> PositionState:
    """Return a linear cross long of 2 coins from 100, at mark 110, anchored, unless said otherwise."""
    size, entry, mark = fields.pop("size", "2"), fields.pop("entry_price", "100"), fields.pop("mark_price", "110")
    side = fields.pop("side", "long")
    sign = -1 if side == "short" else 1
    upnl = None if mark is None or not float(size) else str(sign * float(size) * (float(mark) - float(entry)))
    given: dict[str, Any] = {
        "account": account,
        "id": position_id(account, symbol, side or "net"),
        "scope": "positions",
        "symbol": symbol,
        "side": side,
        "size": size,
        "margin_mode": "cross",
        "pool": "USDT",
        "fence": (1,),
        "venue_at": 1_000,
        "settle": "USDT",
        "contract_size": "1",
        "contract_type": "linear",
        "entry_price": entry,
        "leverage": "10",
        "mark_price": mark,
        "venue_unrealized_pnl": upnl,
        "venue_maintenance_margin": None if mark is None else str(float(size) * float(mark) * 0.005),
    }
    return PositionState(**(given | fields))


def closed(state: PositionState, fence: tuple[int, ...]) -> PositionState:
    """Return the report that closes a position."""
    return PositionState(
        account=state.account, id=state.id, scope=state.scope, symbol=state.symbol, side=None, size="0",
        margin_mode=state.margin_mode, pool=state.pool, fence=fence,
    )  # fmt: skip


def mark(
    value: str, symbol: str = "BTC-USDT-SWAP", venue: str = "okx", at: int | None = 2_000, env: str = "live"
) -> Price:
    """Return a mark."""
    return Price(venue=venue, env=env, symbol=symbol, value=value, at=at)


def instrument(symbol: str = "BTC-USDT-SWAP", venue: str = "okx", **fields: Any) -> Instrument:
    """Return a linear contract of size 1."""
    given: dict[str, Any] = {
        "venue": venue,
        "env": "live",
        "symbol": symbol,
        "unified_symbol": "BTC/USDT:USDT",
        "base": "BTC",
        "quote": "USDT",
        "settle": "USDT",
        "kind": "perp",
        "contract_type": "linear",
        "contract_size": "1",
        "contract_ccy": "BTC",
        "tick_size": "0.1",
    }
    return Instrument(**(given | fields))


def balance(cash: str | None = "1000", account: str = "okx-main", **fields: Any) -> BalanceState:
    """Return an account with one USDT pool."""
    given: dict[str, Any] = {
        "account": account,
        "scope": "account",
        "full": True,
        "coins": (CoinBalance(ccy="USDT", total=cash or "0", cash=cash, usd_price="1"),),
        "pools": (PoolState(pool="USDT", ccy="USDT", cash=cash),),
    }
    return BalanceState(**(given | fields))


def snapshot(*positions: PositionState, **fields: Any) -> PositionsSnapshot:
    """Return the full state of the scope "positions"."""
    given: dict[str, Any] = {"account": "okx-main", "scope": "positions", "positions": positions}
    return PositionsSnapshot(**(given | fields))


def fill(side: OrderSide = "sell", size: str = "2", at: int = 5_000, **fields: Any) -> Fill:
    """Return a fill of BTC-USDT-SWAP."""
    given: dict[str, Any] = {
        "account": "okx-main",
        "id": f"okx-main:fill:{at}:{side}:{size}",
        "symbol": "BTC-USDT-SWAP",
        "order_id": "o1",
        "side": side,
        "size": size,
        "price": "110",
        "at": at,
    }
    return Fill(**(given | fields))


def order(order_id: str = "7", **fields: Any) -> Order:
    """Return an open limit order to buy one contract."""
    given: dict[str, Any] = {
        "account": "okx-main",
        "scope": "orders",
        "symbol": "BTC-USDT-SWAP",
        "order_id": order_id,
        "open": True,
        "side": "buy",
        "size": "1",
        "price": "90",
        "status": "live",
    }
    return Order(**(given | fields))


def feed(state: FeedState, account: str | None = "okx-main", venue: str = "okx", **fields: Any) -> FeedStatus:
    """Return the status of a connection: an account's private one, or a venue's public one."""
    connection = "private" if account else "public"
    given: dict[str, Any] = {
        "id": f"{account or venue}:{connection}",
        "venue": venue,
        "env": "live",
        "account": account,
        "connection": connection,
        "state": state,
        "at": 0,
    }
    return FeedStatus(**(given | fields))


def row(one: Engine, table: str, row_id: str) -> dict[str, Any]:
    """Return what clients see of a row, which must be there."""
    version = one.tables[table].get(row_id)
    assert version is not None, f"no row {row_id} in {table}: {list(one.tables[table].ids())}"
    return version.row


def rows(one: Engine, table: str) -> list[dict[str, Any]]:
    """Return every row of a table."""
    return [row(one, table, row_id) for row_id in one.tables[table].ids()]


def checked(one: Engine) -> Engine:
    """Return an engine whose positions stand as its columns, pools and tables say (holds after every turn)."""
    assert set(one.tables["positions"].ids()) == set(one.positions)
    assert {i for account in one.accounts.values() for i in account.positions} == set(one.positions)
    return one
