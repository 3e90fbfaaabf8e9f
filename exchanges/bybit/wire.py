"""The shapes of Bybit's messages, as far as they are read, and their decoding. Pure.

Owns what is accepted as a figure, a time or a sequence. Unknown fields are ignored and known ones may be missing (Bybit adds
and drops fields monthly); a field of a wrong type or an impossible figure is a ``ProtocolViolation``, never a guess. Figures
stay the strings that Bybit sent; ``""`` stays ``""`` here and becomes unknown in the parsers.
"""

from __future__ import annotations

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
_MsInt = Annotated[int, Meta(ge=-1, le=10**14)]
Millis = _MsInt | Annotated[str, Meta(pattern=r"\A[0-9]{0,14}\Z")] | None
Stamp = _MsInt | Annotated[str, Meta(pattern=r"\A[0-9]{0,19}\Z")] | None
Seq = Annotated[int, Meta(ge=-1, le=2**63 - 1)] | Annotated[str, Meta(pattern=r"\A(-1|[0-9]{0,18})\Z")] | None

T = TypeVar("T")


class Frame(Struct, frozen=True):
    """Any message of a stream. Bybit's sockets answer in snake_case and in camelCase; both are read."""

    topic: str = ""
    type: str = ""
    op: str = ""
    data: Raw = Raw()
    success: bool | None = None
    ret_code: int | None = field(default=None, name="retCode")
    ret_msg: str | None = None
    ret_message: str | None = field(default=None, name="retMsg")
    req_id: str | None = None
    request_id: str | None = field(default=None, name="reqId")
    request: Request | None = None
    creation_time: _MsInt | None = field(default=None, name="creationTime")
    ts: _MsInt | None = None

    @property
    def succeeded(self) -> bool:
        """True where the reply says so in either key style."""
        return self.success is True or (self.success is None and self.ret_code == 0)

    @property
    def text(self) -> str:
        """The reply's message."""
        return self.ret_msg or self.ret_message or ""

    @property
    def id(self) -> str:
        """The id of the request that is answered; "" where the socket does not echo it."""
        return self.req_id or self.request_id or ""


class Request(Struct, frozen=True):
    """The request that an old-style reply repeats."""

    op: str = ""


class TopicLists(Struct, frozen=True, rename="camel"):
    """Acknowledgement per topic (option and spread sockets)."""

    success_topics: list[str] = []
    fail_topics: list[str] = []


class PositionRow(Struct, frozen=True, kw_only=True, rename="camel"):
    """One leg, from the ``position`` topic or ``/v5/position/list`` (there the entry is called ``avgPrice``)."""

    symbol: Name
    position_idx: Annotated[int, Meta(ge=0, le=9)]
    size: Known
    trade_mode: int | None = None
    side: str = ""
    category: str = ""
    entry_price: Figure = None
    avg_price: Figure = None
    session_avg_price: Figure = None
    break_even_price: Figure = None
    leverage: Figure = None
    position_balance: Figure = None
    mark_price: Figure = None
    unrealised_pnl: Figure = None
    position_im: Figure = field(default=None, name="positionIM")
    position_im_by_mp: Figure = field(default=None, name="positionIMByMp")
    position_mm: Figure = field(default=None, name="positionMM")
    liq_price: Figure = None
    take_profit: Figure = None
    stop_loss: Figure = None
    position_status: str = ""
    adl_rank_indicator: Annotated[int, Meta(ge=0, le=99)] | None = None
    open_time: Millis = None
    updated_time: Millis = None
    seq: Seq = None


class CoinRow(Struct, frozen=True, kw_only=True, rename="camel"):
    """One coin of a wallet. ``spot_borrow`` is absent (None) in messages from before it existed."""

    coin: Name
    wallet_balance: Known
    equity: Figure = None
    usd_value: Figure = None
    available_to_withdraw: Figure = None
    spot_borrow: Figure = None
    total_position_im: Figure = field(default=None, name="totalPositionIM")
    locked: Figure = None
    collateral_switch: bool | None = None
    margin_collateral: bool | None = None


class WalletRow(Struct, frozen=True, kw_only=True, rename="camel"):
    """A wallet: account-wide figures in US dollars (without meaning in isolated mode) and coins."""

    total_wallet_balance: Figure = None
    total_margin_balance: Figure = None
    total_available_balance: Figure = None
    total_initial_margin: Figure = None
    total_maintenance_margin: Figure = None
    account_mm_rate: Figure = field(default=None, name="accountMMRate")
    coin: list[CoinRow] = []


class AccountInfo(Struct, frozen=True, rename="camel"):
    """Result of ``/v5/account/info``."""

    margin_mode: str
    unified_margin_status: int | None = None


class Transferable(Struct, frozen=True, rename="camel"):
    """Result of ``/v5/account/withdrawal``: amounts by the coins that were asked for."""

    available_withdrawal_map: dict[Name, Known]


class KeyRow(Struct, frozen=True, rename="camel"):
    """Result of ``/v5/user/query-api``, without the key itself."""

    read_only: int
    permissions: dict[str, list[str] | None]
    ips: list[str] | None = None
    note: str = ""
    expired_at: str = ""
    user_id: int | str | None = field(default=None, name="userID")


class ServerTime(Struct, frozen=True, rename="camel"):
    """Result of ``/v5/market/time``."""

    time_nano: Annotated[str, Meta(pattern=r"\A[0-9]{16,20}\Z")]


class ExtraFee(Struct, frozen=True, rename="camel"):
    """A fee beside the trading fee (a tax of some countries)."""

    fee_coin: str
    fee: Known


class ExecutionRow(Struct, frozen=True, kw_only=True, rename="camel"):
    """One execution, from the ``execution`` topic or ``/v5/execution/list``; ``exec_fee`` + is paid. It names no leg."""

    symbol: Name
    exec_id: Name
    exec_type: str
    exec_time: Millis
    category: str = ""
    side: str = ""
    order_id: str = ""
    exec_price: Figure = None
    exec_qty: Figure = None
    exec_fee: Figure = None
    exec_pnl: Figure = None
    fee_rate: Figure = None
    fee_currency: str | None = None
    extra_fees: list[ExtraFee] | str | None = None
    is_maker: bool | None = None
    closed_size: Figure = None
    create_type: str | None = None


class OrderRow(Struct, frozen=True, kw_only=True, rename="camel"):
    """One order, from the ``order`` topic, ``/v5/order/realtime`` or ``/v5/order/history``."""

    symbol: Name
    order_id: Name
    side: str
    order_status: str
    category: str = ""
    position_idx: Annotated[int, Meta(ge=0, le=9)] = 0
    order_type: str = ""
    stop_order_type: str | None = None
    create_type: str | None = None
    cancel_type: str | None = None
    order_link_id: str | None = None
    price: Figure = None
    trigger_price: Figure = None
    qty: Figure = None
    cum_exec_qty: Figure = None
    avg_price: Figure = None
    reduce_only: bool | None = None
    created_time: Millis = None
    updated_time: Millis = None


class LogRow(Struct, frozen=True, kw_only=True, rename="camel"):
    """One entry of ``/v5/account/transaction-log``: ``change = cash_flow + funding - fee``, funding + is received.

    ``size`` of an entry of a trade: what is held of the position after it, negative where that is a short.
    """

    id: Name
    type: Name
    transaction_time: Millis
    currency: Name
    symbol: str = ""
    category: str = ""
    trade_id: str | None = None
    order_id: str | None = None
    cash_flow: Figure = None
    funding: Figure = None
    change: Figure = None
    size: Figure = None


class Ticker(Struct, frozen=True, rename="camel"):
    """The part of a ticker that is read; a delta carries only what changed. ``usd_index_price``: spot pairs alone."""

    symbol: Name
    mark_price: Figure = None
    funding_rate: Figure = None
    next_funding_time: Millis = None
    usd_index_price: Figure = None


class LeverageFilter(Struct, frozen=True, rename="camel"):
    """Limits of leverage."""

    max_leverage: Figure = None


class PriceFilter(Struct, frozen=True, rename="camel"):
    """Limits of prices."""

    tick_size: Figure = None
    min_price: Figure = None
    max_price: Figure = None


class InstrumentRow(Struct, frozen=True, kw_only=True, rename="camel"):
    """One contract of ``/v5/market/instruments-info``."""

    symbol: Name
    base_coin: Name
    quote_coin: Name
    settle_coin: Name
    contract_type: str = ""
    options_type: str = ""
    status: str = ""
    delivery_time: Millis = None
    leverage_filter: LeverageFilter = LeverageFilter()
    price_filter: PriceFilter = PriceFilter()


class PairRow(Struct, frozen=True, rename="camel"):
    """One spot pair of ``/v5/market/instruments-info``."""

    symbol: Name
    base_coin: Name
    quote_coin: Name
    status: str = ""


class TierRow(Struct, frozen=True, kw_only=True, rename="camel"):
    """One margin tier of ``/v5/market/risk-limit``."""

    symbol: Name
    risk_limit_value: Known
    maintenance_margin: Known
    initial_margin: Known
    max_leverage: Known
    mm_deduction: Figure = None


class RatioTier(Struct, frozen=True, rename="camel"):
    """One tier of a collateral value ratio, in coins; ``maxQty`` "" has no end."""

    min_qty: Known
    collateral_ratio: Known
    max_qty: Figure = None


class RatioRow(Struct, frozen=True, rename="camel"):
    """One coin of ``/v5/spot-margin-trade/collateral``."""

    currency: Name
    collateral_ratio_list: list[RatioTier]


class Answer(Struct, frozen=True, rename="camel"):
    """The envelope of a REST answer. ``time`` is the server's clock when it answered (ms)."""

    result: Raw = Raw()
    ret_code: int | None = None
    ret_msg: str = ""
    time: _MsInt | None = None


class ClosedRow(Struct, frozen=True, kw_only=True, rename="camel"):
    """One row of ``/v5/position/closed-pnl``: what one order closed, or one session settlement. Fees are + where paid.

    Its times are milliseconds; the documentation's sample has one in nanoseconds.
    """

    symbol: Name
    side: str
    order_id: str = ""
    exec_type: str = ""
    closed_size: Figure = None
    avg_entry_price: Figure = None
    avg_exit_price: Figure = None
    closed_pnl: Figure = None
    open_fee: Figure = None
    close_fee: Figure = None
    created_time: Stamp = None
    updated_time: Stamp = None


class Page(Struct, frozen=True, rename="camel"):
    """One page of a list."""

    rows: list[Raw] = field(name="list")
    next_page_cursor: str | None = None
    category: str = ""


def decode(data: Data | Raw, shape: type[T], what: str) -> T:
    """Decode JSON to a shape.

    Raises:
        ProtocolViolation: Not JSON, or not of that shape; ``what`` names the message.
    """
    try:
        return msgspec.json.decode(data, type=shape)
    except (msgspec.DecodeError, UnicodeError) as error:
        raise ProtocolViolation("bybit", f"{what} is not as documented: {error}") from None
    except RecursionError:
        raise ProtocolViolation("bybit", f"{what} is nested too deeply") from None


def result(body: Data) -> tuple[Raw, int | None]:
    """Return a REST answer's result and the server's clock (ms).

    A result without its envelope, as some recordings hold it, is taken as it is: in a session ``Venue.check`` has already
    seen the envelope.
    """
    envelope = decode(body, Answer, "the answer")
    if envelope.result:
        return envelope.result, envelope.time
    return Raw(body.encode() if isinstance(body, str) else body), None


def millis(value: int | str | None) -> int | None:
    """Return a time in ms, None where it is missing, ``""`` or not positive."""
    number = int(value) if value not in (None, "") else 0
    return number if number > 0 else None


def sequence(value: int | str | None) -> int:
    """Return a cross sequence; -1, Bybit's own word for "never traded", where it is missing."""
    return int(value) if value not in (None, "") else -1
