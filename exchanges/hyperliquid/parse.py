"""What an account has on Hyperliquid, as events: clearinghouse states, spot states, modes and roles.

Owns the wire shapes of these. Pure: bytes in, frozen events out. Raises only ``ProtocolViolation``. What happened to an account
is in ``records`` and ``ledger``, its orders in ``orders``; which frame belongs to what is decided in ``private``.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Literal

import msgspec

from exchanges.events import (
    BalanceState,
    CoinBalance,
    LiquidationKnown,
    MarginMode,
    PoolState,
    PositionsSnapshot,
    PositionState,
    position_id,
)
from exchanges.hyperliquid.wire import DIGITS, Name, TimeMs, Wire, clip, decode, exact, shown, violation
from exchanges.venue import Data, Notice


class Leverage(Wire):
    """``rawUsd`` is there for isolated positions alone: the signed dollar leg of that position."""

    type: str
    value: Decimal
    raw_usd: Decimal | None = None


class CumFunding(Wire):
    """Funding that the user *paid*, in US dollars."""

    since_open: Decimal | None = None


class Position(Wire):
    """One row. ``entryPx`` is rounded to five digits; ``liquidationPx`` null says that no price liquidates."""

    coin: Name
    szi: Decimal
    leverage: Leverage
    entry_px: Decimal | None = None
    position_value: Decimal | None = None
    unrealized_pnl: Decimal | None = None
    liquidation_px: Decimal | msgspec.UnsetType | None = msgspec.UNSET
    margin_used: Decimal | None = None
    max_leverage: Decimal | None = None
    cum_funding: CumFunding | None = None


class AssetPosition(Wire):
    """The venue knows no hedge mode: a type other than ``oneWay`` would make coins ambiguous, so it is refused."""

    position: Position
    type: Literal["oneWay"] = "oneWay"


class MarginSummary(Wire):
    """``accountValue`` = ``totalRawUsd`` + sum of signed size * mark."""

    account_value: Decimal | None = None
    total_raw_usd: Decimal | None = None
    total_margin_used: Decimal | None = None


class ClearinghouseState(Wire):
    """The whole perpetuals state of one user on one dex; captures of 2023 lack ``time`` and the maintenance margin."""

    asset_positions: list[AssetPosition]
    cross_margin_summary: MarginSummary = msgspec.field(default_factory=MarginSummary)
    cross_maintenance_margin_used: Decimal | None = None
    withdrawable: Decimal | None = None
    time: TimeMs | None = None


class DexFrame(Wire):
    """Data of ``clearinghouseState``."""

    user: str
    clearinghouse_state: msgspec.Raw
    dex: str | None = None


class AllDexsFrame(Wire):
    """Data of ``allDexsClearinghouseState``: states by dex, ``""`` is the main one; each is judged by itself."""

    user: str
    clearinghouse_states: list[tuple[str, msgspec.Raw]]


class SpotBalance(Wire):
    """One coin. ``hold`` is locked in spot orders; balances of outcome markets have no ``token``."""

    coin: Name
    total: Decimal
    hold: Decimal | None = None
    token: int | None = None
    borrowed: Decimal | None = None
    ltv: Decimal | None = None


class SpotState(Wire):
    """The spot side of an account; it carries no time. The ratio is there in portfolio margin alone."""

    balances: list[SpotBalance]
    portfolio_margin_ratio: Decimal | None = None


class SpotFrame(Wire):
    """Data of ``spotState``."""

    user: str
    spot_state: SpotState


class UserState(Wire):
    """The part of ``webData3`` that says the account's mode; absent is the default one."""

    user: str
    abstraction: str | None = None
    dex_abstraction_enabled: bool | None = None


class WebData3Frame(Wire):
    """Data of ``webData3``."""

    user_state: UserState


class ExchangeStatus(Wire):
    """Answer to ``exchangeStatus``: the venue's clock."""

    time: TimeMs


class DexState(msgspec.Struct, frozen=True):
    """One dex of one account, translated: all its positions, its pool, and what was odd about it."""

    snapshot: PositionsSnapshot
    balance: BalanceState
    notices: tuple[Notice, ...] = ()


def scope_of(dex: str) -> str:
    """Return the snapshot scope of a dex; the main dex has the empty name."""
    return f"dex:{dex}"


def pool_of(dex: str) -> str:
    """Return the margin pool of a dex's cross positions."""
    return dex or "main"


def parse_state(
    account: str,
    dex: str,
    settle: str,
    data: Data | msgspec.Raw,
    asked_at: int | None = None,
    *,
    pool: str | None = None,
    routine: bool = False,
) -> DexState:
    """Translate a clearinghouse state: every position of the dex, and its pool of margin.

    Args:
        account: The configured account.
        dex: "" for the main dex; HIP-3 coins carry their dex as a prefix (``xyz:XYZ100``).
        settle: The dex's collateral token.
        data: The state as sent, by WebSocket (inside its frame) or REST.
        asked_at: Our clock when it was asked by REST, else None.
        pool: What the dex's cross positions are liquidated with; None: the dex by itself.
        routine: A periodic push after the first one of its connection.

    Raises:
        ProtocolViolation: Any part cannot be read. The whole state is refused then: without one row it would be a
            statement that this position is closed.
    """
    state = decode(ClearinghouseState, data, f"clearinghouse state of dex {dex!r}")
    fence = () if state.time is None else (state.time,)
    rows = [row.position for row in state.asset_positions if row.position.szi != 0]
    if len({row.coin for row in rows}) != len(rows):
        raise violation(f"clearinghouse state of dex {dex!r} lists a coin twice")
    return DexState(
        PositionsSnapshot(
            account=account,
            scope=scope_of(dex),
            positions=tuple(_position(account, dex, settle, row, fence, pool or pool_of(dex)) for row in rows),
            asked_at=asked_at,
            fence=fence,
            routine=routine,
            repeats=asked_at is None,
        ),
        BalanceState(
            account=account,
            scope=scope_of(dex),
            full=True,
            pools=(_pool(dex, settle, state),),
            withdrawable=shown(state.withdrawable),
            fence=fence,
            venue_at=state.time,
            asked_at=asked_at,
        ),
        tuple(_odd_mode(row) for row in rows if _margin_mode(row) is None),
    )


def _position(account: str, dex: str, settle: str, row: Position, fence: tuple[int, ...], pool: str) -> PositionState:
    own_id = position_id(account, row.coin)
    mode = _margin_mode(row)
    size = row.szi.copy_abs()
    known, liquidation = _liquidation(row)
    return PositionState(
        account=account,
        id=own_id,
        scope=scope_of(dex),
        symbol=row.coin,
        side="short" if row.szi < 0 else "long",
        size=exact(size),
        margin_mode=mode,
        # A mode that is not known gets a pool of its own, of which nothing is known: then the venue's figures are shown.
        pool=pool if mode == "cross" else f"iso:{own_id}",
        fence=fence,
        venue_at=fence[0] if fence else None,
        settle=settle,
        contract_size="1",  # sizes are in base, by the venue's rules
        contract_type="linear",
        entry_price=shown(row.entry_px),
        entry_exact=False,
        leverage=exact(row.leverage.value),
        max_leverage=shown(row.max_leverage),
        isolated_margin=shown(row.margin_used) if mode == "isolated" else None,
        isolated_cash=shown(row.leverage.raw_usd) if mode == "isolated" else None,
        isolated_basis="value",
        mark_price=_mark(row.position_value, size),
        venue_unrealized_pnl=shown(row.unrealized_pnl),
        venue_notional=shown(row.position_value),
        venue_initial_margin=shown(row.margin_used) if mode == "cross" else None,
        venue_liquidation_price=liquidation,
        liquidation_known=known,
        funding=_received(row.cum_funding),
    )


def _received(paid: CumFunding | None) -> str | None:
    """Return funding as an effect on the balance: the sign is turned, the digits are not."""
    if paid is None or paid.since_open is None:
        return None
    return exact(paid.since_open.copy_negate() if paid.since_open else paid.since_open.copy_abs())


def _mark(value: Decimal | None, size: Decimal) -> str | None:
    """Return the mark of this same state: ``positionValue / |szi|`` (identity checked on captured rows)."""
    return None if value is None or value <= 0 else exact(DIGITS.divide(value, size))


def _margin_mode(row: Position) -> MarginMode | None:
    if row.leverage.type == "cross":
        return "cross"
    return "isolated" if row.leverage.type == "isolated" else None


def _odd_mode(row: Position) -> Notice:
    return Notice(
        code="unknown_margin_mode",
        what=clip(f"{row.coin} has margin mode {row.leverage.type!r}: only the venue's own figures are shown for it"),
    )


def _liquidation(row: Position) -> tuple[LiquidationKnown, str | None]:
    """Null means that no positive price liquidates the position; a row without the field says nothing."""
    price = row.liquidation_px
    if isinstance(price, msgspec.UnsetType):
        return "unknown", None
    if price is None or price <= 0:
        return "none", None
    return "price", exact(price)


def _pool(dex: str, settle: str, state: ClearinghouseState) -> PoolState:
    cross = state.cross_margin_summary
    return PoolState(
        pool=pool_of(dex),
        ccy=settle,
        basis="value",
        cash=shown(cross.total_raw_usd),
        venue_equity=shown(cross.account_value),
        venue_maintenance_margin=shown(state.cross_maintenance_margin_used),
        venue_initial_margin=shown(cross.total_margin_used),
    )


def parse_spot(account: str, state: SpotState, asked_at: int | None = None) -> BalanceState:
    """Translate spot balances. They are no part of a perp pool: in standard mode nothing moves between the two by itself."""
    return BalanceState(
        account=account,
        scope="spot",
        full=True,
        coins=tuple(_coin(row) for row in state.balances),
        asked_at=asked_at,
    )


def _coin(row: SpotBalance) -> CoinBalance:
    total = exact(row.total)
    owes = row.borrowed is not None and row.borrowed != 0  # whether the total is net of it is not documented
    return CoinBalance(
        ccy=row.coin,
        total=total,
        cash=None if owes else total,
        available=None if row.hold is None else exact(DIGITS.subtract(row.total, row.hold)),
        collateral=None if row.ltv is None else row.ltv > 0,
        discount=shown(row.ltv),
    )
