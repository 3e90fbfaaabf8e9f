"""ccxt's unified structures read into events: contracts, positions, marks, balances, orders, trades. Pure.

Owns what is believed of them; a row of another shape than ccxt's raises whatever it comes to. Figures are the digits that the
exchange sent (``exchange.number`` is ``str``). ccxt derives what an exchange leaves out, maintenance margins from liquidation
prices for one: such a figure counts only where the exchange's own row holds it. What cannot be read is never left out in
silence: a list with such a row is no list.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any, get_args

from exchanges.errors import ProtocolViolation, Rejected
from exchanges.events import (
    BalanceState,
    CoinBalance,
    Fill,
    Instrument,
    Kind,
    MarginMode,
    Order,
    OrderSide,
    PositionState,
    Price,
    Side,
    position_id,
)

SCOPE = "all"
POOL = "exchange"  # ccxt does not say what is liquidated together
_KINDS: dict[str, Kind] = {"swap": "perp", "future": "future", "option": "option"}
_MULTIPLE = re.compile(r"(1(?:000)+)([A-Za-z].*)")  # 1000PEPE
_ENDED = frozenset({"closed", "canceled", "expired", "rejected"})
_SIDES: frozenset[str] = frozenset(get_args(Side))
_MODES: frozenset[str] = frozenset(get_args(MarginMode))
_ORDER_SIDES: frozenset[str] = frozenset(get_args(OrderSide))

Row = Mapping[str, Any]


class Reader:
    """Reads for one account; knows the exchange's contracts once ``learn`` was told of them."""

    def __init__(self, account: str, venue: str, env: str) -> None:
        self._account, self._venue, self._env = account, venue, env
        self._markets: Mapping[str, Row] = {}
        self._by_id: dict[str, Row] = {}

    # --- Contracts -----------------------------------------------------------------------------------------------------

    def learn(self, markets: Mapping[str, Row]) -> None:
        """Take the markets that are listed; ids are shared with spot markets, so that contracts alone are looked up by them."""
        self._markets = {name: market for name, market in markets.items() if market.get("contract")}
        self._by_id = {str(market["id"]): market for market in self._markets.values()}

    def knows(self, row: Row) -> bool:
        """Say whether a row's contract is listed."""
        return row.get("symbol") in self._markets

    def lists(self, symbol: str) -> bool:
        """Say whether a symbol is a contract that is listed."""
        return symbol in self._by_id

    def unified(self, symbol: str) -> str:
        """Return ccxt's name of a symbol. Raises Rejected where no such contract is listed."""
        if symbol not in self._by_id:
            raise Rejected(self._venue, f"lists no contract {symbol}")
        return str(self._by_id[symbol]["symbol"])

    def instruments(self) -> Iterator[Instrument]:
        """Yield the contracts whose size is known."""
        for market in self._markets.values():
            kind, size = _KINDS.get(market.get("type") or ""), text(market.get("contractSize"))
            if kind is None or size is None:
                continue
            inverse = bool(market.get("inverse"))
            multiple = _MULTIPLE.fullmatch(market["base"])
            yield Instrument(
                venue=self._venue,
                env=self._env,
                symbol=str(market["id"]),
                unified_symbol=market["symbol"],
                base=multiple[2] if multiple else market["base"],
                base_multiplier=multiple[1] if multiple else "1",
                quote=market["quote"],
                settle=market["settle"],
                kind=kind,
                contract_type="inverse" if inverse else "linear" if market.get("linear") else "quanto",
                contract_size=size,
                contract_ccy=market["quote"] if inverse else market["base"],
                tick_size=text((market.get("precision") or {}).get("price")),
                expires_at=market.get("expiry"),
                status="live" if market.get("active") is not False else "closed",
            )

    def families(self) -> frozenset[tuple[str, str]]:
        """Return the families of contracts that are listed; see ``family``."""
        return frozenset(map(_family, self._markets.values()))

    def family(self, symbol: str) -> tuple[str, str]:
        """Return what an exchange's list of positions may be confined to: type ("linear swap") and settle currency."""
        return _family(self._markets[self.unified(symbol)])

    # --- Positions -----------------------------------------------------------------------------------------------------

    def positions(self, rows: Sequence[Row]) -> tuple[PositionState, ...]:
        """Return the open positions of a full list.

        Raises:
            ProtocolViolation: A row says neither its size nor that there is none, or its side, or two rows are one position.
        """
        found = {state.id: state for row in rows for state in self._position(row)}
        held = sum(1 for row in rows if _figure(row, "contracts") != 0)
        if len(found) != held:
            raise ProtocolViolation(self._venue, "two positions of a list cannot be told apart")
        return tuple(found.values())

    def _position(self, row: Row) -> Iterator[PositionState]:
        amount, size = _figure(row, "contracts"), text(row.get("contracts"))
        if amount == 0:
            return
        name = str(row.get("symbol"))
        side: str | None = row.get("side")
        if size is None or side not in _SIDES:
            raise ProtocolViolation(self._venue, f"{name}: a position of size {size} whose side is {side!r}")
        market: Row = self._markets.get(name, {})
        symbol = str(market.get("id", name))
        mode: MarginMode | None = row["marginMode"] if row.get("marginMode") in _MODES else None
        # What is not certain to be one row per symbol is told apart by its side: a flip is then a close and an opening.
        legs = [] if row.get("hedged") is False else [side]
        row_id = position_id(self._account, symbol, *legs, mode or "")
        liquidation = _positive(row.get("liquidationPrice"))
        yield PositionState(
            account=self._account,
            id=row_id,
            scope=SCOPE,
            symbol=symbol,
            kind=_KINDS.get(market.get("type") or "", "perp"),
            side="long" if side == "long" else "short",
            size=size.lstrip("-"),
            margin_mode=mode,
            pool=f"iso:{row_id}" if mode == "isolated" else POOL,
            settle=market.get("settle"),
            entry_price=_positive(row.get("entryPrice")),
            leverage=_positive(row.get("leverage")),
            mark_price=_positive(row.get("markPrice")),
            venue_unrealized_pnl=text(row.get("unrealizedPnl")),
            venue_initial_margin=_sent(row, "initialMargin"),
            venue_maintenance_margin=_sent(row, "maintenanceMargin"),
            venue_liquidation_price=liquidation,
            liquidation_known="price" if liquidation else "unknown",
        )

    def marks(self, rows: Iterable[Row], *, timed: bool = True) -> list[Price]:
        """Return the marks that tickers or funding rates hold; never another price in their place.

        Args:
            timed: The time of a row is that of its mark; that of a position is not.
        """
        return [
            Price(
                venue=self._venue,
                env=self._env,
                symbol=str(market["id"]),
                value=mark,
                at=row.get("timestamp") if timed else None,
            )
            for row in rows
            if (market := self._markets.get(row.get("symbol") or "")) and (mark := _positive(row.get("markPrice")))
        ]

    # --- Money ---------------------------------------------------------------------------------------------------------

    def balance(self, row: Row, asked_at: int) -> BalanceState:
        """Return what is held; not ``full`` where a currency has no total."""
        totals, free, used = (row.get(part) or {} for part in ("total", "free", "used"))
        untold = [ccy for ccy in {*free, *used} if text(totals.get(ccy)) is None and (free.get(ccy) or used.get(ccy))]
        coins = tuple(
            CoinBalance(ccy=ccy, total=total, available=text(free.get(ccy)))
            for ccy, value in sorted(totals.items())
            if (total := text(value)) is not None and _decimal(total) != 0
        )
        return BalanceState(account=self._account, scope=SCOPE, full=not untold, coins=coins, asked_at=asked_at)

    # --- Orders and trades ---------------------------------------------------------------------------------------------

    def orders(self, rows: Iterable[Row], *, listed: bool = False) -> tuple[Order, ...]:
        """Return orders; ``listed``: they stand in the list of open ones.

        Raises:
            ProtocolViolation: A row has no id, no side, or a state that is neither open nor ended.
        """
        return tuple(self._order(row, listed=listed) for row in rows if self.knows(row) or not self._is_spot(row))

    def _is_spot(self, row: Row) -> bool:
        return ":" not in str(row.get("symbol"))  # ccxt's names of contracts hold their settle currency

    def _order(self, row: Row, *, listed: bool) -> Order:
        status = row.get("status")
        if row.get("side") not in _ORDER_SIDES or not row.get("id") or not (listed or status in _ENDED | {"open"}):
            raise ProtocolViolation(self._venue, f"an order without id or side, or of status {status!r}")
        name = str(row.get("symbol"))
        return Order(
            account=self._account,
            scope=SCOPE,
            symbol=str(self._markets.get(name, {}).get("id", name)),
            order_id=str(row["id"]),
            open=status not in _ENDED,
            side="buy" if row["side"] == "buy" else "sell",
            type=row.get("type") or "",
            status=status or "",
            price=_positive(row.get("price")),
            trigger_price=_positive(row.get("triggerPrice")),
            size=text(row.get("amount")),
            filled=text(row.get("filled")),
            average_price=_positive(row.get("average")),
            reduce_only=row.get("reduceOnly"),
            client_id=row.get("clientOrderId"),
            created_at=row.get("timestamp"),
            updated_at=row.get("lastUpdateTimestamp"),
        )

    def fills(self, rows: Iterable[Row]) -> tuple[tuple[Fill, ...], tuple[str, ...]]:
        """Return trades of ours, and in words which rows say too little to be one."""
        fills, flaws = [], []
        for row in rows:
            fill = self._fill(row)
            if fill is None:
                flaws.append(f"{row.get('symbol')}: a trade without id, side, size, price or time")
            else:
                fills.append(fill)
        return tuple(fills), tuple(flaws)

    def _fill(self, row: Row) -> Fill | None:
        size, price, at = text(row.get("amount")), _positive(row.get("price")), row.get("timestamp")
        if not row.get("id") or row.get("side") not in _ORDER_SIDES or size is None or price is None or at is None:
            return None
        name = str(row.get("symbol"))
        fee = row.get("fee") or {}
        cost, role = text(fee.get("cost")), row.get("takerOrMaker")
        symbol, trade, order = (
            str(self._markets.get(name, {}).get("id", name)),
            str(row["id"]),
            str(row.get("order") or ""),
        )
        return Fill(
            account=self._account,
            id=position_id(self._account, symbol, trade, order),
            symbol=symbol,
            order_id=order,
            trade_id=trade,
            side="buy" if row["side"] == "buy" else "sell",
            size=size,
            price=price,
            at=at,
            fee=None if cost is None else _turned(cost),  # ccxt: + is paid
            fee_ccy=fee.get("currency"),
            role="maker" if role == "maker" else "taker" if role == "taker" else None,
        )


def _family(market: Row) -> tuple[str, str]:
    form = "inverse" if market.get("inverse") else "linear" if market.get("linear") else "other"
    return f"{form} {market.get('type')}", str(market.get("settle"))


def text(value: object) -> str | None:
    """Return a figure as it was sent; None and empty are unknown. A port's own arithmetic leaves floats: written out."""
    if value is None or value == "":
        return None
    return format(Decimal(repr(value)), "f") if isinstance(value, float) else str(value)


def _decimal(value: str) -> Decimal:
    found = Decimal(value)
    if not found.is_finite():
        raise ValueError(f"{value} is no figure")
    return found


def _figure(row: Row, name: str) -> Decimal | None:
    value = text(row.get(name))
    return None if value is None else _decimal(value)


def _positive(value: object) -> str | None:
    """Return a price; what is not above zero is none."""
    found = text(value)
    return found if found is not None and _decimal(found) > 0 else None


def _sent(row: Row, name: str) -> str | None:
    """Return a figure where the exchange's own row holds it: the others ccxt has derived."""
    value = text(row.get(name))
    info = row.get("info")
    return value if value is not None and isinstance(info, Mapping) and value in _scalars(info) else None


def _scalars(value: object) -> Iterator[str]:
    if isinstance(value, Mapping):
        for part in value.values():
            yield from _scalars(part)
    elif isinstance(value, list):
        for part in value:
            yield from _scalars(part)
    elif (found := text(value)) is not None:
        yield found


def _turned(amount: str) -> str:
    """Turn the sign and leave the digits."""
    if amount.startswith("-"):
        return amount[1:]
    return amount if Decimal(amount) == 0 else f"-{amount}"
