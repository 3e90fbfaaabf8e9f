"""What Prometheus sees. Counts are kept where things happen, as plain integers, and read only when somebody scrapes."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from gateway.hub import Hub

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

Source = Callable[[], Iterable[Metric]]


class _Read(Collector):
    def __init__(self, source: Source) -> None:
        self._source = source

    def collect(self) -> Iterable[Metric]:
        return self._source()


class Metrics:
    """One registry of this gateway: no process-wide state, so that two gateways in one process do not meet."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()

    def watch(self, source: Source) -> None:
        """Read further metrics from ``source`` at every scrape."""
        self.registry.register(_Read(source))

    def render(self) -> bytes:
        """Return everything in the Prometheus text format."""
        return generate_latest(self.registry)


def gauge(name: str, text: str, value: float) -> Metric:
    """Return a gauge ``perpwire_<name>``."""
    return GaugeMetricFamily(f"perpwire_{name}", text, value=value)


def counter(name: str, text: str, value: float) -> Metric:
    """Return a counter ``perpwire_<name>_total``."""
    return CounterMetricFamily(f"perpwire_{name}", text, value=value)


def labelled(metric: type[Metric], name: str, text: str, label: str, values: Iterable[tuple[str, float]]) -> Metric:
    """Return a gauge or counter family with one label."""
    family = metric(f"perpwire_{name}", text, labels=[label])  # type: ignore[call-arg]  # the families take labels
    for key, value in values:
        family.add_metric([key], value)  # type: ignore[attr-defined]  # the same
    return family


def serving(hub: Hub) -> Source:
    """Return the metrics of the hub and of what it serves."""

    def read() -> Iterable[Metric]:
        now, tables = hub.statistics(), hub.tables
        yield gauge("seq", "Published change sets in this epoch", tables.seq)
        yield labelled(GaugeMetricFamily, "rows", "Rows of a table", "table", ((t.name, len(t)) for t in tables))
        yield gauge("stream_connections", "Open client streams", now.connections)
        yield gauge("stream_groups", "Distinct selections that are subscribed", now.groups)
        yield gauge("stream_subscriptions", "Subscriptions of all streams", now.subscriptions)
        yield gauge("stream_lagging", "Subscriptions whose client has not drained", now.lagging)
        yield counter("stream_frames", "Frames encoded for those in sync", now.frames)
        yield counter("stream_deliveries", "Frames given to a client", now.deliveries)
        yield counter("stream_bytes", "Bytes of frames given to clients", now.delivered_bytes)
        yield counter("stream_catch_ups", "Subscriptions brought to their group's last flush", now.catch_ups)
        yield counter("stream_snapshots", "Of these, by a snapshot", now.snapshots)
        yield counter("stream_pauses", "Times that a client's socket was full", now.pauses)
        yield labelled(
            CounterMetricFamily, "stream_closed", "Streams closed by the gateway", "reason", now.closed.items()
        )

    return read
