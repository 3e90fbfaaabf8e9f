"""The shapes of OKX's messages, decoded with their types. Unknown fields are ignored; what is required is named when absent.

Owns the schema only. Every figure is a string on the wire; a text that is not a decimal is refused here, so that nothing
behind the codec ever meets one. Source: OKX v5 docs, channels and endpoints of the same names.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Raw

from exchanges.errors import ProtocolViolation
from exchanges.okx import tables

# "" means unknown or not applicable, never zero. The lengths are bounded: digits become Decimal later.
_UNSIGNED = r"[0-9]{1,40}(\.[0-9]{1,40})?([eE][+-]?[0-9]{1,2})?"
_DECIMAL = rf"-?{_UNSIGNED}"
Figure = Annotated[str, Meta(pattern=rf"^({_DECIMAL})?\Z")]
Known = Annotated[str, Meta(pattern=rf"^{_DECIMAL}\Z")]
AboveZero = Annotated[str, Meta(pattern=rf"^(?=[0.]*[1-9]){_UNSIGNED}\Z")]
Millis = Annotated[str, Meta(pattern=r"^[0-9]{1,15}\Z")]
MaybeMillis = Annotated[str, Meta(pattern=r"^[0-9]{0,15}\Z")]
MaybeInt = Annotated[str, Meta(pattern=r"^(-?[0-9]{1,18})?\Z")]
Name = Annotated[str, Meta(min_length=1, max_length=100)]
Text = str | None
Maybe = Figure | None


class Arg(msgspec.Struct, rename="camel"):
    """What a frame belongs to. Acknowledgements lack ``extraParams``; private data adds ``uid``."""

    channel: str
    inst_type: Text = None
    inst_family: Text = None
    inst_id: Text = None
    ccy: Text = None


class Frame(msgspec.Struct, rename="camel"):
    """Any JSON frame of the stream: an event, or data of a channel."""

    event: Text = None
    id: Text = None
    code: Text = None
    msg: Text = None
    channel: Text = None
    conn_count: Text = None
    arg: Arg | None = None
    event_type: Text = None
    cur_page: int | None = None
    last_page: bool | None = None
    data: list[Raw] | None = None


class Answer(msgspec.Struct):
    """The envelope of every REST answer; success is code "0"."""

    code: str
    data: list[Raw] = []
    msg: str = ""


class CloseOrder(msgspec.Struct, rename="camel"):
    """A take-profit and stop-loss pair attached to a position."""

    tp_trigger_px: Maybe = None
    sl_trigger_px: Maybe = None


class PositionRow(msgspec.Struct, rename="camel"):
    """A row of the positions channel and of GET /account/positions."""

    inst_type: Name
    inst_id: Name
    mgn_mode: Literal["cross", "isolated"]
    pos_side: Literal["long", "short", "net"]
    pos: Known
    ccy: str
    u_time: Millis
    p_time: MaybeMillis | None = None
    c_time: MaybeMillis | None = None
    trade_id: MaybeInt | None = None
    pos_ccy: Text = None
    avg_px: Maybe = None
    non_settle_avg_px: Maybe = None
    be_px: Maybe = None
    mark_px: Maybe = None
    opt_val: Maybe = None
    upl: Maybe = None
    lever: Maybe = None
    liq_px: Maybe = None
    margin: Maybe = None
    imr: Maybe = None
    mmr: Maybe = None
    mgn_ratio: Maybe = None
    adl: MaybeInt | None = None
    funding_fee: Maybe = None
    close_order_algo: list[CloseOrder] | None = None


class CoinRow(msgspec.Struct, rename="camel"):
    """One currency inside an account row; amounts in the currency, ``*Usd`` in dollars."""

    ccy: Name
    cash_bal: Known
    eq: Figure
    u_time: MaybeMillis | None = None
    avail_bal: Maybe = None
    avail_eq: Maybe = None
    coin_usd_price: Maybe = None
    eq_usd: Maybe = None
    iso_eq: Maybe = None
    stgy_eq: Maybe = None
    smt_sync_eq: Maybe = None
    dis_eq: Maybe = None
    collateral_enabled: bool | None = None
    spot_copy_trading_eq: Maybe = None
    upl: Maybe = None
    liab: Maybe = None
    interest: Maybe = None
    ord_frozen: Maybe = None
    imr: Maybe = None
    mmr: Maybe = None
    mgn_ratio: Maybe = None


class AccountRow(msgspec.Struct, rename="camel"):
    """An account: figures of the whole in dollars (empty in futures mode), and its currencies (``CoinRow``)."""

    details: list[Raw]
    u_time: MaybeMillis | None = None
    adj_eq: Maybe = None
    avail_eq: Maybe = None
    imr: Maybe = None
    mmr: Maybe = None
    mgn_ratio: Maybe = None
    ord_froz: Maybe = None


class ConfigRow(msgspec.Struct, rename="camel"):
    """The account's configuration, and that of the key which asks."""

    acct_lv: Literal["1", "2", "3", "4"]
    pos_mode: Text = None
    perm: Text = None
    ip: Text = None
    uid: Text = None
    label: Text = None


class BriefPosition(msgspec.Struct, rename="camel"):
    """A position in balance_and_position: what changed, without any figure of risk."""

    inst_type: Name
    inst_id: Name
    mgn_mode: Literal["cross", "isolated"]
    pos_side: Literal["long", "short", "net"]
    pos: Known
    ccy: str
    u_time: Millis
    pos_id: Text = None
    trade_id: MaybeInt | None = None
    pos_ccy: Text = None
    avg_px: Maybe = None
    non_settle_avg_px: Maybe = None


class Trade(msgspec.Struct, rename="camel"):
    """The newest trade of an instrument, in balance_and_position."""

    inst_id: str
    trade_id: str


class BriefRow(msgspec.Struct, rename="camel"):
    """A row of balance_and_position; ``eventType`` is in it, not beside it. Balances are left to the account channel."""

    p_time: Millis
    event_type: str
    pos_data: list[Raw] = []
    trades: list[Trade] = []


class OrderRow(msgspec.Struct, rename="camel"):
    """A row of the orders channel, of GET /trade/orders-pending and of GET /trade/order.

    In the channel the ``fill*`` fields, ``tradeId`` and ``execType`` are of this message's execution; in REST of the last.
    """

    inst_type: Name
    inst_id: Name
    ord_id: Name
    side: Literal["buy", "sell"]
    state: Name
    u_time: Millis
    pos_side: Text = None
    td_mode: Text = None
    ccy: Text = None
    ord_type: Text = None
    category: Text = None
    px: Maybe = None
    sz: Maybe = None
    acc_fill_sz: Maybe = None
    avg_px: Maybe = None
    reduce_only: str | bool | None = None
    cl_ord_id: Text = None
    c_time: MaybeMillis | None = None
    trade_id: MaybeInt | None = None
    fill_px: Maybe = None
    fill_sz: Maybe = None
    fill_time: MaybeMillis | None = None
    fill_pnl: Maybe = None
    fill_fee: Maybe = None
    fill_fee_ccy: Text = None
    exec_type: Text = None
    pnl: Maybe = None
    fee: Maybe = None
    fee_ccy: Text = None


class FillRow(msgspec.Struct, rename="camel"):
    """A row of GET /trade/fills and GET /trade/fills-history. Block trades have no order."""

    inst_id: Name
    trade_id: Name
    ord_id: str
    bill_id: Name
    side: Literal["buy", "sell"]
    fill_sz: Known
    fill_px: Known
    ts: Millis
    inst_type: Text = None
    pos_side: Text = None
    sub_type: Text = None
    fill_time: MaybeMillis | None = None
    fill_pnl: Maybe = None
    fee: Maybe = None
    fee_ccy: Text = None
    exec_type: Text = None


class BillRow(msgspec.Struct, rename="camel"):
    """A row of GET /account/bills and GET /account/bills-archive."""

    bill_id: Name
    type: Name
    ccy: Name
    ts: Millis
    sub_type: str = ""
    bal_chg: Maybe = None
    pos_bal_chg: Maybe = None
    pnl: Maybe = None
    sz: Maybe = None
    inst_type: Text = None
    inst_id: Text = None
    mgn_mode: Text = None
    ord_id: Text = None


class ClosedRow(msgspec.Struct, rename="camel"):
    """A row of GET /account/positions-history. ``posSide`` is empty for what was opened before August 2024."""

    inst_id: Name
    pos_id: Name
    c_time: Millis
    u_time: Millis
    type: str
    inst_type: Text = None
    mgn_mode: Text = None
    pos_side: Text = None
    direction: Text = None
    ccy: Text = None
    close_total_pos: Maybe = None
    open_avg_px: Maybe = None
    non_settle_avg_px: Maybe = None
    close_avg_px: Maybe = None
    pnl: Maybe = None
    fee: Maybe = None
    funding_fee: Maybe = None
    liq_penalty: Maybe = None
    settled_pnl: Maybe = None
    realized_pnl: Maybe = None


class WarningRow(msgspec.Struct, rename="camel"):
    """A row of the liquidation-warning channel."""

    inst_id: Name
    mgn_mode: Name
    pos_side: Name
    ccy: str
    p_time: Millis
    pos: Maybe = None
    mark_px: Maybe = None
    mgn_ratio: Maybe = None


class InstrumentRow(msgspec.Struct, rename="camel"):
    """An instrument; markets before their opening may lack nearly everything (null or "")."""

    inst_type: Name
    inst_id: Name
    uly: Text = None
    inst_family: Text = None
    settle_ccy: Text = None
    ct_val: Maybe = None
    ct_mult: Maybe = None
    ct_val_ccy: Text = None
    ct_type: Text = None
    tick_sz: Maybe = None
    lever: Maybe = None
    exp_time: MaybeMillis | None = None
    state: Text = None
    rule_type: Text = None


class TierRow(msgspec.Struct, rename="camel"):
    """A bracket of position tiers; sizes in contracts."""

    min_sz: Known
    mmr: Known
    inst_family: Text = None
    inst_id: Text = None
    max_lever: Maybe = None


class DiscountTier(msgspec.Struct, rename="camel"):
    """One tier of a discount rate; amounts in the currency itself, ``maxAmt`` "" has no end."""

    min_amt: Known
    discount_rate: Known
    max_amt: Maybe = None


class DiscountRow(msgspec.Struct, rename="camel"):
    """How much of a currency counts as collateral; beyond the last tier ``minDiscountRate`` does."""

    ccy: Name
    details: list[DiscountTier]
    min_discount_rate: Maybe = None


class TimeRow(msgspec.Struct):
    """The venue's clock."""

    ts: Millis


class MarkRow(msgspec.Struct, rename="camel"):
    """A mark price."""

    inst_id: Name
    mark_px: AboveZero
    ts: MaybeMillis | None = None


class IndexRow(msgspec.Struct, rename="camel"):
    """An index: ``instId`` names the pair."""

    inst_id: Name
    idx_px: AboveZero
    ts: MaybeMillis | None = None


class FundingRow(msgspec.Struct, rename="camel"):
    """The funding rate of the running period, due at ``fundingTime``."""

    inst_id: Name
    funding_rate: Known
    funding_time: MaybeMillis | None = None
    ts: MaybeMillis | None = None


_FRAME = msgspec.json.Decoder(Frame)
_ANSWER = msgspec.json.Decoder(Answer)
_TIME = msgspec.json.Decoder(TimeRow)


def problem(error: Exception) -> str:
    """Return why something could not be decoded, short enough for a log; names the field where there is one."""
    return str(error)[:200]


def decode_frame(data: str | bytes) -> Frame:
    """Decode one frame. Raises ValueError (msgspec and Unicode errors are) or RecursionError."""
    return _FRAME.decode(data)


def decode_answer(body: str | bytes) -> Answer:
    """Decode a REST answer. Raises as ``decode_frame``."""
    return _ANSWER.decode(body)


def read_time(body: str | bytes) -> int:
    """Return the venue's clock (ms) from its answer. Raises ProtocolViolation."""
    try:
        (row,) = _ANSWER.decode(body).data
        return int(_TIME.decode(row).ts)
    except (ValueError, RecursionError) as error:
        raise ProtocolViolation(f"{tables.NAME} {tables.TIME_PATH}", problem(error)) from error
