from __future__ import annotations

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.parser import text_string_to_metric_families

from gateway.metrics import Metrics, counter, gauge, labelled, serving
from tests.gateway.toy import HandTurnedClock, Pipe, Toy, make_hub


def samples(metrics: Metrics) -> dict[str, float]:
    families = text_string_to_metric_families(metrics.render().decode())
    return {f"{s.name}{s.labels or ''}": s.value for family in families for s in family.samples}


def test_the_hubs_figures_are_read_when_somebody_scrapes() -> None:
    toy = Toy()
    toy.put("main:A", x=1)
    toy.commit()
    hub = make_hub(toy, HandTurnedClock())
    metrics = Metrics()
    metrics.watch(serving(hub))
    Pipe(hub).ask(op="subscribe", table="positions")
    toy.put("main:A", x=2)
    toy.commit()
    hub.flush()
    found = samples(metrics)
    assert found["perpwire_seq"] == 2
    assert found["perpwire_rows{'table': 'positions'}"] == 1
    assert (found["perpwire_stream_connections"], found["perpwire_stream_deliveries_total"]) == (1, 1)


def test_further_sources_may_be_watched() -> None:
    metrics = Metrics()
    metrics.watch(
        lambda: [gauge("a", "A", 1), counter("b", "B", 2), labelled(GaugeMetricFamily, "c", "C", "x", [("y", 3)])]
    )
    assert samples(metrics) == {"perpwire_a": 1, "perpwire_b_total": 2, "perpwire_c{'x': 'y'}": 3}
