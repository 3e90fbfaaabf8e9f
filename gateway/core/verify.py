"""What fills come to, held against the venue's own records of realised PnL, one by one, within its rounding. Pure, exact.

Owns what is compared with what, what counts as rounding, and the names of differences. A record is of a trade (``trade_id``), of a
closing order (``order_id``), of a settlement, or of a position from opening to close (``opened_at``); each is compared in its own
unit and shown on the UTC day that it was booked. A fault of one fill is told once: what follows from it is added to the same line.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Literal, NamedTuple, Protocol

import msgspec

from exchanges.events import ClosedPnl, Fill, FundingPayment, Transfer
from gateway.core.chains import Chain, Evidence, Item, Move, Seen
from gateway.core.doubles import Doubled, doubled
from gateway.core.evidence import SLACK_MS
from gateway.core.folding import fold
from gateway.core.realized import exact_sum
from gateway.core.records import Finding, VerificationClass
from gateway.core.round_trips import Contract, told

ZERO = Decimal(0)
MONEY = ("realized_pnl", "fees", "funding", "liquidation_fee")
RecordUnit = Literal["trade", "order", "position"]
UNITS: dict[str, RecordUnit] = {
    "fills": "trade",
    "income": "trade",
    "closed-pnl": "order",
    "positions-history": "position",
}
_STRUCTURAL = {"fills", "size", "realized_pnl", "own_pnl"}
_NEVER = 1 << 62
_DOUBLE_DIGITS = 15  # so many significant digits: the venue computes in floating point
_DOUBLE = Decimal(2) ** -50  # of what was added up, a few operations


class Book(NamedTuple):
    """What is stored of one account and symbol, from the opening of what is compared on.

    Attributes:
        evidence: ``covered``: since when fills are whole. Nothing before that moment is missed.
        transfers: Settlements, liquidations and rebates of this symbol.
        unit: What the account's records are of; None: no record of it was ever told.
        seen: What the venue said first of each position. ``entries``: average entries as it states them, where it does exactly.
        read: From when to when the venue's records were read (ms); None: they never were, so that none is missed.
    """

    account: str
    symbol: str
    evidence: Evidence
    fills: Sequence[Fill]
    payments: Sequence[FundingPayment]
    transfers: Sequence[Transfer]
    records: Sequence[ClosedPnl]
    unit: RecordUnit | None = None
    read: tuple[int, int] | None = None
    seen: Sequence[Seen] = ()
    entries: Sequence[str] = ()


class Unit(NamedTuple):
    """One comparison. ``ours``, ``venue``: by field. ``finding``: None where both are equal to the last digit."""

    at: int
    ours: Mapping[str, Decimal]
    venue: Mapping[str, Decimal]
    finding: Finding | None


class _Named(Protocol):
    @property
    def position(self) -> str | None: ...


class _Case(NamedTuple):
    """A unit before it is judged.

    Attributes:
        since, at: What it spans. ``openers``: the round trips that it is of.
        bounds: What rounding may come to, by field. ``whole``: all fills are known that it follows from.
        said: What the stored rows themselves say that it brought; None: they do not say.
    """

    what: str
    since: int
    at: int
    ccy: str | None
    ours: dict[str, Decimal]
    venue: dict[str, Decimal]
    bounds: dict[str, Decimal]
    whole: bool
    openers: frozenset[str]
    fills: tuple[str, ...]
    payments: tuple[str, ...]
    records: tuple[str, ...]
    position: str | None
    other_fees: bool = False
    flat: bool = False
    cycle: bool = False  # the venue says when it began
    direct: bool = False  # all but ``own_pnl`` is known by id: it follows from no other fill
    said: Decimal | None = None

    @property
    def proves(self) -> bool:
        """Say whether nothing is held after it, as far as we know, and what it brought is compared: then sizes are right."""
        return self.flat and ("own_pnl" if self.direct else "size") in self.venue


def compare(book: Book) -> list[Unit]:
    """Return all comparisons of an account and symbol, by time."""
    return _Comparison(book).units()


class _Comparison:
    def __init__(self, book: Book) -> None:
        self._book = book
        clean = doubled(book.fills, book.payments, book.records)
        self._doubled = clean.doubled
        self._fills, self._payments, self._records = clean.fills, clean.payments, clean.records
        self._moves = _moves(book, self._fills, self._payments, self._records)
        self._by_fill: defaultdict[str, list[_Weighed]] = defaultdict(list)
        for move in self._moves:
            self._by_fill[move.move.part.fill.id].append(move)
        self._step = money_step(self._fills, self._payments, self._records)
        self._entry_step = _step((*book.entries, *(record.entry_price for record in self._records)))
        named: list[Sequence[_Named]] = [book.fills, book.payments, book.transfers, book.records]
        self._named = {one.position for rows in named for one in rows} - {None}
        self._units: list[Unit] = []
        self._faults: list[_Fault] = []

    def units(self) -> list[Unit]:
        """Compare everything: what is known by id first, since what is missing there explains what follows."""
        self._units += [_told_twice(one, self._book.symbol) for one in self._doubled]
        cases = [*self._trades(), *self._orders(), *self._settlements(), *self._cycles()]
        # Of one moment what is missing first: what follows from it is no fault of its own.
        for case in sorted(cases, key=lambda case: (case.at, bool(case.fills))):
            self._judge(case)
        return sorted((*self._units, *self._gaps(self._units)), key=lambda unit: unit.at)

    # --- units ------------------------------------------------------------------------------------------------------

    def _trades(self) -> list[_Case]:
        """Return a case a trade that the venue has records of, and a trade that it should have some of."""
        records: defaultdict[str, list[ClosedPnl]] = defaultdict(list)
        for record in self._records:
            if record.trade_id is not None:
                records[record.trade_id].append(record)
        if self._book.unit != "trade":
            return []
        fills: defaultdict[str, list[Fill]] = defaultdict(list)
        for fill in self._fills:
            fills[fill.trade_id or fill.id].append(fill)
        names = dict.fromkeys((*fills, *records))
        return [case for name in names if (case := self._trade(name, fills[name], records[name])) is not None]

    def _trade(self, name: str, fills: list[Fill], records: list[ClosedPnl]) -> _Case | None:
        at = min(*(fill.at for fill in fills), *(record.at for record in records), _NEVER)
        if not records and not self._was_read(at):
            return None
        ccy = next((record.ccy for record in records if record.ccy), None) or self._settle
        moves = [move for fill in fills for move in self._by_fill[fill.id]]
        ours: dict[str, Decimal] = {"fills": Decimal(len(fills))}
        venue = {"fills": Decimal(max(len(fills), 1))}
        told_pnl = [fill for fill in fills if fill.realized_pnl is not None]
        other = [fill for fill in fills if fill.fee is not None and fill.fee_ccy not in (None, ccy)]
        ours["realized_pnl"] = _sum(fill.realized_pnl for fill in told_pnl)
        venue["realized_pnl"] = _sum(record.realized_pnl for record in records)
        ours["fees"] = _sum(fill.fee for fill in fills if fill not in other)
        venue["fees"] = _sum(record.fees for record in records if record.ccy in (None, ccy))
        if not records and not ours["realized_pnl"] and not ours["fees"]:
            return None
        bounds = {"realized_pnl": ZERO, "fees": ZERO}
        closings = [move for move in moves if move.move.closes]
        own = [move.move.own for move in closings if move.move.whole]
        if records and closings and len(own) == len(closings) and None not in own:
            ours["own_pnl"] = _total(own)
            venue["own_pnl"] = venue["realized_pnl"]
            bounds["own_pnl"] = self._bound(closings)
        text = f"trade {name}" if fills else f"trade {name} is among the venue's records, and no fill of it is stored"
        if not records:
            text = f"trade {name} is not among the venue's records"
        return _Case(
            text, min((move.move.opened_at for move in moves), default=at), at, ccy, ours, venue, bounds,
            all(move.move.whole for move in moves), frozenset(move.move.opener for move in moves),
            tuple(fill.id for fill in fills), (), tuple(record.id for record in records),
            next((fill.position for fill in fills), None), bool(other),
            flat=any(move.over for move in moves), direct=True, said=exact_sum(ours["realized_pnl"], ours["fees"]),
        )  # fmt: skip

    def _orders(self) -> list[_Case]:
        """Return a case a closing order."""
        records: defaultdict[tuple[str, str | None], list[ClosedPnl]] = defaultdict(list)
        for record in self._records:
            if record.trade_id is None and record.order_id is not None:
                records[record.order_id, record.side].append(record)
        if self._book.unit != "order":
            return []
        closings: defaultdict[tuple[str, str | None], list[_Weighed]] = defaultdict(list)
        for move in self._moves:
            if move.move.closes:
                closings[move.move.part.fill.order_id, move.move.side].append(move)
        names = dict.fromkeys((*closings, *records))
        return [case for name in names if (case := self._order(name[0], closings[name], records[name])) is not None]

    def _order(self, name: str, moves: list[_Weighed], records: list[ClosedPnl]) -> _Case | None:
        if not records:
            at = max(move.move.part.fill.at for move in moves)
            if not self._was_read(at) or not all(move.move.whole for move in moves):
                return None
        else:
            at = max(record.at for record in records)
        text = f"closing order {name}" + ("" if records else " is not among the venue's records")
        ours, venue = _closed(moves), {"size": _sum(record.size for record in records)}
        stated = bool(records) and all(record.realized_pnl is not None for record in records)
        fees = _total(move.fee + move.opening for move in moves)
        bounds = {
            "size": ZERO,
            "fees": self._step * _total(Decimal(move.exits + 1) for move in moves),
            "realized_pnl": self._bound(moves),
        }
        if stated:
            venue["realized_pnl"] = _sum(record.realized_pnl for record in records)
            venue["fees"], ours["fees"] = _sum(record.fees for record in records), fees
        else:
            venue["realized_net"] = _sum(record.realized_net for record in records)
            ours["realized_net"] = exact_sum(ours.pop("realized_pnl", ZERO), fees)
            bounds["realized_net"] = bounds["realized_pnl"] + bounds["fees"]
        return self._case(text, at, ours, venue, bounds, moves, records)

    def _settlements(self) -> list[_Case]:
        """Return a case a record of profit that was moved into the balance while the position stayed."""
        settled = [one for one in self._book.transfers if one.kind == "settlement"]
        cases = []
        for record in self._records:
            if record.trade_id is None and record.order_id is None and record.opened_at is None:
                mine = [one for one in settled if abs(one.at - record.at) <= SLACK_MS]
                net = record.realized_pnl if record.realized_pnl is not None else record.realized_net
                ours, venue = {"realized_pnl": _sum(one.amount for one in mine)}, {"realized_pnl": Decimal(net or 0)}
                text = f"settlement of {record.symbol}" + ("" if mine else ": no payment of it is stored")
                case = self._case(text, record.at, ours, venue, {"realized_pnl": self._step}, [], [record])
                cases.append(case._replace(payments=tuple(one.id for one in mine)))
        return cases

    def _cycles(self) -> list[_Case]:
        """Return a case a position from its opening to its close, or to the latest one, as far as it is closed."""
        records = [one for one in self._records if one.opened_at is not None]
        trips: defaultdict[str, list[_Weighed]] = defaultdict(list)
        for move in self._moves:
            trips[move.move.opener].append(move)
        cases = []
        for record in sorted(records, key=lambda one: one.at):
            mine = self._trips_of(record, trips)
            moves = [(opener, move) for opener in mine for move in trips.pop(opener)]
            for opener, move in moves:
                if (
                    move.move.part.fill.at > record.at + SLACK_MS
                ):  # where a fill is missing, the next one's are among them
                    trips[opener].append(move)
            cases.append(self._cycle(record, [move for _, move in moves]))
        if self._book.unit == "position":
            cases += [case for moves in trips.values() if (case := self._unrecorded(moves)) is not None]
        return cases

    def _trips_of(self, record: ClosedPnl, trips: Mapping[str, list[_Weighed]]) -> list[str]:
        """Return the round trips that a record is of: the one that began with it, and what of others lies within it."""
        opened = record.opened_at or 0
        mine = {
            opener: abs(moves[0].move.opened_at - opened)
            for opener, moves in trips.items()
            if record.side in (None, moves[0].move.side) and self._fits(record, moves[0].move.position)
            and moves[0].move.opened_at <= record.at and moves[-1].move.part.fill.at >= opened
        }  # fmt: skip
        nearest = min(mine, key=lambda opener: mine[opener], default=None)
        if nearest is None:
            return []
        within = [
            opener for opener in mine if opener != nearest and trips[opener][0].move.opened_at > opened + SLACK_MS
        ]
        return [nearest, *within]

    def _cycle(self, record: ClosedPnl, moves: list[_Weighed]) -> _Case:
        opened = record.opened_at or 0
        mine = [move for move in moves if move.move.part.fill.at <= record.at]
        later = [move for move in moves if move.move.part.fill.at <= record.at + SLACK_MS]
        if record.size is not None and _size(mine) != Decimal(record.size) == _size(later):
            mine = later
        closings = [move for move in mine if move.move.closes]
        ours, venue = _closed(closings), {"size": Decimal(record.size or 0)}
        ours["fees"] = _total(move.fee for move in mine)
        ended = max((move.move.part.fill.at for move in mine), default=record.at)
        payments = [
            one for one in self._payments
            if opened <= one.at <= max(record.at, ended) and one.ccy == (record.ccy or one.ccy) and self._fits(record, one.position)
        ]  # fmt: skip
        ours["funding"] = _sum(one.amount for one in payments)
        settled = [
            one for one in self._book.transfers if opened <= one.at <= record.at and self._fits(record, one.position)
        ]
        ours["realized_pnl"] = exact_sum(
            ours.get("realized_pnl", ZERO), _sum(one.amount for one in settled if one.kind == "settlement")
        )
        ours["liquidation_fee"] = _sum(one.amount for one in settled if one.kind == "liquidation")
        for name in MONEY:
            stated = getattr(record, name)
            if stated is None:
                ours.pop(name, None)
            else:
                venue[name] = Decimal(stated)
        if record.size is None:
            ours.pop("size"), venue.pop("size")
        step = self._step
        bounds = {
            "size": ZERO,
            "realized_pnl": self._bound(closings) + step * len(settled),
            "fees": step * (len(mine) + 1),
        }
        bounds |= {"funding": step * (len(payments) + 1), "liquidation_fee": step}
        case = self._case(
            f"position of {record.symbol} opened at {opened}", record.at, ours, venue, bounds, mine, [record]
        )
        return case._replace(since=opened, cycle=True, payments=tuple(one.id for one in payments))

    def _unrecorded(self, moves: list[_Weighed]) -> _Case | None:
        """Return a case where a position was closed and the venue's records do not have it."""
        closings, at = [move for move in moves if move.move.closes], moves[-1].move.part.fill.at
        if not closings or not closings[-1].over or not closings[-1].move.whole or not self._was_read(at):
            return None
        text = f"position opened at {moves[0].move.opened_at} is not among the venue's records"
        ours = _closed(closings) | {"fees": _total(move.fee for move in moves)}
        return self._case(text, at, ours, dict.fromkeys(ours, ZERO), {}, moves, [])

    def _case(
        self, what: str, at: int, ours: dict[str, Decimal], venue: dict[str, Decimal], bounds: dict[str, Decimal],
        moves: list[_Weighed], records: list[ClosedPnl],
    ) -> _Case:  # fmt: skip
        fills = [move.move.part.fill for move in moves]
        said = None
        if all(fill.realized_pnl is not None for fill in fills):
            shares = [] if any(not move.move.closes for move in moves) else [move.opening for move in moves]
            said = _total((*(move.said + move.fee for move in moves), *shares))
        return _Case(
            what, min((move.move.opened_at for move in moves), default=at), at,
            next((record.ccy for record in records if record.ccy), None) or self._settle, ours, venue, bounds,
            all(move.move.whole for move in moves), frozenset(move.move.opener for move in moves),
            tuple(dict.fromkeys(fill.id for fill in fills)), (), tuple(record.id for record in records),
            next((move.move.position for move in moves), None),
            self._settle is not None and any(fill.fee_ccy not in (None, self._settle) for fill in fills),
            flat=any(move.over for move in moves), said=said,
        )  # fmt: skip

    # --- judging ----------------------------------------------------------------------------------------------------

    def _judge(self, case: _Case) -> None:
        differences = {name: _less(value, case.ours.get(name, ZERO)) for name, value in case.venue.items()}
        off = {name: value for name, value in differences.items() if abs(value) > case.bounds.get(name, ZERO)}
        if case.direct and len(off) > 1:  # what follows from other fills is no fault of this one
            off.pop("own_pnl", None)
        structural = bool(off.keys() & _STRUCTURAL)
        cls = self._class(case, differences, off)
        if cls != "unexplained":
            finding = None if cls is None else self._finding(cls, case, off or differences)
            self._units.append(Unit(case.at, case.ours, case.venue, finding))
            if case.proves and case.whole and not structural:
                self._faults = [fault for fault in self._faults if fault.goes_on(case)]
            return
        finding = self._finding(cls, case, off)
        by_id = case.direct and off.keys() != {"own_pnl"}
        fault = None if by_id else next((one for one in self._faults if one.explains(case, structural)), None)
        if fault is None:
            fault = _Fault(len(self._units), finding, structural, by_id)
            self._faults.append(fault)
            self._units.append(Unit(case.at, case.ours, case.venue, finding))
        else:
            fault.structural |= structural
            fault.finding = _together(fault.finding, finding)
            self._units[fault.place] = self._units[fault.place]._replace(finding=fault.finding)
            self._units.append(Unit(case.at, case.ours, case.venue, None))
        fault.last_at = case.at
        fault.openers |= case.openers
        fault.fills |= set(case.fills)

    def _class(
        self, case: _Case, differences: Mapping[str, Decimal], off: Mapping[str, Decimal]
    ) -> VerificationClass | None:
        if not off:
            return "rounding" if any(differences.values()) else None
        covered = self._book.evidence.covered
        if covered is None or case.since < covered or (not case.whole and not case.cycle and self._began_before(case)):
            return "before_history"
        amounts = {name: value for name, value in off.items() if name in MONEY}
        if off.keys() != amounts.keys():
            return "unexplained"
        total, bound = _total(amounts.values()), _total(case.bounds.get(name, ZERO) for name in amounts)
        if "liquidation_fee" in off and abs(total) <= bound:
            return "liquidation_fee"  # the venue shows apart what is within the fee of a fill
        if amounts.keys() == {"fees"} and case.other_fees:
            return "fee_currency"
        near = [one for one in self._book.transfers if case.since - SLACK_MS <= one.at <= case.at + SLACK_MS]
        kinds: tuple[tuple[str, VerificationClass], ...] = (
            ("settlement", "settlement"), ("liquidation", "liquidation_fee"), ("rebate", "rebate")
        )  # fmt: skip
        for kind, cls in kinds:
            mine = _sum(one.amount for one in near if one.kind == kind)
            if mine and min(abs(total - mine), abs(total + mine)) <= bound:
                return cls
        return "unexplained"

    def _began_before(self, case: _Case) -> bool:
        covered = self._book.evidence.covered or 0
        held = [one for one in self._book.seen if one.size]
        first = min((fill.at for fill in self._fills), default=case.at)
        before = any((one.opened_at or one.at) <= covered + SLACK_MS for one in held)
        return case.since <= first and (before or not self._book.seen)

    def _finding(self, cls: VerificationClass, case: _Case, off: Mapping[str, Decimal]) -> Finding:
        amounts = {name: value for name, value in off.items() if name in (*MONEY, "realized_net")}
        if case.said is None:
            effect = _total(amounts.values())
        else:
            effect = _less(_total(case.venue[n] for n in (*MONEY[:2], "realized_net") if n in case.venue), case.said)
        return Finding(
            cls=cls, what=case.what, symbol=self._book.symbol, position=case.position, since=case.since, at=case.at,
            ccy=case.ccy, differences={name: told(value) or "0" for name, value in off.items() if value},
            effect=told(effect if cls == "unexplained" else ZERO) or "0",
            fills=case.fills, payments=case.payments, records=case.records,
        )  # fmt: skip

    def _gaps(self, found: Sequence[Unit]) -> list[Unit]:
        """Return where the size that the venue says was held before a fill is not what the fills before it left."""
        held: dict[str, Decimal] = {}
        gaps = []
        for moves in self._by_fill.values():  # in the order of their folding; a flip is two moves of one fill
            move, fill = moves[0].move, moves[0].move.part.fill
            if fill.start_position is None:
                continue
            before = held.get(move.position)
            start = Decimal(fill.start_position)
            if before is not None and before != start and not _explained(found, fill.at):
                what = f"{told(before)} was held after the fill before, and {told(start)} before this one: fills are missing"
                finding = Finding(
                    cls="unexplained", what=what, symbol=self._book.symbol, position=move.position, since=fill.at,
                    at=fill.at, ccy=self._settle, differences={"size": told(_less(start, before)) or "0"}, fills=(fill.id,),
                )  # fmt: skip
                gaps.append(Unit(fill.at, {"size": before}, {"size": start}, finding))
            size = Decimal(fill.size)
            held[move.position] = start + (size if fill.side == "buy" else -size)
        return gaps

    # --- figures ----------------------------------------------------------------------------------------------------

    @property
    def _settle(self) -> str | None:
        contract = self._book.evidence.contract
        return None if contract is None else contract.settle

    def _fits(self, record: ClosedPnl, position: str | None) -> bool:
        """Say whether a record may be of a position; a leg that nobody named is of any."""
        return position in (None, record.position) or record.position is None or position not in self._named

    def _was_read(self, at: int) -> bool:
        read = self._book.read
        return read is not None and read[0] <= at < read[1]

    def _bound(self, closings: Sequence[_Weighed]) -> Decimal:
        """Return what rounding may come to in what closings brought: of each amount, and of the entry that they count from."""
        entry = _total(move.entry_error(self._entry_step, self._book.evidence.contract) for move in closings)
        steps = self._step * (2 * len(closings) + 1)
        if self._step < Decimal(1).scaleb(-_DOUBLE_DIGITS):
            steps += _DOUBLE * _total(
                abs(move.move.own or ZERO) + move.value(self._book.evidence.contract) for move in closings
            )
        return entry + steps


class _Fault:
    """One fault, and what else is off by it.

    Attributes:
        place: Of its unit. ``by_id``: nothing but a missing fill of it makes others differ.
        structural: Sizes are off, so that what comes later is too, until something proves that they are right again.
    """

    def __init__(self, place: int, finding: Finding, structural: bool, by_id: bool) -> None:
        self.place, self.finding, self.structural, self.by_id = place, finding, structural, by_id
        self.openers: set[str] = set()
        self.fills: set[str] = set()
        self.last_at = finding.at

    def explains(self, case: _Case, structural: bool) -> bool:
        """Say whether a difference is of this fault: it is of the same position or fill, or comes after sizes went wrong."""
        if self.structural and (structural or not case.whole):
            return True
        theirs = case.openers | set(case.fills)  # a flip is of two positions
        return not self.by_id and not theirs.isdisjoint(self.openers | self.fills)

    def goes_on(self, case: _Case) -> bool:
        """Say whether it can still make others differ after a case in which everything is right."""
        return case.since <= self.last_at or not self.openers.isdisjoint(case.openers)


class _Weighed(NamedTuple):
    """A move, with the fee of its part, and the share of what opening had cost that it takes along.

    ``entries``, ``exits``: how many fills of the round trip opened and closed up to here.
    """

    move: Move
    fee: Decimal
    opening: Decimal
    entries: int
    exits: int

    @property
    def own(self) -> Decimal | None:
        """What it realised by prices and sizes; by the venue's word where these do not tell, or fills are missing."""
        stated = self.move.part.fill.realized_pnl
        sure = self.move.own is not None and self.move.whole
        return self.move.own if sure or stated is None else Decimal(stated)

    @property
    def over(self) -> bool:
        """Say whether nothing is held after it."""
        return self.move.closes and self.move.held == self.move.part.size

    @property
    def said(self) -> Decimal:
        """What the venue says that it realised."""
        return Decimal(self.move.part.fill.realized_pnl or 0) if self.move.closes else ZERO

    def entry_error(self, step: Decimal, contract: Contract | None) -> Decimal:
        """Return what rounding the average entry at each of its changes may come to in what this brought."""
        if contract is None or contract.contract_size is None:
            return ZERO
        size = self.move.part.size * contract.contract_size * step * self.entries
        return size / (Decimal(self.move.part.fill.price) / 2) ** 2 if contract.inverse else size

    def value(self, contract: Contract | None) -> Decimal:
        """Return what changed hands."""
        if contract is None or contract.contract_size is None:
            return ZERO
        size, price = self.move.part.size * contract.contract_size, Decimal(self.move.part.fill.price)
        return size / price if contract.inverse else size * price


def _moves(
    book: Book, fills: Sequence[Fill], payments: Sequence[FundingPayment], records: Sequence[ClosedPnl]
) -> list[_Weighed]:
    """Fold the fills, and note beside each what opening its position had cost."""
    opened = tuple(sorted({*book.evidence.opened, *(one.opened_at for one in records if one.opened_at is not None)}))
    told_moves: list[Move] = []
    items: list[Item] = [*fills, *payments, *book.seen]
    items += [one for one in book.transfers if one.kind in ("settlement", "liquidation")]
    for _ in fold(
        Chain(account=book.account, symbol=book.symbol), items, book.evidence._replace(opened=opened), told_moves.append
    ):
        pass
    cost: dict[str, Decimal] = {}
    entries: Counter[str] = Counter()
    exits: Counter[str] = Counter()
    found = []
    for move in told_moves:
        fee = move.part.fee if move.part.fee is not None and _in_settle(move, book) else ZERO
        before = cost.get(move.opener, ZERO)
        if not move.closes:
            cost[move.opener] = exact_sum(before, fee)
            entries[move.opener] += 1
            found.append(_Weighed(move, fee, ZERO, entries[move.opener], 0))
            continue
        whole = move.held is None or not move.held or move.held <= move.part.size
        share = before if whole or move.held is None else before * move.part.size / move.held
        cost[move.opener] = _less(before, share)
        exits[move.opener] += 1
        found.append(_Weighed(move, fee, share, entries[move.opener], exits[move.opener]))
    return found


def _in_settle(move: Move, book: Book) -> bool:
    contract = book.evidence.contract
    return contract is None or move.part.fill.fee_ccy in (None, contract.settle)


def money_step(fills: Iterable[Fill], payments: Iterable[FundingPayment], records: Iterable[ClosedPnl]) -> Decimal:
    """Return the last decimal that a venue sends of an amount: zeros at the end may be left out, so that the longest one tells."""
    figures: list[str | None] = [figure for fill in fills for figure in (fill.fee, fill.realized_pnl)]
    figures += [payment.amount for payment in payments]
    figures += [getattr(record, name) for record in records for name in (*MONEY, "realized_net")]
    return _step(figures)


def _step(figures: Iterable[str | None]) -> Decimal:
    """Return the unit of the last decimal of the longest figure."""
    decimals = [-int(Decimal(figure).as_tuple().exponent) for figure in figures if figure]
    return Decimal(1).scaleb(-max(decimals)) if decimals else ZERO


def _told_twice(one: Doubled, symbol: str) -> Unit:
    first = one.events[0]
    ids = tuple(event.id for event in one.events)
    finding = Finding(
        cls="unexplained", what=one.what, symbol=symbol, position=first.position, since=first.at, at=first.at, ccy=one.ccy,
        differences={one.field: told(-one.extra) or "0"}, effect=told(ZERO if isinstance(first, ClosedPnl) else -one.extra) or "0",
        fills=ids if isinstance(first, Fill) else (), payments=ids if isinstance(first, FundingPayment) else (),
        records=ids if isinstance(first, ClosedPnl) else (),
    )  # fmt: skip
    return Unit(first.at, {one.field: one.extra}, {one.field: ZERO}, finding)


def _closed(moves: Sequence[_Weighed]) -> dict[str, Decimal]:
    """Return size and profit of closings; profit is missing where it does not follow from the fills."""
    own = [move.own for move in moves]
    found = {"size": _size(moves)}
    if None not in own:
        found["realized_pnl"] = _total(own)
    return found


def _size(moves: Iterable[_Weighed]) -> Decimal:
    return _total(move.move.part.size for move in moves if move.move.closes)


def _explained(found: Iterable[Unit], at: int) -> bool:
    return any(one.finding is not None and one.finding.cls == "unexplained" and one.finding.at <= at for one in found)


def _together(one: Finding, other: Finding) -> Finding:
    """Return one line of two."""
    effect = exact_sum(Decimal(one.effect), Decimal(other.effect))
    return msgspec.structs.replace(
        one, effect=told(effect) or "0", fills=_once(one.fills, other.fills), records=_once(one.records, other.records)
    )


def _once(one: tuple[str, ...], other: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(dict.fromkeys((*one, *other)))


def _sum(figures: Iterable[str | None]) -> Decimal:
    return _total(Decimal(figure) for figure in figures if figure)


def _total(amounts: Iterable[Decimal | None]) -> Decimal:
    found = ZERO
    for amount in amounts:
        found = exact_sum(found, amount or ZERO)
    return found


def _less(one: Decimal, other: Decimal) -> Decimal:
    return exact_sum(one, -other)
