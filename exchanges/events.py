"""What venues say, in one vocabulary: frozen records that codecs emit and the engine consumes.

Owns the normalized event types. Never parses, computes or keeps state. Every figure that a venue sent stays the exact
decimal string that it sent; ``None`` means unknown and is never 0. Times are integers, milliseconds since the Unix
epoch, named ``*_at``. Amounts are effects on the account's balance: + received, - paid.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal
from urllib.parse import quote

import msgspec

Side = Literal["long", "short"]
MarginMode = Literal["cross", "isolated"]
Kind = Literal["perp", "future", "option", "margin", "event"]
OrderSide = Literal["buy", "sell"]
ContractType = Literal["linear", "inverse", "quanto"]
PriceKind = Literal["mark", "index", "spot"]
# How a position adds to its pool's equity: its unrealised PnL, or its signed value (size * mark).
Basis = Literal["upnl", "value"]
FeedState = Literal["connecting", "authenticating", "subscribing", "live", "stale", "down"]
# What the venue says of a liquidation price: a price, none exists (nothing above zero liquidates), or it cannot be told.
LiquidationKnown = Literal["price", "none", "unknown"]
# Why a position changed, as far as the venue says so: evidence, never a guess. "adjustment": split, rebase, rename.
Cause = Literal["trade", "liquidation", "adl", "settlement", "adjustment", "margin", "funding"]
TransferKind = Literal[
    "deposit", "withdrawal", "transfer", "conversion", "interest", "rebate", "bonus", "settlement", "reward",
    "liquidation", "other",
]  # fmt: skip
Execution = Literal["live", "paper", "backtest"]


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

    Attributes:
        min_price, max_price: The ends of the contract's prices, of a venue that names a liquidation price only between them
            (Bybit): beyond them, and at them, there is none.
        rebased: The venue says that sizes and entries of this contract were converted (a split, a redenomination).
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
    min_price: str | None = None
    max_price: str | None = None
    max_leverage: str | None = None
    tiers_key: str | None = None
    status: str = "live"
    expires_at: int | None = None
    rebased: bool = False


class MarginTier(Event, frozen=True, kw_only=True):
    """One bracket. Maintenance of a position in it = notional * rate - deduction (deduction in the settle currency)."""

    lower: str
    rate: str
    deduction: str = "0"
    max_leverage: str | None = None


class MarginTiers(Event, frozen=True, kw_only=True):
    """The brackets of one ``tiers_key``, ascending by ``lower`` (in notional, or in contracts where ``unit`` says so).

    Attributes:
        margin_mode: The margin mode that they are for, where the venue has tables of their own (OKX); None: both.
        account: The account that they are for, where the venue states them per account (Aster); None: all.
    """

    venue: str
    env: str
    key: str
    unit: Literal["notional", "contracts"]
    tiers: tuple[MarginTier, ...]
    margin_mode: MarginMode | None = None
    account: str | None = None


class CollateralTier(Event, frozen=True, kw_only=True):
    """From this amount of the coin on, this fraction of its value counts ("0.95"; "0": nothing more)."""

    lower: str
    rate: str


class CollateralTiers(Event, frozen=True, kw_only=True):
    """How much of a currency's value counts as collateral, by the amount held: ascending by ``lower``, in the coin itself.

    A debt has no haircut: it counts whole. The newest replaces the older one. Emitted by public links.

    Attributes:
        marginal: Each rate counts for the part of the amount that lies in its tier; else the rate of the tier that the
            amount falls in counts for all of it.
    """

    venue: str
    env: str
    ccy: str
    tiers: tuple[CollateralTier, ...]
    marginal: bool = True


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
        funding: Funding since the position was opened, as the venue itself counts it (+ received), in settle currency.
        venue_value: An option's present value in settle currency, signed, as the venue states it.
        venue_maintenance_margin: Amount in settle currency as sent. Not derived from a liquidation price: models may read it.
        venue_liquidation_price, venue_margin_ratio: What models are compared with; no model may read them.
        max_leverage: The row's own maximum leverage where it drives maintenance (Hyperliquid).
        trading_fee: Estimated closing fee inside the maintenance margin, in settle currency (Bybit), where known.
        hedged: It is one of the two legs of its symbol, where each symbol has a mode of its own (Bybit).
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
    venue_value: str | None = None
    venue_initial_margin: str | None = None
    venue_maintenance_margin: str | None = None
    venue_margin_ratio: str | None = None
    venue_liquidation_price: str | None = None
    liquidation_known: LiquidationKnown = "unknown"
    trading_fee: str | None = None
    funding: str | None = None
    hedged: bool = False


class PositionsSnapshot(Event, frozen=True, kw_only=True):
    """Every open position of one account in ``scope``: a stored row of that scope that is not in it is closed.

    Emitted only when complete (all pages were seen, no query failed). ``asked_at`` is set for REST answers: our clock
    when the question was asked; a row that changed after that moment is not touched. ``fence`` is the venue's order of
    the whole state where it has one (Hyperliquid block time).

    ``routine``: a periodic message that is this venue's ordinary way to tell of changes (Hyperliquid's state push, after
    the first one of a connection). What any other snapshot changes is a correction: nothing had told of it. ``repeats``: it is
    pushed again every few seconds, which is how this venue tells of changes; the first one of a connection says so already.
    """

    account: str
    scope: str
    positions: tuple[PositionState, ...]
    asked_at: int | None = None
    fence: tuple[int, ...] = ()
    routine: bool = False
    repeats: bool = False


class CoinBalance(Event, frozen=True, kw_only=True):
    """One currency of an account.

    Attributes:
        total: What the venue calls the balance of the coin; shown to users as it was sent.
        cash: The mark-independent part (debts deducted), from which equity is rebuilt; None where the venue has no such figure.
        isolated_apart: The margins of isolated positions were taken out of ``cash`` (OKX) rather than being part of it (Bybit).
        equity: The venue's own equity in the coin: a check, never an input.
        usd_price: The coin's price in US dollars that this same message states or implies.
        collateral: Whether the coin backs positions; ``discount``: the fraction of its value that counts ("0.95"), where
            one figure says it (tiers by amount: that of the amount held).
        locked: What open orders hold of the coin, where the venue says so.
    """

    ccy: str
    total: str
    cash: str | None = None
    isolated_apart: bool = False
    equity: str | None = None
    available: str | None = None
    usd_price: str | None = None
    collateral: bool | None = None
    discount: str | None = None
    locked: str | None = None


class PoolState(Event, frozen=True, kw_only=True):
    """One pool of margin of an account, in ``ccy``.

    Attributes:
        basis: How positions add to equity: "upnl" (cash + sum of unrealised PnL) or "value" (cash + sum of signed
            size * mark; Hyperliquid ``totalRawUsd``).
        cash: Mark-independent balance of the pool in ``ccy``; None: equity cannot be rebuilt and the venue's is shown.
        from_coins: The pool's collateral is the account's coins (``CoinBalance.cash``), each at its price less its haircut.
        pnl_discounted: A haircut is taken of a coin's balance and the unrealised PnL in it together (OKX), where that is above
            zero; else PnL counts whole (Bybit).
        held: What of the collateral backs no positions (holds and haircuts of open orders), in ``ccy``: the equity that
            meets maintenance is less by it. None: what they hold is not known, if there are any.
        equity_after_held: ``venue_equity`` lacks ``held`` already (OKX ``adjEq``).
        options_count: Options add their value (their premium was paid from ``cash``); else the pool leaves them out.
        venue_*: The venue's own figures at ``BalanceState.venue_at``.
        liquidated_at: The ``venue_ratio`` at which the venue liquidates.
    """

    pool: str
    ccy: str
    basis: Basis = "upnl"
    cash: str | None = None
    from_coins: bool = False
    pnl_discounted: bool = False
    held: str | None = "0"
    equity_after_held: bool = False
    options_count: bool = True
    venue_equity: str | None = None
    venue_maintenance_margin: str | None = None
    venue_initial_margin: str | None = None
    venue_ratio: str | None = None
    liquidated_at: str = "1"
    order_margin: str | None = None
    available: str | None = None


class BalanceState(Event, frozen=True, kw_only=True):
    """Balances and pools of one account. ``full`` replaces everything of ``scope``; otherwise coins and pools merge by name.

    Attributes:
        prices: What coins that it does not name were worth as it was written, where that is known (US dollars): as it came, and
            the lowest and highest of just before. No venue says it: who keeps a report adds it, since ``cash`` follows from them.
    """

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
    prices: Mapping[str, tuple[float, float, float]] = {}


class FreeBalance(Event, frozen=True, kw_only=True):
    """How much of a currency could leave an account, all its purses together: told where it was asked for, never pushed."""

    account: str
    ccy: str
    amount: str


class AccountMode(Event, frozen=True, kw_only=True):
    """The account's mode in the venue's own words.

    Attributes:
        computable: False where pools of this mode cannot be computed locally (portfolio margin): the venue's figures are shown.
        hedge: Whether long and short legs of a symbol are positions of their own; None where the venue does not say.
    """

    account: str
    mode: str
    computable: bool = True
    hedge: bool | None = None


class FundingRate(Event, frozen=True, kw_only=True):
    """What the next funding of a perpetual will cost: + means that longs pay and shorts receive, as a fraction of notional.

    ``paid_on``: the price whose notional counts.
    """

    venue: str
    env: str
    symbol: str
    rate: str
    next_at: int | None = None
    at: int | None = None
    paid_on: PriceKind = "mark"


class CurrencyPrice(Event, frozen=True, kw_only=True):
    """A currency in US dollars by a public index of the venue. Stablecoins too: USDT is not 1.

    ``quote``: what the index really counts in, where that is a stablecoin.
    """

    venue: str
    env: str
    ccy: str
    usd: str
    quote: str = "USD"
    at: int | None = None


class Order(Event, frozen=True, kw_only=True):
    """One order as the venue reports it; ``open`` False: filled, cancelled, rejected, expired: it is in no table any more.

    Attributes:
        scope: Names the full lists (``OpenOrders``) that cover it.
        position_side: The leg it acts on, where the venue says so (hedge mode).
        type, status, category: The venue's own words (``limit``, ``Filled``, ``full_liquidation`` …).
        size, filled: In the venue's unit, positive.
        fence: The venue's order of reports of this order.
    """

    account: str
    scope: str
    symbol: str
    order_id: str
    open: bool
    side: OrderSide
    position_side: Side | None = None
    type: str = ""
    status: str = ""
    category: str = ""
    price: str | None = None
    trigger_price: str | None = None
    size: str | None = None
    filled: str | None = None
    average_price: str | None = None
    reduce_only: bool | None = None
    client_id: str | None = None
    created_at: int | None = None
    updated_at: int | None = None
    fence: tuple[int, ...] = ()

    @property
    def id(self) -> str:
        """The row's id: a venue's order ids are per symbol."""
        return position_id(self.account, self.symbol, self.order_id)


class OpenOrders(Event, frozen=True, kw_only=True):
    """Every open order of one account in ``scope``: one that is not in it is open no more. Complete or not emitted."""

    account: str
    scope: str
    orders: tuple[Order, ...]
    asked_at: int | None = None
    fence: tuple[int, ...] = ()


class Fill(Event, frozen=True, kw_only=True):
    """One execution of ours. The same one has the same ``id`` wherever it is read; it never changes a position by itself.

    Attributes:
        id: ``position_id(account, …)`` of what is unique: OKX and Aster symbol, trade id, order id; Bybit execId;
            Hyperliquid oid, tid. A venue's trade id alone is never a key.
        size: In the venue's unit, positive.
        position: Id of the position it belongs to, where the message says so without doubt.
        fee: Effect on the balance: - paid, + rebate.
        realized_pnl: Of the price alone, without the fee; "0" for an opening fill where the venue says so.
        cause: What made it happen; ``category`` is the venue's word for it, which is the evidence.
        start_position: The signed size before it, where the venue says so of every fill (Hyperliquid): gaps show.
        held_before: The same where only the venue's books say it, not the stream (Bybit): of the leg that it is of, without
            which other fills there are following from it.
    """

    account: str
    id: str
    symbol: str
    order_id: str
    side: OrderSide
    size: str
    price: str
    at: int
    position: str | None = None
    trade_id: str | None = None
    fee: str | None = None
    fee_ccy: str | None = None
    role: Literal["maker", "taker"] | None = None
    realized_pnl: str | None = None
    cause: Cause = "trade"
    category: str = ""
    start_position: str | None = None
    held_before: str | None = None


class FundingPayment(Event, frozen=True, kw_only=True):
    """Funding of one position: ``amount`` + received, - paid, in ``ccy``. ``side``: which was held, where the venue says so."""

    account: str
    id: str
    symbol: str
    amount: str
    ccy: str
    at: int
    position: str | None = None
    rate: str | None = None
    size: str | None = None
    side: Side | None = None


class Transfer(Event, frozen=True, kw_only=True):
    """Money that came or went without a trade: ``amount`` + received, - given. ``what`` is the venue's own word.

    ``symbol``, ``position``: whose settlement or liquidation it was, where the venue says so.
    """

    account: str
    id: str
    kind: TransferKind
    ccy: str
    amount: str
    at: int
    what: str = ""
    symbol: str | None = None
    position: str | None = None


class ClosedPnl(Event, frozen=True, kw_only=True):
    """The venue's own record of realised PnL: of one closing, of one cycle, or of one booking; see ``source``.

    Attributes:
        source: The venue's name for it: ``positions-history`` (OKX), ``closed-pnl`` (Bybit), ``income`` (Aster), ``fills``
            (Hyperliquid: ``closedPnl``).
        at: When it was booked; ``opened_at`` where the venue says so.
        realized_pnl: Of the price alone, where the venue states it apart. ``realized_net``: with fees (and what else it counts
            in). Amounts: + received, - paid, in ``ccy``.
        order_id, trade_id: What it came from, where the venue says so.
    """

    account: str
    id: str
    source: str
    symbol: str
    at: int
    position: str | None = None
    side: Side | None = None
    ccy: str | None = None
    size: str | None = None
    entry_price: str | None = None
    exit_price: str | None = None
    realized_pnl: str | None = None
    fees: str | None = None
    funding: str | None = None
    liquidation_fee: str | None = None
    realized_net: str | None = None
    opened_at: int | None = None
    order_id: str | None = None
    trade_id: str | None = None
    what: str = ""


class Evidence(Event, frozen=True, kw_only=True):
    """The venue names the cause of a change without a fill of ours saying it (a notice, a bill, an event type).

    ``ids`` are the venue's (bill, order, liquidation), ``what`` its words. ``position`` where it says which leg.
    """

    account: str
    symbol: str
    cause: Cause
    what: str
    at: int
    ids: tuple[str, ...] = ()
    position: str | None = None


class LiquidationWarning(Event, frozen=True, kw_only=True):
    """The venue warns that a position (or, without symbol, the account) is close to liquidation."""

    account: str
    what: str
    at: int
    symbol: str | None = None
    position: str | None = None


class KeyInfo(Event, frozen=True, kw_only=True):
    """What a key may do. Never holds the key.

    Attributes:
        powers: Everything beyond reading, in the venue's words (``trade``, ``withdraw`` …); empty: read-only.
        owner: The venue's id of the account that it speaks for: two configured accounts with one owner are one account.
        ip_bound: Whether it works from listed addresses alone; None where the venue does not say.
    """

    account: str
    powers: tuple[str, ...]
    owner: str | None = None
    label: str | None = None
    expires_at: int | None = None
    ip_bound: bool | None = None


class Verified(Event, frozen=True, kw_only=True):
    """The whole state of an account was asked at ``asked_at``; what the venue answered stands before it in the same turn."""

    account: str
    asked_at: int


class VerificationFailed(Event, frozen=True, kw_only=True):
    """The account's state could not be asked; nothing is known of it, and it is not "flat".

    ``refused``: only the operator can help, and it is not asked again.
    """

    account: str
    at: int
    error: str
    refused: bool = False


class HistoryRead(Event, frozen=True, kw_only=True):
    """Fills, funding and causes since ``since`` were asked at ``asked_at`` and stand before it: what is not there, is not.

    ``whole``: nothing of the money is missing; False where rows could not be read, or the account cannot be asked for all of it.
    """

    account: str
    since: int
    asked_at: int
    whole: bool = True


class HistoryFailed(Event, frozen=True, kw_only=True):
    """What happened since ``since`` was asked at ``asked_at`` and not answered: nothing is known of it, and it is not asked again
    unless somebody wants it again.
    """

    account: str
    since: int
    asked_at: int


class FeedStatus(Event, frozen=True, kw_only=True):
    """State of one connection, emitted on every transition; ``id`` is ``account:connection`` or ``venue:connection``.

    ``polled``: there is no stream; the state is asked again and again.
    """

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
    polled: bool = False
