"""The description of the REST routes (OpenAPI 3.1) and the page that shows it, both made of the routes themselves."""

from __future__ import annotations

import base64
import hashlib
import html
from collections.abc import Sequence
from typing import Any

import msgspec

from gateway.core.alerts.records import Silence
from gateway.core.margin.catalog import Evidence
from gateway.core.protocol import ERRORS, Close
from gateway.core.scenario import Scenario
from gateway.web.export import CSV, NDJSON
from gateway.web.live import LIVE
from gateway.web.past_schemas import OF_THE_PAST, Common, Rows
from gateway.web.problem import PROBLEM_JSON
from gateway.web.route import Operation
from gateway.web.state import AlertTestRequest, BackfillRequest, ReconcileRequest, SilenceRequest


class Problem(msgspec.Struct):
    """Problem details (RFC 9457)."""

    type: str
    title: str
    status: int
    detail: str
    code: str
    retry: bool


class Health(msgspec.Struct):
    """The process lives."""

    status: str
    version: str


class Readiness(msgspec.Struct):
    """Clients can be served; the state of each feed."""

    status: str
    feeds_live: bool
    feeds: dict[str, Any]
    epoch: str
    seq: int
    durable_seq: int


class Instruments(msgspec.Struct):
    """The contract table."""

    instruments: list[dict[str, Any]]


class Reconciled(msgspec.Struct):
    """What the store and the venues say, side by side."""

    mode: str
    accounts: dict[str, Any]


class Silences(msgspec.Struct):
    """Silences that are not over."""

    silences: list[Silence]


class AlertTested(msgspec.Struct):
    """What each channel said to a test."""

    rule: str
    channels: dict[str, dict[str, Any]]


class Residual(msgspec.Struct):
    """Absolute residuals of one kind: how many, the median of the latest 1,000, the worst of all."""

    n: int
    median: float
    worst: float


class Agreement(msgspec.Struct, kw_only=True):
    """How figures of ours agree with the venues' since the start; what was never compared is absent."""

    name: str
    anchors: int
    one_sided: int
    beyond: int
    delta_share: Residual | msgspec.UnsetType = msgspec.UNSET
    distance: Residual | msgspec.UnsetType = msgspec.UNSET
    maintenance_margin: Residual | msgspec.UnsetType = msgspec.UNSET
    margin_ratio: Residual | msgspec.UnsetType = msgspec.UNSET
    pnl_anchors: int | msgspec.UnsetType = msgspec.UNSET
    pnl_accuracy: float | msgspec.UnsetType = msgspec.UNSET


class ModelAgreement(Agreement, kw_only=True):
    """A margin model: what it covers, on what evidence, whether its figures are shown, and how it agrees."""

    venue: str
    mode: str
    evidence: Evidence
    formula: str
    source: str
    trusted: bool
    flagged: int


class Models(msgspec.Struct):
    """Every margin model, and PnL by venue."""

    models: list[ModelAgreement]
    venues: list[Agreement]


class Pairs(msgspec.Struct):
    """What models read and what the venues said of the same moment."""

    pairs: list[dict[str, Any]]


class StressedSide(msgspec.Struct):
    """Figures before or after: totals by summary, by account (``not_covered``: why nothing is said of it), by position."""

    summary: Rows
    accounts: Rows
    positions: Rows


class LargestSize(msgspec.Struct):
    """How much can be added (the venue's unit); ``why`` where that is nothing, or without end."""

    size: float | None
    why: str | msgspec.UnsetType = msgspec.UNSET
    liquidation_distance: float | msgspec.UnsetType = msgspec.UNSET
    notional: float | msgspec.UnsetType = msgspec.UNSET


class Stressed(msgspec.Struct):
    """The answer to a scenario; ``max_size`` where it was asked."""

    before: StressedSide
    after: StressedSide
    max_size: LargestSize | msgspec.UnsetType = msgspec.UNSET


class BackfillStatus(msgspec.Struct):
    """How a reading of an account's past stands: everything from ``since`` to ``done`` is stored.

    ``state``: waiting, reading, done, broken. ``error``: what could not be had, or why it ended before its end.
    """

    id: str
    key: str
    account: str
    since: int
    until: int
    done: int
    records: int
    at: int
    state: str
    error: str | None = None


class BackfillStatuses(msgspec.Struct):
    """The readings of this life of the gateway."""

    backfills: list[BackfillStatus]


class Changes(msgspec.Struct):
    """What changed in a table: whole rows, and null for each id that is gone."""

    rows: Rows
    patch: dict[str, None]


def _types(tables: Sequence[str]) -> dict[str, Any]:
    whole: list[Any] = [("sub", str), *((name, Rows, {}) for name in tables)]
    since: list[Any] = [("sub", str), ("delta", bool)]
    since += [(name, Changes | msgspec.UnsetType, msgspec.UNSET) for name in tables]
    snapshots = {
        name: msgspec.defstruct(name, fields, bases=(Common,), kw_only=True)
        for name, fields in (("Snapshot", whole), ("SinceSnapshot", since))
    }
    pages = {
        f"{name}Page": msgspec.defstruct(
            f"{name}Page",
            [
                (name, Rows),
                ("next_cursor", str, ""),
                ("verified_at", dict[str, int], {}),
                ("flat", list[str], []),
                ("unknown_symbols", list[str], []),
            ],
            bases=(Common,),
            kw_only=True,
        )
        for name in LIVE
        if name in tables
    }
    kinds = (Problem, Health, Readiness, Instruments, Reconciled, ReconcileRequest)
    of_alerts = (Silence, Silences, SilenceRequest, AlertTested, AlertTestRequest)
    of_past = (BackfillRequest, BackfillStatus, BackfillStatuses)
    plain = {
        kind.__name__: kind for kind in (*kinds, *of_alerts, *of_past, Models, Pairs, Scenario, Stressed, *OF_THE_PAST)
    }
    return {**snapshots, **pages, **plain, "Object": dict[str, Any]}


def describe(operations: Sequence[Operation], tables: Sequence[str], version: str) -> dict[str, Any]:
    """Return the OpenAPI document of these routes."""
    types = _types(tables)
    schemas, components = msgspec.json.schema_components(types.values(), ref_template="#/components/schemas/{name}")
    by_name = dict(zip(types, schemas, strict=True))
    paths: dict[str, dict[str, Any]] = {}
    for operation in operations:
        item = paths.setdefault(operation.path, {})
        item[operation.method.lower()] = _operation(operation, by_name, again=bool(item))
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Perpwire",
            "version": version,
            "description": "Live perpetual-futures positions of every venue. The stream is a WebSocket at /v1/stream.",
        },
        "paths": paths,
        "components": {"schemas": components},
    }


def _operation(operation: Operation, schemas: dict[str, Any], *, again: bool) -> dict[str, Any]:
    """Describe one operation; ``again``: another one of its path was described before."""
    name = operation.path.strip("/").translate(str.maketrans("/", "_", "{}"))
    answers = [schemas[name] for name in operation.schemas]
    schema = {"type": "string"} if operation.media.startswith("text/") else {"anyOf": answers}
    media = operation.media.partition(";")[0]
    content = {media: {"schema": schema}}
    if operation.exported:
        content |= {form: {"schema": {"type": "string"}} for form in (CSV, NDJSON)}
    responses: dict[str, Any] = {"200": {"description": operation.summary, "content": content}}
    if operation.unready:
        responses["503"] = _problem("A required feed is not live, or a venue or the database cannot be asked", schemas)
    responses["default"] = _problem("A problem", schemas)
    body: dict[str, Any] = {}
    if operation.body is not None:
        sent = {"application/json": {"schema": schemas[operation.body]}}
        body = {"requestBody": {"required": True, "content": sent}}
    return {
        "operationId": f"{name}_{operation.method.lower()}" if again else name,
        "summary": operation.summary,
        "parameters": [
            {
                "name": param.name,
                "in": "path" if f"{{{param.name}}}" in operation.path else "query",
                "required": f"{{{param.name}}}" in operation.path,
                "description": param.text,
                "schema": {"type": param.type} | ({"enum": list(param.values)} if param.values else {}),
            }
            for param in operation.params
        ],
        "responses": responses,
    } | body


def _problem(text: str, schemas: dict[str, Any]) -> dict[str, Any]:
    return {"description": text, "content": {PROBLEM_JSON: {"schema": schemas["Problem"]}}}


STYLE = """
:root { color-scheme: light dark }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem }
td, th { text-align: left; padding: .1rem 1rem .1rem 0; vertical-align: top }
:target { outline: 2px solid }
"""
# What the content policy allows inline: this one style, by its hash.
STYLE_HASH = "sha256-" + base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()


def page(operations: Sequence[Operation], version: str) -> str:
    """Return the documentation page: plain HTML, nothing loaded from anywhere."""
    routes = "".join(map(_route, operations))
    errors = "".join(
        f"<tr id='{code}'><td><code>{code}</code><td>{kind.status}<td>{_esc(kind.title)}<td>{'yes' if kind.retry else 'no'}"
        for code, kind in ERRORS.items()
    )
    closes = "".join(
        f"<tr><td>{close.code}<td>{_esc(close.reason)}<td>{'yes' if close.code < 4100 else 'no'}" for close in Close
    )
    return f"""<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>Perpwire {_esc(version)}: the API</title>
<style>{STYLE}</style>
<h1>Perpwire {_esc(version)}</h1>
<p>Machine-readable: <a href="/openapi.json">/openapi.json</a>. The stream is a WebSocket at <code>/v1/stream</code>.</p>
{routes}
<h2>Errors</h2>
<p>As <code>application/problem+json</code> (RFC 9457) here, as <code>error</code> frames on the stream.</p>
<table><tr><th>code<th>status<th>meaning<th>ask again{errors}</table>
<h2>Close codes of the stream</h2>
<table><tr><th>code<th>meaning<th>come back{closes}</table>
</html>
"""


def _route(operation: Operation) -> str:
    rows = "".join(f"<tr><td><code>{p.name}</code><td>{p.type}<td>{_esc(p.text)}" for p in operation.params)
    table = f"<table>{rows}</table>" if rows else ""
    return f"<h2><code>{operation.method} {_esc(operation.path)}</code></h2><p>{_esc(operation.summary)}.</p>{table}"


def _esc(text: str) -> str:
    return html.escape(text)
