"""When a model is held against the venue, with which inputs, and what follows for the pool. Pure.

Owns the record of every pool (``Calibrated``) and the ``delta`` of its column. A row is compared once per report of the venue,
after the columns were brought to it: rows of one message at its own marks, all others at the present ones, with as much room as
those moved lately. Not compared is what did not belong together: marks further apart than the bound, a balance from before a
change of the pool's positions, a row that does not show a fill yet, whatever an earlier life stored. What was estimated is
dropped with any change of size, mode, leverage, tier, balance or transfer.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from operator import attrgetter
from typing import NamedTuple

from gateway.core.accounts import Account, Pool
from gateway.core.anchor import computable, is_inverse
from gateway.core.calibration import Bounds, Calibrated, Comparison, compare, drift
from gateway.core.holdings import Holdings
from gateway.core.margin.okx import LIQUIDATION_FEE_RATE
from gateway.core.margin.scalar import Leg, Snapshot, x_of
from gateway.core.positions import Book
from gateway.core.ratios import WORST, stated_ratio
from gateway.core.residuals import Residuals
from gateway.core.rows import settle_of
from gateway.core.state import Position

# OKX states maintenance without the liquidation fee that its ratio, and our maintenance, contain.
_FEE_BEYOND = {"okx": LIQUIDATION_FEE_RATE}
# What of a row changes with every report, and with every other formula that applies to it.
_SAID = attrgetter("message", "pending_fill", "maintenance", "restored_at")


class _Seen(NamedTuple):
    """A row's last report: where its PnL counted from."""

    basis: tuple[str, str | None, str | None]  # side and size, entry, the price that PnL counts from
    upnl0: float
    x0: float
    mark0: float
    seq: int  # of the report


class _Moment(NamedTuple):
    """A pool at the moment of one message."""

    pool: Snapshot
    legs: Mapping[str, Leg]  # by row
    skew_ms: int
    apart: float  # pool currency


class Calibration:
    """Written by the engine alone, within its turns.

    Attributes:
        residuals: How all comparisons went.
    """

    def __init__(
        self, book: Book, holdings: Holdings, residuals: Residuals, bounds: Bounds, counters: Counter[str]
    ) -> None:
        self.residuals = residuals
        self._book, self._holdings, self._bounds, self._counters = book, holdings, bounds, counters
        self._seen: dict[str, _Seen] = {}
        self._judged: dict[str, int] = {}  # row → seq of the report that was compared last
        self._restored_seq = 0
        self._transfers: Counter[str] = Counter()
        self._corrected: dict[int, Pool] = {}  # with a delta
        self._compared: set[str] = set()  # rows, since the start
        self._doubted: dict[int, str] = {}  # pools with a row beyond the bounds: whose they are

    def turn(self, now: int) -> set[str]:
        """Take what a turn brought; return the rows that have to be put anew, since another figure is shown."""
        concerned: set[str] = set()
        settled, self._holdings.settled = self._holdings.settled, {}
        for pool in settled.values():
            account = self._holdings.pools.owner(pool.number)
            if account is not None and account.pools.get(pool.name) is pool and self._take(account, pool, now):
                concerned |= pool.members
        return concerned

    def clock(self, now: int) -> set[str]:
        """Take the time: a mark may have carried a pool with a delta into another tier."""
        for pool in self._corrected.values():
            if pool.calibration is not None:
                pool.calibration.said = None
        self._holdings.settled |= self._corrected
        for kept in (self._seen, self._judged):
            for row_id in kept.keys() - self._holdings.open.keys():
                del kept[row_id]
        self._compared &= self._holdings.open.keys()
        return self.turn(now)

    def restart(self) -> None:
        """Take that everything up to now was said in an earlier life: nothing that is said from now on belongs to it."""
        self._restored_seq = self._holdings.seq

    def transfer(self, account: Account) -> None:
        """Take that money came or went."""
        self._transfers[account.info.name] += 1
        self._holdings.settled |= {pool.number: pool for pool in account.pools.values()}

    def flagged(self, account: Account) -> Iterator[tuple[str, float, str]]:
        """Yield an account's pools in which a model that is trusted is beyond the bounds: (pool, share of equity, why).

        Where only one side has a price the share is 1. It is NaN of pools that were not compared since the start: nobody knows.
        """
        for pool in account.pools.values():
            for row_id, (share, why) in pool.calibration.beyond.items() if pool.calibration else ():
                position = self._holdings.open.get(row_id)
                if position is not None and position.trusted:
                    yield pool.name, share, f"{position.state.symbol}: {why}"
                    break
            else:
                if not all(map(self._is_known, pool.members)):
                    yield pool.name, math.nan, "not compared with the venue since the start"

    def doubted(self) -> Iterable[str]:
        """Return the accounts that ``flagged`` may yield a share of."""
        return self._doubted.values()

    def _is_known(self, row_id: str) -> bool:
        """Say whether a row's model was compared since the start, or is not to be."""
        position = self._holdings.open[row_id]
        return not position.trusted or position.state.liquidation_known == "unknown" or row_id in self._compared

    def flagged_now(self) -> Counter[str]:
        """Return how many positions of each model are beyond the bounds now."""
        found: Counter[str] = Counter()
        for row_id, position in self._holdings.open.items():
            record = position.pool.calibration
            if record is not None and row_id in record.beyond and position.maintenance.model:
                found[position.maintenance.model] += 1
        return found

    # --- one pool ------------------------------------------------------------------------------------------------------

    def _take(self, account: Account, pool: Pool, now: int) -> bool:
        """Bring one pool's record up to date; return whether other figures of it are shown than before."""
        members = [self._holdings.open[row_id] for row_id in sorted(pool.members)]
        # The prices of currencies settle every pool in dollars once a second: nothing of that is to be compared.
        counts = tuple(sorted(self._holdings.pools.fractions(pool).items()))
        said = (pool.message, account.mode, self._transfers[account.info.name], counts, tuple(map(_SAID, members)))
        if pool.calibration is not None and pool.calibration.said == said:
            return False
        for member in members:
            self._compare_pnl(account, member)
        if pool.calibration is None:
            if not any(member.maintenance.model for member in members):
                return False
            pool.calibration = Calibrated(self._bounds.skew_ms)
        record, at = pool.calibration, max((member.as_of for member in members), default=now)
        record.said = said
        shown = record.verdict, float(self._book.delta[pool.number])
        self._drop_if_changed(account, pool, record, members, counts)
        for row_id in (record.rows.keys() | record.beyond.keys()) - pool.members:
            record.forget(row_id, at)
        for message in dict.fromkeys(member.message for member in members if member.message is not None):
            self._compare(account, pool, record, members, message, now)
        self._apply(pool, record, members)
        if any(one.trusted and one.state.id in record.beyond for one in members):
            self._doubted[pool.number] = account.info.name
        else:
            self._doubted.pop(pool.number, None)
        return shown != (record.verdict, float(self._book.delta[pool.number]))

    def _apply(self, pool: Pool, record: Calibrated, members: list[Position]) -> None:
        """Let ``delta`` count where a model that is trusted speaks."""
        number = pool.number
        self._book.delta[number] = record.delta if any(member.trusted for member in members) else 0.0
        if self._book.delta[number]:
            self._corrected[number] = pool
        else:
            self._corrected.pop(number, None)

    def _drop_if_changed(
        self, account: Account, pool: Pool, record: Calibrated, members: list[Position], counts: object
    ) -> None:
        state = pool.state
        positions = (
            account.mode.mode if account.mode else None,
            self._transfers[account.info.name],
            tuple(map(self._identity, members)),
        )
        coins = tuple((c.ccy, c.cash) for c in account.all_coins()) if state is not None and state.from_coins else ()
        money = (state.cash if state is not None else None, coins, counts)
        if (positions, money) == record.pool_was:
            return
        if record.pool_was is not None and record.pool_was[0] != positions:
            record.change(self._holdings.seq)
        record.pool_was = (positions, money)
        record.drop()

    def _identity(self, member: Position) -> tuple[object, ...]:
        """Return what of a row has to stay for an estimate to hold."""
        state, maintenance = member.state, member.maintenance
        tier = maintenance.at_notional(self._book.notional(member.handle)).rate if len(maintenance.brackets) > 1 else 0
        return (state.id, state.side, state.size, state.leverage, state.max_leverage, state.margin_mode,
                state.isolated_cash, maintenance.model, maintenance.brackets, tier)  # fmt: skip

    # --- liquidation prices ----------------------------------------------------------------------------------------------

    def _compare(
        self,
        account: Account,
        pool: Pool,
        record: Calibrated,
        members: list[Position],
        message: tuple[str, int],
        now: int,
    ) -> None:
        """Compare the rows of one message that were not compared yet."""
        rows = [one for one in members if one.message == message and one.restored_at is None and self._is_new(one)]
        for one in rows:
            if one.state.liquidation_known == "unknown":
                record.forget(one.state.id, now)
        rows = [one for one in rows if one.maintenance.model and one.state.liquidation_known != "unknown"]
        if (
            not rows
            or any(now - one.as_of > self._bounds.skew_ms for one in rows)
            or self._is_apart(pool, record, members)
        ):
            return
        moment = self._moment(account, pool, members, message, now)
        if moment.skew_ms > self._bounds.skew_ms:
            self._counters["anchor_skewed"] += 1
            return
        found: dict[str, Comparison] = {}
        vague = False
        for one in rows:
            self._judged[one.state.id] = message[1]
            compared = self._one(one, moment)
            if compared is not None and compared.vague and not compared.beyond:
                vague = True
            elif compared is not None:
                found[one.state.id] = compared
                for agreement in self.residuals.of(one.maintenance.model, account.info.venue, account.info.name):
                    agreement.take(compared)
        if found:
            self._compared |= found.keys()
            at = max(one.anchored_at if one.anchored_at is not None else now for one in rows)
            heard_at = max(one.as_of for one in rows)
            record.take(found, at, moment.skew_ms, heard_at)
        elif vague:
            self._counters["anchor_skewed"] += 1
        self._compare_margins(account, pool, rows, members, moment)

    def _is_new(self, one: Position) -> bool:
        return one.message is not None and self._judged.get(one.state.id, -1) < one.message[1]

    def _is_apart(self, pool: Pool, record: Calibrated, members: list[Position]) -> bool:
        """Say whether the balance is of another moment than the positions, or one of these does not show a fill yet.

        What was stored is of another moment than anything that the venue says in this life.
        """
        if any(member.pending_fill is not None or member.restored_at is not None for member in members):
            return True
        if pool.isolated:
            return False
        return pool.message is None or pool.message[1] < record.changed_seq or pool.message[1] <= self._restored_seq

    def _moment(
        self, account: Account, pool: Pool, members: list[Position], message: tuple[str, int], now: int
    ) -> _Moment:
        """Return the pool as the venue saw it when it wrote a message: what is not in ``legs`` is part of cash and extra."""
        symbols = {one.symbol.number for one in members if one.message == message}
        legs: dict[str, Leg] = {}
        cash, extra = float(self._book.equity[pool.number]), float(self._book.maintenance[pool.number])
        as_of = max(one.as_of for one in members if one.message == message)
        skew_ms, apart = 0, 0.0
        priced = dict(self._holdings.pools.coins(pool))  # what moves with a currency's price: US dollars, by currency
        for one in members:
            if not computable(one.state, one.instrument):
                continue
            leg = self._book.leg(one.handle, one.maintenance)
            own_mark = one.message == message and not math.isnan(one.anchor.mark0)
            if own_mark or one.symbol.number in symbols:
                cash, extra = cash - leg.equity, extra - leg.kept
                inverse = is_inverse(one.state, one.instrument)
                legs[one.state.id] = leg._replace(x=x_of(one.anchor.mark0, inverse=inverse)) if own_mark else leg
            if not own_mark:
                received = one.symbol.received_at
                skew = abs(as_of - received) if received is not None else self._bounds.skew_ms + 1
                apart += drift(leg.weight * leg.notional, skew, one.symbol.reach.width(now))
                skew_ms = max(skew_ms, skew)
            settle = settle_of(one)
            if pool.ccy == "USD" and settle is not None:
                priced[settle] = priced.get(settle, 0.0) + leg.equity - leg.kept
        apart += sum(abs(usd) * account.usd_width(ccy, now) for ccy, usd in priced.items())
        return _Moment(Snapshot(cash, extra, tuple(legs.values())), legs, skew_ms, apart)

    def _one(self, one: Position, moment: _Moment) -> Comparison | None:
        leg, state, instrument = moment.legs.get(one.state.id), one.state, one.instrument
        if leg is None:
            return None
        stated = state.venue_liquidation_price if state.liquidation_known == "price" else None
        if stated is None and instrument is None:
            return None  # it may be that of the contract's range: that is not known yet
        tick = float(instrument.tick_size) if instrument and instrument.tick_size else 0.0
        return compare(moment.pool, leg, stated, tick=tick, apart=moment.apart, bounds=self._bounds)

    # --- margins and PnL ---------------------------------------------------------------------------------------------------

    def _compare_margins(
        self, account: Account, pool: Pool, rows: list[Position], members: list[Position], moment: _Moment
    ) -> None:
        """Compare the pool's maintenance and ratio where the venue states them for this same moment and all is modelled."""
        stated, ratio = None, rows[0].state.venue_margin_ratio if pool.isolated else None
        if not pool.isolated and pool.state is not None and pool.message is not None:
            if any(member.message is None or member.message[1] != pool.message[1] for member in members):
                return
            stated, ratio = pool.state.venue_maintenance_margin, pool.state.venue_ratio
        venue, model = account.info.venue, rows[0].maintenance.model
        agreements = self.residuals.of(model, venue, account.info.name)
        equity, maintenance = moment.pool.equity, moment.pool.maintenance
        if stated and float(stated):
            legs = [moment.legs.get(one.state.id) or self._book.leg(one.handle, one.maintenance) for one in members]
            known = [leg.weight * leg.notional for leg in legs if leg.quantity]  # not those that no formula revalues
            fee = _FEE_BEYOND.get(venue, 0.0) * sum(known)
            ours = maintenance - fee - float(self._book.extra_mm[pool.number])
            for agreement in agreements:
                agreement.maintenance.add(ours / float(stated) - 1.0)
        theirs = stated_ratio(venue, ratio)
        if 0.0 < theirs < WORST and equity > 0.0:
            for agreement in agreements:
                agreement.ratio.add(maintenance / equity / theirs - 1.0)

    def _compare_pnl(self, account: Account, one: Position) -> None:
        """Hold our PnL at the mark of a new report, from the report before or from the entry, against the venue's."""
        state, found = one.state, one.anchor
        before = self._seen.get(state.id)
        if one.message is None or one.restored_at is not None or (before is not None and before.seq == one.message[1]):
            return
        basis = (f"{state.side} {state.size}", state.entry_price, state.pnl_price)
        self._seen[state.id] = _Seen(basis, found.upnl0, found.x0, found.mark0, one.message[1])
        if not (state.venue_unrealized_pnl and computable(state, one.instrument)):
            return
        if before is not None and before.basis == basis:
            if before.mark0 == found.mark0:
                return  # the same again says nothing
            x = x_of(found.mark0, inverse=is_inverse(state, one.instrument)) if found.mark0 else math.nan
            ours = before.upnl0 + found.quantity * (x - before.x0)
        else:
            ours = found.from_entry if state.entry_exact else math.nan
        usd = account.usd(settle_of(one))
        if not math.isnan(ours * usd):
            for agreement in self.residuals.of(one.maintenance.model, account.info.venue, account.info.name):
                agreement.pnl.add(ours * usd, float(state.venue_unrealized_pnl) * usd)
