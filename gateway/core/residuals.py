"""How far every model is from the venues, and our PnL from theirs: counts, medians and worst cases since the start.

Owns the statistics, in bounded memory: the median is of the latest values, the worst of all. Deterministic: the same turns give
the same figures. Pure.

    PnL accuracy = 1 - sum |ours - venue's| / sum |venue's|        in US dollars, at the marks of the venue's own messages
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Collection, Iterator
from statistics import median

from gateway.core.calibration import Comparison
from gateway.core.margin.catalog import CATALOG, trusted

_LATEST = 1_000  # values of which a model's median is taken


class Samples:
    """Absolute values of one kind of residual: how many, the worst of all, the median of the latest."""

    __slots__ = ("_latest", "n", "worst")

    def __init__(self) -> None:
        self.n = 0
        self.worst = math.nan
        self._latest: deque[float] = deque(maxlen=_LATEST)

    def add(self, value: float) -> None:
        """Take a residual; an unknown one is none."""
        if math.isnan(value):
            return
        value = abs(value)
        self.n += 1
        self.worst = value if not value <= self.worst else self.worst
        self._latest.append(value)

    @property
    def median(self) -> float:
        """Of the latest values; NaN without any."""
        return median(self._latest) if self._latest else math.nan


class Pnl:
    """PnL of ours against the venue's, US dollars."""

    __slots__ = ("error", "n", "total")

    def __init__(self) -> None:
        self.n = 0
        self.error = self.total = 0.0

    def add(self, ours: float, venues: float) -> None:
        """Take one figure of each."""
        self.n += 1
        self.error += abs(ours - venues)
        self.total += abs(venues)

    @property
    def accuracy(self) -> float:
        """1 where every figure was the venue's; NaN where the venue's were all 0."""
        return 1.0 - self.error / self.total if self.total else math.nan


class Agreement:
    """What was compared under one name: a model's, a venue's or an account's.

    Attributes:
        compared: Comparisons of a liquidation price.
        share, distance: See ``gateway.core.calibration.Comparison``.
        maintenance, ratio: Relative differences of a pool's maintenance margin and margin ratio, where the venue states them.
        one_sided: Comparisons in which only one side had a price.
        beyond: Comparisons beyond the bounds.
    """

    __slots__ = ("beyond", "compared", "distance", "maintenance", "one_sided", "pnl", "ratio", "share")

    def __init__(self) -> None:
        self.compared = self.one_sided = self.beyond = 0
        self.share, self.distance, self.maintenance, self.ratio = Samples(), Samples(), Samples(), Samples()
        self.pnl = Pnl()

    def take(self, found: Comparison) -> None:
        """Take one comparison."""
        self.compared += 1
        self.one_sided += found.one_sided
        self.beyond += found.beyond
        self.share.add(found.share)
        self.distance.add(found.distance)

    def row(self) -> dict[str, object]:
        """Return the figures that are known, as clients see them."""
        found: dict[str, object] = {"anchors": self.compared, "one_sided": self.one_sided, "beyond": self.beyond}
        kinds = {
            "delta_share": self.share,
            "distance": self.distance,
            "maintenance_margin": self.maintenance,
            "margin_ratio": self.ratio,
        }
        found |= {name: {"n": s.n, "median": s.median, "worst": s.worst} for name, s in kinds.items() if s.n}
        if self.pnl.n:
            found["pnl_anchors"] = self.pnl.n
        if not math.isnan(self.pnl.accuracy):
            found["pnl_accuracy"] = self.pnl.accuracy
        return found


class Residuals:
    """Agreement by model, venue and account.

    Attributes:
        promoted: Models that the operator trusts beyond those that were measured.
    """

    def __init__(self, promoted: Collection[str] = ()) -> None:
        self.promoted = promoted
        self.models: dict[str, Agreement] = {}
        self.venues: dict[str, Agreement] = {}
        self.accounts: dict[str, Agreement] = {}

    def of(self, model: str | None, venue: str, account: str) -> list[Agreement]:
        """Return everything under which a residual of a position counts."""
        found = [
            self.venues.setdefault(venue, Agreement()),
            self.accounts.setdefault(account, Agreement()),
        ]
        return found if model is None else [*found, self.models.setdefault(model, Agreement())]

    def rows(self, flagged: dict[str, int]) -> Iterator[dict[str, object]]:
        """Yield every model with what it covers and how it agrees.

        Args:
            flagged: How many positions of each model are beyond the bounds now.
        """
        for name, model in CATALOG.items():
            about: dict[str, object] = {
                "name": name,
                "venue": model.venue,
                "mode": model.mode,
                "evidence": model.evidence,
                "formula": model.formula,
                "source": model.source,
                "trusted": trusted(name, self.promoted),
                "flagged": flagged.get(name, 0),
            }
            yield about | self.models.get(name, Agreement()).row()
