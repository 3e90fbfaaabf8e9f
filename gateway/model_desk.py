"""What people ask of margin models: residuals, explanations, pairs; and the metrics of the same.

Owns nothing: the engine keeps the figures.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import msgspec
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from gateway.core.explain import explain, explain_account
from gateway.core.pairs import pairs
from gateway.core.residuals import Agreement, Samples
from gateway.engine import Engine
from gateway.metrics import labelled

_COUNTS: dict[str, tuple[str, Callable[[Agreement], int]]] = {
    "anchors": ("Liquidation prices held against the venue's", lambda it: it.compared),
    "one_sided": ("Of these, only one side had a price", lambda it: it.one_sided),
    "beyond": ("Of these, beyond the bounds of calibration", lambda it: it.beyond),
}
_KINDS: dict[str, tuple[str, Callable[[Agreement], Samples]]] = {
    "delta_share": ("Calibration as a share of the pool's equity", lambda it: it.share),
    "distance": ("Difference of the distances to liquidation", lambda it: it.distance),
    "maintenance_margin": ("Relative difference of a pool's maintenance margin", lambda it: it.maintenance),
    "margin_ratio": ("Relative difference of a pool's margin ratio", lambda it: it.ratio),
}


class ModelDesk:
    """The gateway's answers to ``/v1/models``, to ``…/explain`` and to ``perpwire models``."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def models(self) -> dict[str, object]:
        """Return every model with its residuals, and PnL accuracy by venue."""
        calibration = self._engine.calibration
        residuals = calibration.residuals
        venues = [{"name": name, **agreement.row()} for name, agreement in sorted(residuals.venues.items())]
        return {"models": list(residuals.rows(calibration.flagged_now())), "venues": venues}

    def explain_position(self, position: str) -> dict[str, object]:
        """Return how a position's figures came about. Raises KeyError."""
        engine = self._engine
        return explain(engine.positions[position], engine.book, engine.positions)

    def explain_account(self, account: str) -> dict[str, object]:
        """Return how an account's figures came about. Raises KeyError."""
        engine = self._engine
        found = engine.accounts[account]
        members = [engine.positions[row_id] for row_id in sorted(found.positions)]
        return explain_account(found, members, engine.book, engine.calibration.residuals.accounts.get(account))

    def pairs(self) -> list[Any]:
        """Return what models read and what the venues said of the same moment, as plain data."""
        engine = self._engine
        return [msgspec.to_builtins(pair) for pair in pairs(engine.accounts, engine.positions, engine.market)]

    def figures(self) -> Iterable[Metric]:
        """Yield the metrics of residuals."""
        calibration = self._engine.calibration
        models = sorted(calibration.residuals.models.items())
        for name, (text, count) in _COUNTS.items():
            values = [(model, float(count(it))) for model, it in models]
            yield labelled(CounterMetricFamily, f"model_{name}", text, "model", values)
        for name, (text, kind) in _KINDS.items():
            known = [(model, kind(it)) for model, it in models if kind(it).n]
            yield labelled(
                GaugeMetricFamily, f"model_{name}_median", f"{text}, median", "model", [(m, s.median) for m, s in known]
            )
            yield labelled(
                GaugeMetricFamily, f"model_{name}_worst", f"{text}, worst", "model", [(m, s.worst) for m, s in known]
            )
        flagged = sorted(calibration.flagged_now().items())
        yield labelled(GaugeMetricFamily, "model_flagged", "Positions beyond the bounds now", "model", flagged)
        venues = sorted(calibration.residuals.venues.items())
        accuracy = [(venue, it.pnl.accuracy) for venue, it in venues if it.pnl.total]
        yield labelled(GaugeMetricFamily, "pnl_accuracy", "1 - sum |ours - venue's| / sum |venue's|", "venue", accuracy)
