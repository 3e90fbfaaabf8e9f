"""The shapes of Aster's messages, as far as they are read, and their decoding. Pure.

Owns what is accepted as a figure, a time or an id. Unknown fields are ignored; whole numbers arrive as numbers or as text
(``updateTime``, ``orderId``: seen live); a field of a wrong type or an impossible figure is a ``ProtocolViolation``.
"""

from __future__ import annotations

import re
from typing import Annotated, TypeVar

import msgspec
from msgspec import Meta, Raw, Struct, field

from exchanges.errors import ProtocolViolation
from exchanges.venue import Data

# At most 64 characters and a two-digit exponent: whatever follows stays finite in float64.
_NUMBER = r"-?[0-9]+(\.[0-9]+)?([eE][-+]?[0-9]{1,2})?"
Known = Annotated[str, Meta(pattern=rf"\A{_NUMBER}\Z", max_length=64)]
Figure = Annotated[str, Meta(pattern=rf"\A({_NUMBER})?\Z", max_length=64)] | None
Name = Annotated[str, Meta(min_length=1, max_length=64)]
Id = Annotated[int, Meta(ge=0)] | Annotated[str, Meta(pattern=r"\A[0-9]{0,30}\Z")]
Millis = Annotated[int, Meta(ge=0, le=10**14)] | Annotated[str, Meta(pattern=r"\A[0-9]{0,14}\Z")] | None

T = TypeVar("T")
_PLAIN = re.compile(rf"\A{_NUMBER}\Z")


class Frame(Struct, frozen=True):
    """What every frame is told apart by: an event (bare, or inside ``data`` with its ``stream``), a reply, or an error."""

    e: str = ""
    stream: str = ""
    data: Raw = Raw()
    id: int | str | None = None
    result: Raw = Raw()
    code: int | None = None
    msg: str = ""
    error: Fault | None = None


class Fault(Struct, frozen=True):
    """An error: of a reply, or of a REST answer (whose ``code`` 200 is a success)."""

    code: int | str = 0
    msg: str = ""

    @property
    def number(self) -> int:
        """Return the code as a number; 0 where it is none."""
        text = str(self.code)
        return int(text) if re.fullmatch(r"-?[0-9]{1,9}", text) else 0


class Mark(Struct, frozen=True):
    """``markPriceUpdate``: mark, index, current funding rate, next funding time."""

    s: Name
    p: Known
    event_at: Millis = field(name="E")
    i: Figure = None
    r: Figure = None
    next_at: Millis = field(default=None, name="T")


class PushedBalance(Struct, frozen=True):
    """One asset of ``ACCOUNT_UPDATE``: wallet balance, and the part of it that cross positions share."""

    a: Name
    wb: Known
    cw: Known


class PushedPosition(Struct, frozen=True):
    """One leg of ``ACCOUNT_UPDATE``; ``pa`` is signed, ``iw`` excludes unrealised PnL, ``ma`` is not documented."""

    s: Name
    pa: Known
    ps: str
    mt: str = ""
    ep: Figure = None
    up: Figure = None
    iw: Figure = None
    ma: str | None = None


class Update(Struct, frozen=True):
    """The body of ``ACCOUNT_UPDATE``; rows are decoded one by one, so that a bad one costs no other."""

    m: str = ""
    balances: list[Raw] = field(default_factory=list, name="B")
    positions: list[Raw] = field(default_factory=list, name="P")


class AccountUpdate(Struct, frozen=True):
    """``ACCOUNT_UPDATE``: absolute values of what changed, and of nothing else."""

    a: Update
    event_at: Millis = field(name="E")
    done_at: Millis = field(default=None, name="T")


class PushedOrder(Struct, frozen=True, kw_only=True):
    """The body of ``ORDER_TRADE_UPDATE``; commission ``n`` is positive where it is paid, absent where there is none."""

    s: Name
    i: Id
    side: str = field(name="S")
    ps: str = ""
    c: str = ""
    o: str = ""
    q: Figure = None
    p: Figure = None
    ap: Figure = None
    sp: Figure = None
    x: str
    status: str = field(name="X")
    l: Figure = None  # noqa: E741 - the venue's own name
    z: Figure = None
    last_price: Figure = field(default=None, name="L")
    n: Figure = None
    fee_ccy: str | None = field(default=None, name="N")
    t: Id = 0
    traded_at: Millis = field(default=None, name="T")
    m: bool | None = None
    reduce_only: bool | None = field(default=None, name="R")
    rp: Figure = None


class OrderUpdate(Struct, frozen=True):
    """``ORDER_TRADE_UPDATE``."""

    o: PushedOrder
    event_at: Millis = field(name="E")
    done_at: Millis = field(default=None, name="T")


class Leverage(Struct, frozen=True):
    """A symbol's new leverage."""

    s: Name
    l: int  # noqa: E741 - the venue's own name


class Modes(Struct, frozen=True):
    """The account's switches: ``j`` multi-assets mode, ``d`` hedge mode (newer messages alone)."""

    j: bool | None = None
    d: bool | None = None


class ConfigUpdate(Struct, frozen=True):
    """``ACCOUNT_CONFIG_UPDATE``."""

    event_at: Millis = field(name="E")
    done_at: Millis = field(default=None, name="T")
    ac: Leverage | None = None
    ai: Modes | None = None


class CalledPosition(Struct, frozen=True):
    """One position of ``MARGIN_CALL``: amount, mark, maintenance margin."""

    s: Name
    ps: str
    pa: str = ""
    mp: str = ""
    mm: str = ""


class MarginCall(Struct, frozen=True):
    """``MARGIN_CALL``."""

    event_at: Millis = field(name="E")
    p: list[CalledPosition] = []


class Announced(Struct, frozen=True):
    """The English text of an announcement: title, subtitle, category."""

    t: str = ""
    s: str = ""
    c: str = ""


class Announcement(Struct, frozen=True):
    """``announcement``: it has no time of its own."""

    en: Announced = Announced()


class PositionRow(Struct, frozen=True, kw_only=True, rename="camel"):
    """One leg of ``positionRisk``; ``isolatedMargin`` includes unrealised PnL, ``isolatedWallet`` does not."""

    symbol: Name
    position_amt: Known
    position_side: str
    margin_type: str = ""
    entry_price: Figure = None
    mark_price: Figure = None
    un_realized_profit: Figure = None
    liquidation_price: Figure = None
    leverage: Figure = None
    isolated_margin: Figure = None
    isolated_wallet: Figure = None
    notional: Figure = None
    update_time: Millis = None


class AssetRow(Struct, frozen=True, kw_only=True, rename="camel"):
    """One asset of the account."""

    asset: Name
    wallet_balance: Known
    cross_wallet_balance: Figure = None
    cross_un_pnl: Figure = None
    margin_balance: Figure = None
    maint_margin: Figure = None
    position_initial_margin: Figure = None
    open_order_initial_margin: Figure = None
    available_balance: Figure = None
    max_withdraw_amount: Figure = None
    margin_available: bool | None = None


class MarginRow(Struct, frozen=True, kw_only=True, rename="camel"):
    """One leg of the account: its margins."""

    symbol: Name
    position_amt: Figure = None
    position_side: str = "BOTH"
    position_initial_margin: Figure = None
    maint_margin: Figure = None
    isolated: bool = False


class Account(Struct, frozen=True, kw_only=True, rename="camel"):
    """The account; totals are documented "for USDT only" and mean US dollars in multi-assets mode."""

    assets: list[AssetRow]
    positions: list[MarginRow] = []
    can_trade: bool | None = None
    can_withdraw: bool | None = None
    total_cross_wallet_balance: Figure = None
    total_cross_un_pnl: Figure = None
    total_maint_margin: Figure = None
    total_position_initial_margin: Figure = None
    total_open_order_initial_margin: Figure = None
    available_balance: Figure = None
    max_withdraw_amount: Figure = None


class OrderRow(Struct, frozen=True, kw_only=True, rename="camel"):
    """One order, open or done."""

    symbol: Name
    order_id: Id
    side: str
    status: str
    position_side: str = ""
    client_order_id: str = ""
    type: str = ""
    price: Figure = None
    stop_price: Figure = None
    avg_price: Figure = None
    orig_qty: Figure = None
    executed_qty: Figure = None
    reduce_only: bool | None = None
    time: Millis = None
    update_time: Millis = None


class TradeRow(Struct, frozen=True, kw_only=True, rename="camel"):
    """One fill of ``userTrades``."""

    symbol: Name
    id: Id
    order_id: Id
    side: str
    price: Known
    qty: Known
    time: Annotated[int, Meta(ge=0)] | Annotated[str, Meta(pattern=r"\A[0-9]{1,14}\Z")]
    position_side: str = ""
    commission: Figure = None
    commission_asset: str | None = None
    realized_pnl: Figure = None
    maker: bool | None = None


class IncomeRow(Struct, frozen=True, kw_only=True, rename="camel"):
    """One line of the books."""

    income_type: Name
    income: Known
    asset: Name
    time: Annotated[int, Meta(ge=0)] | Annotated[str, Meta(pattern=r"\A[0-9]{1,14}\Z")]
    tran_id: Id
    symbol: str = ""


class MarginChange(Struct, frozen=True, kw_only=True, rename="camel"):
    """Margin that was added to an isolated position (type 1) or taken from it (2)."""

    symbol: Name
    amount: Known
    asset: Name
    time: Annotated[int, Meta(ge=0)]
    type: int
    position_side: str = "BOTH"


class Multi(Struct, frozen=True, rename="camel"):
    """Whether all assets are one collateral."""

    multi_assets_margin: bool


class Dual(Struct, frozen=True, rename="camel"):
    """Whether a symbol has a long and a short leg."""

    dual_side_position: bool


class ListenKey(Struct, frozen=True, rename="camel"):
    """The key that opens the account's stream."""

    listen_key: Annotated[str, Meta(pattern=r"\A[A-Za-z0-9_-]{8,256}\Z")]


class Agent(Struct, frozen=True, kw_only=True, rename="camel"):
    """One API wallet of the account and what it may do."""

    agent_address: str
    agent_name: str | None = None
    ip_whitelist: str | None = None
    expired: Millis = None
    can_read: bool = True
    can_spot_trade: bool
    can_perp_trade: bool
    can_withdraw: bool


class Bracket(Struct, frozen=True, rename="camel"):
    """One margin bracket, figures as JSON numbers (kept as they are written)."""

    notional_floor: Raw
    maint_margin_ratio: Raw
    cum: Raw
    initial_leverage: Raw


class Brackets(Struct, frozen=True):
    """The brackets of one symbol, for this account."""

    symbol: Name
    brackets: list[Bracket]


class Filter(Struct, frozen=True, rename="camel"):
    """One rule of a contract; only prices have a tick."""

    filter_type: str = ""
    tick_size: Figure = None


class SymbolRow(Struct, frozen=True, kw_only=True, rename="camel"):
    """One contract."""

    symbol: Name
    contract_type: str
    base_asset: Name
    quote_asset: Name
    margin_asset: Name
    status: str = ""
    filters: list[Filter] = []


class ExchangeInfo(Struct, frozen=True):
    """The contract table."""

    symbols: list[Raw]


class ServerTime(Struct, frozen=True, rename="camel"):
    """The venue's clock, ms."""

    server_time: Annotated[int, Meta(ge=0)]


def decode(data: Data | Raw, shape: type[T], what: str) -> T:
    """Decode JSON to a shape.

    Raises:
        ProtocolViolation: Not JSON, or not of that shape; ``what`` names the message.
    """
    try:
        return msgspec.json.decode(data, type=shape)
    except (msgspec.DecodeError, UnicodeError) as error:
        raise ProtocolViolation("aster", f"{what} is not as documented: {error}") from None
    except RecursionError:
        raise ProtocolViolation("aster", f"{what} is nested too deeply") from None


def millis(value: int | str | None) -> int | None:
    """Return a time in ms, None where it is missing, ``""`` or 0 (a row that was never touched)."""
    return int(value or 0) or None


def plain(raw: Raw, what: str) -> str:
    """Return a figure that is a JSON number or a text, digits unchanged. Raises ProtocolViolation."""
    text = bytes(raw).decode(errors="replace").strip().strip('"')
    if _PLAIN.match(text) is None or len(text) > 64:
        raise ProtocolViolation("aster", f"{what} is not a figure: {text[:40]!r}")
    return text
