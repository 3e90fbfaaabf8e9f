"""What venues say, in one vocabulary: frozen records that codecs emit and the engine consumes.

Owns the normalized event types. Never parses, computes or keeps state. Every figure that a venue sent stays the exact
decimal string that it sent; ``None`` means unknown and is never 0. Times are integers, milliseconds since the Unix
epoch, named ``*_at``. Amounts are effects on the account's balance: + received, - paid.
"""

from __future__ import annotations

from typing import Literal
from urllib.parse import quote

import msgspec

Side = Literal["long", "short"]
MarginMode = Literal["cross", "isolated"]
Kind = Literal["perp", "future", "option", "margin"]
ContractType = Literal["linear", "inverse", "quanto"]
PriceKind = Literal["mark", "index", "spot"]
# How a position adds to its pool's equity: its unrealised PnL, or its signed value (size * mark).
Basis = Literal["upnl", "value"]
FeedState = Literal["connecting", "authenticating", "subscribing", "live", "stale", "down"]
# What the venue says of a liquidation price: a price, none exists (nothing above zero liquidates), or it cannot be told.
LiquidationKnown = Literal["price", "none", "unknown"]


def position_id(account: str, *parts: str) -> str:
    """Build a position's id: account first, then what the venue uses to tell positions apart, percent-encoded."""
    return ":".join(quote(part, safe="-_.~") for part in (account, *parts))


def known(value: str | None) -> str | None:
    """Return a venue's figure as it was sent; the venues' ``""`` means unknown and becomes None, never 0."""
    return value or None


class Event(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Base of all events; never emitted itself."""


class Instrument(Event, frozen=True, kw_only=True):
    """One contract of one venue and environment (demo contract sizes differ from live ones).

    Emitted by public links from REST or an instruments channel; the newest replaces the older one.
    """

    venue: str
    env: str
    symbol: str
    unified_symbol: str
    base: str
    base_multiplier: str = "1"
    quote: str
    settle: str
    kind: Kind
    contract_type: ContractType
    contract_size: str
    contract_ccy: str
    tick_size: str | None = None
    max_leverage: str | None = None
    tiers_key: str | None = None
    status: str = "live"
    expires_at: int | None = None


class MarginTier(Event, frozen=True, kw_only=True):
    """One bracket. Maintenance of a position in it = notional * rate - deduction (deduction in the settle currency)."""

    lower: str
    rate: str
    deduction: str = "0"
    max_leverage: str | None = None


class MarginTiers(Event, frozen=True, kw_only=True):
    """The brackets of one ``tiers_key``, ascending by ``lower`` (in notional, or in contracts where ``unit`` says so)."""

    venue: str
    env: str
    key: str
    unit: Literal["notional", "contracts"]
    tiers: tuple[MarginTier, ...]


class Price(Event, frozen=True, kw_only=True):
    """A price of a symbol. ``at`` is the venue's own time, or None where the venue sends none (receipt counts then)."""

    venue: str
    env: str
    symbol: str
    value: str
    kind: PriceKind = "mark"
    at: int | None = None


class PositionState(Event, frozen=True, kw_only=True):
    """One position as the venue reported it; ``size == "0"`` says that it is closed (``side`` may then be None).

    Attributes:
        id: From ``position_id``; the same position has the same id in every channel and REST answer.
        scope: Names the full-replacement snapshots that cover this row (see ``PositionsSnapshot.scope``).
        pool: What is liquidated together: the codec's name for the pool, ``iso:<id>`` for isolated positions.
        fence: The venue's own order (sequence or times). A smaller fence than the stored one is older and is ignored.
        contract_size, contract_type: Only where the message itself settles them (sizes in base by the venue's rules);
            elsewhere the ``Instrument`` says so.
        mark_price: The mark *of this same message*; with ``venue_unrealized_pnl`` it forms an anchor. None: no anchor.
        entry_exact: False where the venue rounds ``entry_price`` (Hyperliquid): PnL is then never computed from it.
        isolated_cash: Mark-independent collateral of an isolated position in settle currency: equity is this plus
            unrealised PnL, or plus signed value where ``isolated_basis`` is "value" (Hyperliquid ``rawUsd``).
        pnl_price: The price that unrealised PnL counts from where it is not ``entry_price``: after a periodic settlement
            (Bybit USDC ``sessionAvgPrice``) profit has moved into the balance while the shown entry stayed.
        venue_maintenance_margin: Amount in settle currency as sent. Not derived from a liquidation price: models may read it.
        venue_liquidation_price, venue_margin_ratio: What models are compared with; no model may read them.
        max_leverage: The row's own maximum leverage where it drives maintenance (Hyperliquid).
        trading_fee: Estimated closing fee inside the maintenance margin, in settle currency (Bybit), where known.
    """

    account: str
    id: str
    scope: str
    symbol: str
    kind: Kind = "perp"
    side: Side | None
    size: str
    margin_mode: MarginMode | None
    pool: str
    fence: tuple[int, ...] = ()
    venue_at: int | None = None
    settle: str | None = None
    status: str = "open"
    entry_price: str | None = None
    entry_exact: bool = True
    pnl_price: str | None = None
    break_even_price: str | None = None
    leverage: str | None = None
    max_leverage: str | None = None
    isolated_margin: str | None = None
    contract_size: str | None = None
    contract_type: ContractType | None = None
    isolated_cash: str | None = None
    isolated_basis: Basis = "upnl"
    adl: int | None = None
    take_profit: str | None = None
    stop_loss: str | None = None
    opened_at: int | None = None
    mark_price: str | None = None
    venue_unrealized_pnl: str | None = None
    venue_notional: str | None = None
    venue_initial_margin: str | None = None
    venue_maintenance_margin: str | None = None
    venue_margin_ratio: str | None = None
    venue_liquidation_price: str | None = None
    liquidation_known: LiquidationKnown = "unknown"
    trading_fee: str | None = None


class PositionsSnapshot(Event, frozen=True, kw_only=True):
    """Every open position of one account in ``scope``: a stored row of that scope that is not in it is closed.

    Emitted only when complete (all pages were seen, no query failed). ``asked_at`` is set for REST answers: our clock
    when the question was asked; a row that changed after that moment is not touched. ``fence`` is the venue's order of
    the whole state where it has one (Hyperliquid block time).
    """

    account: str
    scope: str
    positions: tuple[PositionState, ...]
    asked_at: int | None = None
    fence: tuple[int, ...] = ()


class CoinBalance(Event, frozen=True, kw_only=True):
    """One currency of an account.

    Attributes:
        total: What the venue calls the balance of the coin; shown to users as it was sent.
        cash: The mark-independent part (debts deducted), from which equity is rebuilt; None where the venue has no such figure.
        isolated_apart: The margins of isolated positions were taken out of ``cash`` (OKX) rather than being part of it (Bybit).
        equity: The venue's own equity in the coin: a check, never an input.
        usd_price: The coin's price in US dollars that this same message states or implies.
    """

    ccy: str
    total: str
    cash: str | None = None
    isolated_apart: bool = False
    equity: str | None = None
    available: str | None = None
    usd_price: str | None = None


class PoolState(Event, frozen=True, kw_only=True):
    """One pool of margin of an account, in ``ccy``.

    Attributes:
        basis: How positions add to equity: "upnl" (cash + sum of unrealised PnL) or "value" (cash + sum of signed
            size * mark; Hyperliquid ``totalRawUsd``).
        cash: Mark-independent balance of the pool in ``ccy``; None: equity cannot be rebuilt and the venue's is shown.
        venue_*: The venue's own figures at ``BalanceState.venue_at``.
    """

    pool: str
    ccy: str
    basis: Basis = "upnl"
    cash: str | None = None
    venue_equity: str | None = None
    venue_maintenance_margin: str | None = None
    venue_initial_margin: str | None = None
    venue_ratio: str | None = None
    order_margin: str | None = None
    available: str | None = None


class BalanceState(Event, frozen=True, kw_only=True):
    """Balances and pools of one account. ``full`` replaces everything of ``scope``; otherwise coins and pools merge by name."""

    account: str
    scope: str
    full: bool
    coins: tuple[CoinBalance, ...] = ()
    pools: tuple[PoolState, ...] = ()
    available: str | None = None
    withdrawable: str | None = None
    fence: tuple[int, ...] = ()
    venue_at: int | None = None
    asked_at: int | None = None


class AccountMode(Event, frozen=True, kw_only=True):
    """The account's mode in the venue's own words.

    Attributes:
        computable: False where pools of this mode cannot be computed locally (portfolio margin, unified Hyperliquid
            accounts for now): the venue's figures are shown.
    """

    account: str
    mode: str
    computable: bool = True


class FeedStatus(Event, frozen=True, kw_only=True):
    """State of one connection, emitted on every transition; ``id`` is ``account:connection`` or ``venue:connection``."""

    id: str
    venue: str
    env: str
    account: str | None
    connection: str
    state: FeedState
    at: int
    reconnects: int = 0
    last_message_at: int | None = None
    lag_ms: int | None = None
    error: str | None = None
