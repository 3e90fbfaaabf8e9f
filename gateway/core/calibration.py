"""Calibration: one number per pool, the collateral that makes the model reproduce the venue's liquidation price.

Owns the comparison of one row with the venue at one anchor, the bounds beyond which a model is not believed, and the record that
a pool keeps of it. A comparison counts with the marks, sizes and balances of the venue's own moment. The venue's price goes into
``delta`` and into nothing else, and ``delta`` is bounded: whatever is further away is shown as the venue's. Pure.

    delta = -(equity - maintenance) at the venue's price        so that surplus(venue's price) + delta = 0
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Literal, NamedTuple

from gateway.core.anchor import ulp
from gateway.core.margin.scalar import Leg, Snapshot, x_of

Verdict = Literal["venue", "calibrated", "model"]

# The venues round the amounts of a message to six significant digits at worst; a delta below that says nothing.
_NOISE = 1e-6
# A mark moves by about this fraction in the square root of a second (at 60 % a year), also where none was heard meanwhile.
_DRIFT_PER_ROOT_S = 1e-4
# Where the moments of the inputs explain more than this share of what is allowed, an agreement says nothing: with it, a price that
# is 2 % wrong is still beyond the bounds.
_TELLING = 0.5


class Bounds(NamedTuple):
    """How far a model may be from the venue and still be believed.

    A venue's price that is 2 % wrong must not pass, rounding must. 2 % of a price is 0.02 x price / mark of distance: more than
    0.002 wherever liquidation is nearer than 90 % of the mark; of those farther down 1 % of the price decides. Of the nearest ones,
    where all distances are small, the share decides: 1 % of the equity moves a liquidation price by 1 % of its distance.

    Attributes:
        share: |delta| / pool equity, and difference of the two prices / price.
        distance: Difference of the two distances (fraction of the mark); relative to the distance where that is above 1.
        skew_ms: Inputs further apart in time than this are not compared.
    """

    share: float = 0.01
    distance: float = 0.002
    skew_ms: int = 2_000


class Comparison(NamedTuple):
    """The model against the venue: one row, one anchor.

    Attributes:
        delta: Pool currency; NaN where one side has no price.
        slack: What of ``delta`` rounding and the inputs' different moments explain.
        share: |delta| / pool equity.
        distance: |model's - venue's| distance; NaN where only one side has a price.
        model: The model's price, NaN where it has none.
        one_sided: Only one side has a price.
        beyond: Not to be believed: ``one_sided``, or beyond a bound by more than ``slack``.
        vague: The inputs' different moments alone may make so much that an agreement says nothing.
    """

    delta: float
    slack: float
    share: float
    distance: float
    model: float
    one_sided: bool
    beyond: bool
    vague: bool = False


def compare(
    pool: Snapshot, leg: Leg, stated: str | None, *, tick: float, apart: float, bounds: Bounds
) -> Comparison | None:
    """Hold a row's liquidation price against the venue's; None where an input is unknown or nothing is left of the pool.

    Args:
        stated: The venue's price; None: it says that there is none.
        tick: The contract's tick size; 0: unknown.
        apart: How much the inputs' different moments may make of the pool's equity (see ``drift``).
    """
    equity = pool.equity
    if not (math.isfinite(pool.surplus(leg, leg.x)) and equity > 0.0 and leg.quantity):
        return None
    model = leg.published(pool.root(leg))
    mark = leg.mark
    if stated is None:
        away, agree = _from_none(leg, model, bounds)
        return Comparison(math.nan, math.inf, math.nan, away if agree else math.nan, model, not agree, not agree)
    price = float(stated)
    at = price - leg.maintenance.shift
    x = x_of(at, inverse=leg.inverse)
    delta = -pool.surplus(leg, x)
    unit = max(rounding(stated, tick), leg.maintenance.floor_to)
    off_by_a_unit = abs(pool.surplus(leg, x_of(at + unit, inverse=leg.inverse)) + delta)
    slack = off_by_a_unit + _NOISE * (equity + leg.weight * leg.notional) + apart
    allowed = min(bounds.distance * max(1.0, abs(price / mark - 1.0)), bounds.share * price / mark)
    vague = apart * unit > _TELLING * allowed * mark * off_by_a_unit
    share, excess = abs(delta) / equity, max(0.0, 1.0 - slack / abs(delta)) if delta else 0.0
    if math.isnan(model):
        away, agree = _from_none(leg, price, bounds)
        agree = agree or not excess
        return Comparison(delta, slack, share, away if agree else math.nan, model, not agree, not agree, vague)
    distance = abs(model - price) / mark
    beyond = excess * share > bounds.share or excess * distance > allowed
    return Comparison(delta, slack, share, distance, model, one_sided=False, beyond=beyond, vague=vague)


def _from_none(leg: Leg, price: float, bounds: Bounds) -> tuple[float, bool]:
    """Return how far a price is from none (fraction of the mark; NaN is none), and whether that is as good as none.

    A price next to nothing, or to an end of its contract's range, and none at all are the same distance.
    """
    if math.isnan(price):
        return 0.0, True
    inside = max(0.0, min(price - leg.maintenance.lowest, leg.maintenance.highest - price)) / leg.mark
    return inside, inside <= bounds.distance * max(1.0, abs(price / leg.mark - 1.0))


def rounding(stated: str, tick: float) -> float:
    """Return the unit that a venue's price was rounded to: its last digit, or the tick where it lies on that grid."""
    unit = float(ulp(stated))
    on_grid = tick > 0.0 and abs(math.remainder(float(stated), tick)) < 1e-6 * tick
    return max(unit, tick) if on_grid else unit


def drift(notional: float, skew_ms: int, width: float = 0.0) -> float:
    """Return what a mark of another moment may make of the PnL of so much notional (the same currency).

    Args:
        width: How far the mark really went within the moments that are compared, as a fraction.
    """
    return max(_DRIFT_PER_ROOT_S * math.sqrt(skew_ms / 1000.0), width) * notional


def fitted(delta: float, comparisons: Iterable[Comparison]) -> float:
    """Return the delta nearest to the present one that explains every comparison within its slack, the sharpest last."""
    for found in sorted(comparisons, key=lambda one: -one.slack):
        if not math.isnan(found.delta):
            delta = min(max(delta, found.delta - found.slack), found.delta + found.slack)
    return delta


class Calibrated:
    """What a pool knows of its model's agreement with the venue.

    Attributes:
        delta: Pool currency; 0 where there is nothing to correct, or the model is not believed.
        anchored_at: The moment of the last comparison that counted (ms); None: there was none since the pool last changed.
        skew_ms: How far apart in time its inputs were.
        share, distance: The worst of its rows (see ``Comparison``), NaN where nothing was to be measured.
        rows: The last comparison of each row.
        beyond: Rows of which the model is not believed: the share (1 where only one side has a price), and why.
        agreed: Both sides had a price and were within the bounds, since the pool's positions last changed.
        doubted: Rows beyond the bounds of a pool that had agreed, and since when (ms): one message may be of another moment.
        since: Since when there are such rows (ms).
        pool_was: What has to stay as it was for ``delta`` to hold: of the positions, and of the balance.
        said: What was said of the pool when it was last looked at.
        changed_seq: The change set in which the positions last changed: a balance from before is of another moment.
    """

    __slots__ = (
        "_lasting_ms", "agreed", "anchored_at", "beyond", "changed_seq", "delta", "distance", "doubted",
        "pool_was", "rows", "said", "share", "since", "skew_ms",
    )  # fmt: skip

    def __init__(self, lasting_ms: int = Bounds().skew_ms) -> None:
        """Make a record of nothing; ``lasting_ms``: how far apart in time inputs may be."""
        self._lasting_ms = lasting_ms
        self.delta = 0.0
        self.anchored_at: int | None = None
        self.skew_ms: int | None = None
        self.share = self.distance = math.nan
        self.rows: dict[str, Comparison] = {}
        self.beyond: dict[str, tuple[float, str]] = {}
        self.since: int | None = None
        self.agreed = False
        self.doubted: dict[str, int] = {}
        self.pool_was: tuple[object, object] | None = None
        self.said: object = None
        self.changed_seq = 0

    @property
    def verdict(self) -> Verdict:
        """Whose figure the pool's rows show, as far as their model is trusted."""
        if self.beyond:
            return "venue"
        return "calibrated" if self.delta else "model"

    def drop(self) -> None:
        """Forget what was estimated: the pool is another one. What was beyond the bounds stays so until it is compared again."""
        self.delta = 0.0
        self.anchored_at = self.skew_ms = None
        self.share = self.distance = math.nan
        self.rows.clear()

    def change(self, seq: int) -> None:
        """Note that the positions are others: nothing is known of these."""
        self.changed_seq, self.agreed = seq, False
        self.doubted.clear()

    def take(self, found: dict[str, Comparison], at: int, skew_ms: int, heard_at: int | None = None) -> None:
        """Take the comparisons of one moment, by row; of those that are vague only the ones beyond the bounds.

        A model that agreed gives way where a message that came later, by more than inputs may be apart, is beyond the bounds as
        well: what lasts longer does not come from their different moments. Until then nothing of such a row counts.

        Args:
            at: When the venue wrote the message.
            heard_at: When it came, our clock; None: at once.
        """
        heard_at = at if heard_at is None else heard_at
        counted = {row_id: one for row_id, one in found.items() if not self._waits(row_id, one, heard_at)}
        if not counted:
            return
        self.anchored_at, self.skew_ms = at, skew_ms
        self.share = _worst(one.share for one in counted.values())
        self.distance = _worst(one.distance for one in counted.values())
        self.rows |= counted
        for row_id, one in counted.items():
            self.doubted.pop(row_id, None)
            if one.beyond:
                self.beyond[row_id] = (1.0 if one.one_sided else one.share, _reason(one))
            else:
                self.beyond.pop(row_id, None)
        self.flag(at)
        self.delta = 0.0 if self.beyond else fitted(self.delta, counted.values())
        self.agreed = not self.beyond and (self.agreed or any(not math.isnan(one.delta) for one in counted.values()))

    def _waits(self, row_id: str, one: Comparison, heard_at: int) -> bool:
        """Say whether a row's comparison has to be confirmed by a later one before it counts."""
        if not (one.beyond and self.agreed):
            return False
        return heard_at - self.doubted.setdefault(row_id, heard_at) <= self._lasting_ms

    def forget(self, row_id: str, at: int) -> None:
        """Let a row's comparison count no more: it is gone, or its venue states nothing any longer."""
        for kept in (self.rows, self.beyond, self.doubted):
            kept.pop(row_id, None)
        self.flag(at)

    def flag(self, at: int) -> None:
        """Keep the moment since when something is beyond the bounds."""
        self.since = (self.since if self.since is not None else at) if self.beyond else None


def _worst(values: Iterable[float]) -> float:
    return max((value for value in values if not math.isnan(value)), default=math.nan)


def _reason(one: Comparison) -> str:
    if one.one_sided:
        return "only the venue has a price" if math.isnan(one.model) else "only the model has a price"
    return f"off by {one.share:.3g} of the pool's equity, {one.distance:.3g} of the mark"
