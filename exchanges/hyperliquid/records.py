"""What happened to an account on Hyperliquid, as events: fills and funding payments, from the stream and from REST alike.

Owns their wire shapes and the causes of fills. Pure. The same fill or payment has the same id wherever it is read.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Literal

import msgspec

from exchanges.errors import ProtocolViolation
from exchanges.events import Cause, ClosedPnl, Evidence, Fill, FundingPayment, position_id
from exchanges.hyperliquid import tables
from exchanges.hyperliquid.wire import Name, TimeMs, Wire, clip, decode, dex_of, exact, is_perp, negated, shown
from exchanges.venue import Malformed, Notice, Output


class Liquidation(Wire):
    """Whose liquidation a fill was part of: it stands on the fills of both sides."""

    liquidated_user: str


class FillRow(Wire):
    """One fill. ``fee`` + is paid, - is a rebate; ``closedPnl`` is gross of it; ``startPosition`` is signed."""

    coin: Name
    px: Decimal
    sz: Decimal
    side: Literal["B", "A"]
    time: TimeMs
    oid: int
    tid: int
    start_position: Decimal | None = None
    dir: str = ""
    closed_pnl: Decimal | None = None
    crossed: bool | None = None
    fee: Decimal | None = None
    fee_token: str | None = None
    liquidation: Liquidation | None = None


class SliceRow(Wire):
    """One fill of a TWAP order, which need not be among the other fills."""

    fill: FillRow


class FillsFrame(Wire):
    """Data of ``userFills``; the first one is the most recent past, which a connection that was lost has missed."""

    user: str
    fills: list[msgspec.Raw]


class SlicesFrame(Wire):
    """Data of ``userTwapSliceFills``."""

    user: str
    twap_slice_fills: list[msgspec.Raw]


class FundingRow(Wire):
    """One funding payment; ``usdc`` is the effect on the balance in the dex's collateral, despite its name."""

    coin: Name
    usdc: Decimal
    time: TimeMs = 0
    szi: Decimal | None = None
    funding_rate: Decimal | None = None


class FundingDelta(Wire):
    """The same by REST, where the time stands outside."""

    time: TimeMs
    delta: FundingRow


class FundingsFrame(Wire):
    """Data of ``userFundings``."""

    user: str
    fundings: list[msgspec.Raw]


class UserLiquidation(msgspec.Struct):
    """A liquidation that the account saw, as its victim or as its counterparty. The one shape that is not in camel case."""

    lid: int
    liquidated_user: str


def parse_fills(account: str, address: str, rows: Sequence[msgspec.Raw]) -> list[Output]:
    """Translate fills, oldest first; those of one moment keep the venue's order, in which sizes before them chain.

    One that cannot be read costs that fill alone, and is said aloud.

    Args:
        account: The configured account.
        address: Its address, in lower case: a liquidation is one only if it was of this user.
        rows: Fills in any of the venue's orders (REST ``userFills`` is newest first), or slices of a TWAP order.
    """
    found: list[FillRow] = []
    outputs: list[Output] = []
    for row in rows:
        try:
            found.append(_fill_row(row))
        except ProtocolViolation as bad:
            outputs.append(Malformed(what=str(bad)))
    if found and found[0].time > found[-1].time:
        found.reverse()
    for each in sorted(found, key=lambda fill: fill.time):
        outputs.append(_fill(account, address, each))
        if not _known_direction(each):
            what = f"a fill of {each.coin} has the unknown direction {each.dir!r}: it is kept as a trade"
            outputs.append(Notice(code="unknown_direction", what=clip(what)))
    return outputs


def _fill_row(row: msgspec.Raw) -> FillRow:
    if b'"fill"' in bytes(row):
        return decode(SliceRow, row, "TWAP slice fill").fill
    return decode(FillRow, row, "fill")


def _fill(account: str, address: str, row: FillRow) -> Fill:
    perp = is_perp(row.coin)
    return Fill(
        account=account,
        id=position_id(account, str(row.oid), str(row.tid)),
        symbol=row.coin,
        order_id=str(row.oid),
        side="buy" if row.side == "B" else "sell",
        size=exact(row.sz),
        price=exact(row.px),
        at=row.time,
        position=position_id(account, row.coin) if perp else None,
        trade_id=str(row.tid),
        fee=None if row.fee is None else negated(row.fee),
        fee_ccy=row.fee_token or None,
        role=None if row.crossed is None else "taker" if row.crossed else "maker",
        realized_pnl=shown(row.closed_pnl),
        cause=_cause(row, address),
        category=row.dir,
        # Of a spot coin it is the balance before, which is no position.
        start_position=shown(row.start_position) if perp else None,
    )


def _cause(row: FillRow, address: str) -> Cause:
    """Return what made a fill happen; of a liquidation of somebody else ours was merely the other side."""
    if row.liquidation is not None and row.liquidation.liquidated_user.lower() == address:
        return "liquidation"
    if row.dir in tables.CAUSES:
        return tables.CAUSES[row.dir]
    if row.liquidation is None and row.dir.startswith(tables.LIQUIDATED):
        return "liquidation"
    return "trade"


def _known_direction(row: FillRow) -> bool:
    known = row.dir in tables.TRADES or row.dir in tables.CAUSES
    return known or row.dir.startswith(tables.LIQUIDATED) or row.liquidation is not None


def closed_pnl(fill: Fill, settle: Callable[[str], str | None]) -> ClosedPnl | None:
    """Return the venue's own realised PnL of a fill: of the price alone, its fee apart; None for a spot fill.

    Args:
        fill: As ``parse_fills`` returned it.
        settle: Returns the collateral token of a dex, None while it is not known.
    """
    if fill.position is None or fill.realized_pnl is None:
        return None
    ccy = settle(dex_of(fill.symbol))
    before, size = Decimal(fill.start_position or "0"), Decimal(fill.size)
    closes = before * (size if fill.side == "buy" else -size) < 0
    return ClosedPnl(
        account=fill.account,
        id=position_id(fill.account, "fills", fill.order_id, fill.trade_id or ""),
        source="fills",
        symbol=fill.symbol,
        at=fill.at,
        position=fill.position,
        side=("long" if before > 0 else "short") if closes else None,
        ccy=ccy,
        size=exact(min(abs(before), size)) if closes else None,
        exit_price=fill.price if closes else None,
        realized_pnl=fill.realized_pnl,
        fees=fill.fee if fill.fee_ccy == ccy else None,
        order_id=fill.order_id,
        trade_id=fill.trade_id,
        what=fill.category,
    )


def parse_fundings(
    account: str, settle: Callable[[str], str | None], rows: Sequence[msgspec.Raw]
) -> tuple[list[Output], dict[str, list[msgspec.Raw]]]:
    """Translate funding payments, by stream or REST.

    Args:
        account: The configured account.
        settle: Returns the collateral token of a dex, None while it is not known.
        rows: Payments as sent.

    Returns:
        Payments, and by dex those rows that have to wait for its collateral to become known.
    """
    outputs: list[Output] = []
    waiting: dict[str, list[msgspec.Raw]] = {}
    for raw in rows:
        try:
            row = _funding_row(raw)
        except ProtocolViolation as bad:
            outputs.append(Malformed(what=str(bad)))
            continue
        ccy = settle(dex_of(row.coin))
        if ccy is None:
            waiting.setdefault(dex_of(row.coin), []).append(raw)
        else:
            outputs.append(_funding(account, ccy, row))
    return outputs, waiting


def _funding_row(raw: msgspec.Raw) -> FundingRow:
    if b'"delta"' not in bytes(raw):
        return decode(FundingRow, raw, "funding")
    outer = decode(FundingDelta, raw, "funding")
    return msgspec.structs.replace(outer.delta, time=outer.time)


def _funding(account: str, ccy: str, row: FundingRow) -> FundingPayment:
    return FundingPayment(
        account=account,
        id=position_id(account, "funding", row.coin, str(row.time)),
        symbol=row.coin,
        amount=exact(row.usdc),
        ccy=ccy,
        at=row.time,
        position=position_id(account, row.coin),
        rate=shown(row.funding_rate),
        size=None if row.szi is None else exact(row.szi.copy_abs()),
        side=("long" if row.szi > 0 else "short") if row.szi else None,
    )


def parse_liquidation(account: str, address: str, event: UserLiquidation, at: int) -> list[Output]:
    """Translate a liquidation event: evidence only if it was ours. It names no coin; the fills and the ledger do."""
    if event.liquidated_user.lower() != address:
        return []
    return [
        Evidence(
            account=account, symbol="", cause="liquidation", what="userEvents liquidation", at=at, ids=(str(event.lid),)
        )
    ]


class _Moment(Wire):
    """The time alone; a slice of a TWAP order has it inside."""

    time: TimeMs | None = None
    fill: _Moment | None = None


def time_of(row: msgspec.Raw) -> int | None:
    """Return a record's time, by which pages follow one another; None where it cannot be read."""
    try:
        found = decode(_Moment, row, "record")
    except ProtocolViolation:
        return None
    return found.time if found.fill is None else found.fill.time
