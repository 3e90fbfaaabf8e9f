"""The envelopes and the REST answers of Aster, as far as they are read, and their decoding. Pure. (``pushes`` has the stream's.)

Owns what is accepted as a figure, a time or an id. Unknown fields are ignored; whole numbers arrive as numbers or as text
(``updateTime``, ``orderId``: seen live); a field of a wrong type or an impossible figure is a ``ProtocolViolation``.
"""

from __future__ import annotations

import re
from typing import Annotated, TypeVar

import msgspec
from msgspec import Meta, Raw, Struct

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
    trade_id: str | int = ""


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
