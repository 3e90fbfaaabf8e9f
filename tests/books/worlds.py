"""Accounts that trade at random, and what each venue's books say of them, counted here without any code of the gateway.

The four ways of keeping books: a record a trade (Hyperliquid, Aster), a closing order (Bybit), a position (OKX). Every venue rounds
its entry and its amounts in its own way, which nobody is told.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from decimal import ROUND_DOWN, ROUND_HALF_EVEN, Decimal, localcontext

import msgspec

from exchanges.events import ClosedPnl, Fill, FundingPayment, position_id
from gateway.core.chains import Evidence, Seen
from gateway.core.round_trips import Contract
from gateway.core.verify import UNITS, Book

T0 = 1_763_683_200_000
HOUR = 3_600_000
LINEAR, INVERSE = Contract("USDT", Decimal("0.01")), Contract("BTC", Decimal(100), inverse=True)


@dataclass(frozen=True)
class Style:
    """How a venue keeps books: decimals of its amounts and of its average entry (None: it does not round that)."""

    source: str
    money: int
    entry: int | None
    half: bool = True

    def amount(self, value: Decimal) -> Decimal:
        return value.quantize(Decimal(1).scaleb(-self.money), ROUND_HALF_EVEN if self.half else ROUND_DOWN)

    def average(self, value: Decimal) -> Decimal:
        return value if self.entry is None else value.quantize(Decimal(1).scaleb(-self.entry), ROUND_HALF_EVEN)


STYLES = {
    "okx": Style("positions-history", 12, 8),
    "bybit": Style("closed-pnl", 8, 8, half=False),
    "hyperliquid": Style("fills", 6, None),
    "aster": Style("income", 8, 8),
}


@dataclass
class Holding:
    """What the venue holds of a symbol, in its own books."""

    size: Decimal = Decimal(0)
    entry: Decimal = Decimal(0)
    opened_at: int = 0
    opened: Decimal = Decimal(0)  # what opening the rest has cost
    closed: Decimal = Decimal(0)
    pnl: Decimal = Decimal(0)
    fees: Decimal = Decimal(0)
    funding: Decimal = Decimal(0)


@dataclass
class World:
    """One account and symbol.

    Attributes:
        records: By id: a row is replaced by a newer one of the same id.
    """

    venue: str
    whim: random.Random
    contract: Contract = LINEAR
    account: str = "main"
    symbol: str = "BTC"
    at: int = T0 + 60_000
    number: int = 0
    held: Holding = field(default_factory=Holding)
    fills: list[Fill] = field(default_factory=list)
    payments: list[FundingPayment] = field(default_factory=list)
    records: dict[str, ClosedPnl] = field(default_factory=dict)
    seen: tuple[Seen, ...] = ()

    @property
    def style(self) -> Style:
        return STYLES[self.venue]

    @property
    def position(self) -> str:
        return position_id(self.account, self.symbol)

    def live(self, steps: int) -> World:
        """Trade and pay at random, and be flat at the end."""
        with localcontext() as context:
            context.prec = 60
            for _ in range(steps):
                self.at += self.whim.choice((1, 700, 2_500, 60_000, HOUR))
                if self.held.size and self.whim.random() < 0.2:
                    self._fund()
                else:
                    self._order()
            if self.held.size:
                self.at += 5_000
                self._trade(-self.held.size, "last")
        return self

    def book(self) -> Book:
        """Return it as the gateway stores it."""
        return Book(
            self.account, self.symbol, Evidence(self.contract, covered=T0), self.fills, self.payments, [],
            list(self.records.values()), UNITS[self.style.source], (T0, self.at + 1), self.seen,
        )  # fmt: skip

    def _order(self) -> None:
        order, size = f"o{self.number}", Decimal(self.whim.randint(1, 9))
        buy = self.whim.random() < 0.5
        for _ in range(self.whim.choice((1, 1, 2))):
            self._trade(size if buy else -size, order)
            self.at += self.whim.choice((0, 1, 3))

    def _fund(self) -> None:
        amount = self.style.amount(-self.held.size * Decimal(self.whim.randint(-999, 999)) / 70_000)
        self.held.funding += amount
        self.payments.append(
            FundingPayment(
                account=self.account, id=f"funding:{self.at}", symbol=self.symbol, amount=str(amount),
                ccy=self.contract.settle, at=self.at, position=self.position,
            )
        )  # fmt: skip
        self.at += 1

    def _trade(self, size: Decimal, order: str) -> None:
        self.number += 1
        price = Decimal(self.whim.randint(4_000_000, 9_000_000)) / 100
        fee = -self.style.amount(self._value(abs(size), price) * Decimal("0.0005"))
        held, start = self.held, self.held.size
        closing = min(abs(size), abs(start)) if start * size < 0 else Decimal(0)
        pnl = self.style.amount(self._pnl(closing, price)) if closing else Decimal(0)
        close_fee = self.style.amount(fee * closing / abs(size))
        if closing:
            self._close(closing, price, pnl, close_fee, order)
        opening = abs(size) - closing
        if opening:
            if not held.size:
                held = self.held = Holding(opened_at=self.at)
            self._enter(opening if size > 0 else -opening, price)
            if not self.seen:
                self.seen = (Seen(self.at, self.position, held.size, self.at),)
            held.opened += fee - close_fee
            held.fees += fee - close_fee
        states_start = self.venue == "hyperliquid"
        fill = Fill(
            account=self.account, id=f"fill:{self.number}", symbol=self.symbol, order_id=order,
            side="buy" if size > 0 else "sell", size=str(abs(size)), price=str(price), at=self.at,
            trade_id=str(self.number), fee=format(fee, "f"), fee_ccy=self.contract.settle, realized_pnl=format(pnl, "f"),
            start_position=str(start) if states_start else None, position=self.position,
        )  # fmt: skip
        self.fills.append(fill)
        if self.style.source == "fills":
            self._put(f"t{self.number}", trade_id=fill.trade_id, order_id=order, realized_pnl=pnl, fees=fee)
        elif self.style.source == "income":
            self._put(f"c{self.number}", trade_id=fill.trade_id, fees=fee)
            if pnl:
                self._put(f"p{self.number}", trade_id=fill.trade_id, realized_pnl=pnl)

    def _close(self, size: Decimal, price: Decimal, pnl: Decimal, fee: Decimal, order: str) -> None:
        held = self.held
        share = held.opened if size == abs(held.size) else self.style.amount(held.opened * size / abs(held.size))
        side = "long" if held.size > 0 else "short"
        held.opened -= share
        held.closed += size
        held.pnl += pnl
        held.fees += fee
        held.size -= size if held.size > 0 else -size
        if self.style.source == "closed-pnl":
            id_ = f"{order}:{side}"
            known = self.records.get(id_)
            more = (size, pnl, share + fee)
            if known is not None:
                more = tuple(  # type: ignore[assignment]
                    one + Decimal(getattr(known, name) or 0)
                    for one, name in zip(more, ("size", "realized_pnl", "fees"), strict=True)
                )
            self._put(
                id_, order_id=order, side=side, size=more[0], realized_pnl=more[1], fees=more[2],
                realized_net=more[1] + more[2], entry_price=held.entry,
            )  # fmt: skip
        if self.style.source == "positions-history":
            net = held.pnl + held.fees + held.funding
            self._put(
                f"cycle:{held.opened_at}:{side}", side=side,
                size=held.closed, realized_pnl=held.pnl, fees=held.fees,
                funding=held.funding, liquidation_fee=Decimal(0), realized_net=net, opened_at=held.opened_at,
                entry_price=held.entry,
            )  # fmt: skip

    def _put(self, id_: str, **fields: object) -> None:
        texts = {name: format(value, "f") if isinstance(value, Decimal) else value for name, value in fields.items()}
        self.records[id_] = msgspec.convert(
            {"account": self.account, "id": id_, "source": self.style.source, "symbol": self.symbol, "at": self.at,
             "position": self.position, "ccy": self.contract.settle} | texts, ClosedPnl,
        )  # fmt: skip

    def _enter(self, size: Decimal, price: Decimal) -> None:
        held, before = self.held, abs(self.held.size)
        now = before + abs(size)
        if self.contract.inverse:
            weight = (before / held.entry if before else Decimal(0)) + abs(size) / price
            held.entry = self.style.average(now / weight)
        else:
            held.entry = self.style.average((before * held.entry + abs(size) * price) / now)
        held.size += size

    def _value(self, size: Decimal, price: Decimal) -> Decimal:
        unit = self.contract.contract_size or Decimal(1)
        return size * unit / price if self.contract.inverse else size * unit * price

    def _pnl(self, size: Decimal, price: Decimal) -> Decimal:
        towards = 1 if (self.held.size > 0) != self.contract.inverse else -1
        return towards * (self._value(size, price) - self._value(size, self.held.entry))
