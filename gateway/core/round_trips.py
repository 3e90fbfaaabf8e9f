"""One position from open to close: what went in, what came out, what it brought and cost. Pure, exact.

Owns the arithmetic of one round trip. Amounts are effects on the balance. Where a contract is linear every figure is exact: profit
is cash received less cash paid. Inverse contracts divide by prices: 60 digits are carried, 18 decimals are told.
"""

from __future__ import annotations

from decimal import ROUND_DOWN, Context, Decimal
from typing import NamedTuple

import msgspec

from exchanges.events import Cause, Fill, Instrument, Side
from gateway.core.evidence import REASONS
from gateway.core.records import CloseReason, PastPosition

ZERO = Decimal(0)
_EXACT = Context(prec=60)
_TOLD = Decimal(1).scaleb(-18)
_NOTHING = Decimal("1e-6")  # an amount that a venue may have rounded away
_CLOSE, _SAME = Decimal("1e-4"), Decimal("1e-6")  # of what changes hands: next to nothing, and the rounding of a profit
_SHARE_DECIMALS = 12  # of the part of a fee that goes with a part of a fill


class Contract(NamedTuple):
    """What money follows from sizes by: ``pnl = size * contract_size * (exit - entry)``, inverse ``(1/entry - 1/exit)``.

    ``contract_size`` None: profit cannot be computed (a quanto), only taken from the venue.
    """

    settle: str
    contract_size: Decimal | None
    inverse: bool = False


def contract_of(instrument: Instrument) -> Contract:
    """Return the contract that an instrument is. Options are quoted in what they settle in: linear."""
    inverse = instrument.contract_type == "inverse" and instrument.kind != "option"
    size = None if instrument.contract_type == "quanto" else Decimal(instrument.contract_size)
    return Contract(instrument.settle, size, inverse)


class Part(NamedTuple):
    """A fill, or the part of it that opens or closes: its size, and its share of the fee."""

    fill: Fill
    size: Decimal
    fee: Decimal | None


def parts(fill: Fill, first: Decimal) -> tuple[Part, Part]:
    """Return a fill cut in two, the first of this size. The fee is shared by size; both shares are the whole to the last digit."""
    size = Decimal(fill.size)
    if fill.fee is None:
        return Part(fill, first, None), Part(fill, _sub(size, first), None)
    fee = Decimal(fill.fee)
    exponent = fee.as_tuple().exponent
    decimals = max(_SHARE_DECIMALS, -exponent if isinstance(exponent, int) else 0)
    share = _EXACT.divide(_EXACT.multiply(fee, first), size)
    share = share.quantize(Decimal(1).scaleb(-decimals), ROUND_DOWN, _EXACT)
    return Part(fill, first, share), Part(fill, _sub(size, first), _sub(fee, share))


class Amounts(NamedTuple):
    """The five amounts of a position; None: not known."""

    realized_pnl: str | None
    fees: str | None
    funding: str | None
    liquidation_fee: str | None
    realized_net: str | None


class RoundTrip(msgspec.Struct, kw_only=True, gc=False):
    """A position under way. Sizes in the venue's unit, positive; amounts in ``settle``.

    Attributes:
        opener: The id of the fill that opened it, or what stands for it.
        begun: What opened it is known. ``whole``: no fill is missing since.
        size: What is held; None: it was held before the first fill, and nobody said how much.
        value: Of what is held: size x contract size x price (inverse: / price), at entry; None: not known.
        entered, entries: Size that went in, and size x price of it (inverse: size / price); None: not known. ``left``, ``exits``
            likewise.
        realized: Of the price, the venue's figure where it sends one; None: nobody knows. ``own``: by prices and sizes alone.
        extra: Realised without a fill: periodic settlement of profit.
    """

    opener: str
    side: Side
    opened_at: int
    settle: str | None
    size: Decimal | None = ZERO
    begun: bool = True
    whole: bool = True
    largest: Decimal = ZERO
    value: Decimal | None = ZERO
    entered: Decimal = ZERO
    entries: Decimal | None = ZERO
    left: Decimal = ZERO
    exits: Decimal | None = ZERO
    realized: Decimal | None = ZERO
    own: Decimal | None = ZERO
    extra: Decimal = ZERO
    fees: Decimal | None = ZERO
    other_fees: dict[str, Decimal] = {}
    funding: Decimal | None = ZERO
    liquidation_fee: Decimal = ZERO
    fills: int = 0
    partial_closes: int = 0
    cause: Cause = "trade"
    last_at: int = 0

    @property
    def complete(self) -> bool:
        """Say whether every fill from its beginning on is in it."""
        return self.begun and self.whole

    @property
    def signed(self) -> Decimal | None:
        """The signed size that is held."""
        return None if self.size is None else self.size if self.side == "long" else -self.size

    def enter(self, part: Part, contract: Contract | None) -> None:
        """Let a fill make it larger."""
        price = Decimal(part.fill.price)
        self.entered = _add(self.entered, part.size)
        self.entries = _plus(self.entries, _weight(part.size, price, contract))
        self.value = _plus(self.value, _value(part.size, price, contract))
        if self.size is not None:
            self.size = _add(self.size, part.size)
            self.largest = max(self.largest, self.size)
        self._took(part)

    def bring(self, size: Decimal, price: Decimal, contract: Contract) -> None:
        """Take at which price came in what no fill is known of."""
        self.entered, self.entries = size, _weight(size, price, contract)
        self.value, self.own = _value(size, price, contract), ZERO

    def leave(self, part: Part, contract: Contract | None) -> bool:
        """Let a fill make it smaller, by no more than is held; return whether that was all."""
        price, fill = Decimal(part.fill.price), part.fill
        self.left = _add(self.left, part.size)
        self.exits = _plus(self.exits, _weight(part.size, price, contract))
        own = self._out(part.size, _value(part.size, price, contract), contract)
        self.own = _plus(self.own, own)
        self.realized = _plus(self.realized, own if fill.realized_pnl is None else Decimal(fill.realized_pnl))
        if self.size is None:
            self.largest = max(self.largest, self.left)
        else:
            self.size = _sub(self.size, part.size)
        over = self.size == 0
        self.partial_closes += not over
        self.cause = fill.cause
        self._took(part)
        return over

    def gains(self, fill: Fill, contract: Contract | None) -> bool:
        """Say whether closing by a fill would have brought or cost anything that a venue cannot have rounded away."""
        if self.size is None:
            return True
        found = self._gain(fill, contract)
        return found is not None and _differ(ZERO, *found, _CLOSE)

    def realizes(self, fill: Fill, contract: Contract | None) -> bool:
        """Say whether what the venue says that a fill realised is what closing by it brings."""
        found = self._gain(fill, contract)
        return (
            found is not None
            and fill.realized_pnl is not None
            and not _differ(Decimal(fill.realized_pnl), *found, _SAME)
        )

    def _gain(self, fill: Fill, contract: Contract | None) -> tuple[Decimal, Decimal] | None:
        """Return what closing by a fill brings, and what changes hands by it; None where that cannot be told."""
        if self.size is None or self.value is None:
            return None
        size = min(self.size, Decimal(fill.size))
        value = _value(size, Decimal(fill.price), contract)
        if value is None or contract is None:
            return None
        gain = value - self.value * size / self.size
        return gain if (self.side == "long") != contract.inverse else -gain, value

    def _out(self, size: Decimal, value: Decimal | None, contract: Contract | None) -> Decimal | None:
        """Take a share of what is held out of its value at entry; return what that part realised."""
        if self.value is None or value is None or self.size is None or contract is None:
            self.value = None
            return None
        whole = size == self.size
        out = self.value if whole else _EXACT.divide(_EXACT.multiply(self.value, size), self.size)
        self.value = _sub(self.value, out)
        gain = _sub(value, out)
        return gain if (self.side == "long") != contract.inverse else -gain

    def _took(self, part: Part) -> None:
        fill = part.fill
        self.fills += 1
        self.last_at = fill.at
        if self.settle is None:
            self.settle = fill.fee_ccy
        if part.fee is None or fill.fee_ccy in (None, self.settle):
            self.fees = _plus(self.fees, part.fee)
        elif fill.fee_ccy is not None:
            known = self.other_fees.get(fill.fee_ccy, ZERO)
            self.other_fees = self.other_fees | {fill.fee_ccy: _add(known, part.fee)}

    def pay(self, amount: Decimal, ccy: str) -> None:
        """Take funding."""
        if self.settle is None:
            self.settle = ccy
        self.funding = _plus(self.funding, amount if ccy == self.settle else None)

    def settled(self, amount: Decimal, contract: Contract | None) -> None:
        """Take profit that was moved into the balance while the position stayed: later profit counts from there."""
        self.extra = _add(self.extra, amount)
        if self.value is not None:
            towards = contract is not None and (self.side == "long") != contract.inverse
            self.value = _add(self.value, amount if towards else -amount)

    def adjust(self, size: Decimal) -> None:
        """Take that fills are missing: this much is held."""
        self.size, self.value, self.own, self.whole = size, None, None, False
        self.entries = None
        self.largest = max(self.largest, size)

    def amounts(self) -> Amounts:
        """Return the five amounts as far as they are known."""
        realized = _plus(self.realized, self.extra)
        net = _plus(_plus(realized, self.fees), _plus(self.funding, self.liquidation_fee))
        return Amounts(told(realized), told(self.fees), told(self.funding), told(self.liquidation_fee), told(net))

    def past(
        self, account: str, position: str, symbol: str, closed_at: int, contract: Contract | None, reason: CloseReason
    ) -> PastPosition:
        """Return the whole of it, now that it is over."""
        amounts = self.amounts()
        other = {ccy: told(amount) or "0" for ccy, amount in sorted(self.other_fees.items())}
        return PastPosition(
            id=f"{position}@{self.opener}", account=account, position=position, symbol=symbol, side=self.side,
            settle=self.settle, size=told(self.largest) or "0", reason=reason, opened_at=self.opened_at,
            status="liquidated" if reason == "liquidated" else "closed", closed_at=closed_at, fills=self.fills,
            entry_price=told(_average(self.entered, self.entries, contract)),
            exit_price=told(_average(self.left, self.exits, contract)), other_fees=other,
            partial_closes=self.partial_closes, complete=self.complete, own_pnl=told(_plus(self.own, self.extra)),
            realized_pnl=amounts.realized_pnl, fees=amounts.fees, funding=amounts.funding,
            liquidation_fee=amounts.liquidation_fee, realized_net=amounts.realized_net,
        )  # fmt: skip

    @property
    def reason(self) -> CloseReason:
        """What the last fill that made it smaller says of the end."""
        return REASONS.get(self.cause, "trade")


def told(amount: Decimal | None) -> str | None:
    """Return a figure as text, without zeros that say nothing; None where it is not known."""
    if amount is None:
        return None
    exponent = amount.as_tuple().exponent
    if isinstance(exponent, int) and exponent < -18:
        amount = amount.quantize(_TOLD, context=_EXACT)
    text = format(amount, "f")
    text = text.rstrip("0").rstrip(".") if "." in text else text
    return "0" if text in ("-0", "") else text


def _differ(told: Decimal, own: Decimal, value: Decimal, share: Decimal) -> bool:
    gap = abs(told - own)
    return gap > _NOTHING and gap > value * share


def _weight(size: Decimal, price: Decimal, contract: Contract | None) -> Decimal:
    if contract is not None and contract.inverse:
        return _EXACT.divide(size, price)
    return _EXACT.multiply(size, price)


def _value(size: Decimal, price: Decimal, contract: Contract | None) -> Decimal | None:
    if contract is None or contract.contract_size is None:
        return None
    return _weight(_EXACT.multiply(size, contract.contract_size), price, contract)


def _average(size: Decimal, weight: Decimal | None, contract: Contract | None) -> Decimal | None:
    if not size or not weight:
        return None
    return _EXACT.divide(size, weight) if contract is not None and contract.inverse else _EXACT.divide(weight, size)


def _add(one: Decimal, other: Decimal) -> Decimal:
    return _EXACT.add(one, other)


def _sub(one: Decimal, other: Decimal) -> Decimal:
    return _EXACT.subtract(one, other)


def _plus(one: Decimal | None, other: Decimal | None) -> Decimal | None:
    return None if one is None or other is None else _EXACT.add(one, other)
