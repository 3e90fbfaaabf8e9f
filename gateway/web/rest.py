"""REST: the tables as JSON, whole, since a cursor, or filtered and paged; and the gateway's own state.

Handlers read the tables between the writer's turns and join the rows' cached bytes. The list ``routes`` is also what the
API description is made of, so that no route can be without one.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import get_args

import orjson
from starlette.requests import Request
from starlette.responses import Response

from gateway.core.access import Principal, resolve
from gateway.core.alerts.rules import SEVERITIES
from gateway.core.lookup import DEFAULT_LIMIT, MAX_LIMIT
from gateway.core.protocol import Refusal, gone_member, row_member, sub_of
from gateway.core.records import CorrectionClass
from gateway.core.state import FEED_STATES
from gateway.core.tables import RowKey, Selection, Table, Version
from gateway.metrics import CONTENT_TYPE
from gateway.web.alerts import AlertRoutes
from gateway.web.backfills import BackfillRoutes
from gateway.web.export import form_of
from gateway.web.history import FROM, PAGE, TO, HistoryRoutes, asked_of_records, export_of
from gateway.web.models import ModelRoutes
from gateway.web.problem import PROBLEM_JSON, problem
from gateway.web.route import (
    ACCOUNT,
    SYMBOL,
    VENUE,
    Handler,
    Operation,
    Param,
    Query,
    answer_json,
    asked_of,
    operator_of,
    principal_of,
)
from gateway.web.services import ServiceRoutes
from gateway.web.state import ReconcileRequest, ServerState, Verification
from gateway.web.stress import StressRoutes

_MAX_AGE = Param("max_age_ms", "integer", "Ask the venue first where it was asked longer ago than this (milliseconds)")
_CLASSES: tuple[str, ...] = get_args(CorrectionClass)
_LONGEST_AGE_MS = 86_400_000
# Pages of live rows that are kept until the next change set: many clients ask for the same.
_MOST_PAGES = 256

# Live tables: the parameters that their rows can be filtered by.
LIVE: dict[str, tuple[Param, ...]] = {
    "positions": (ACCOUNT, VENUE, SYMBOL, Param("side", "string", "long or short", ("long", "short")), _MAX_AGE),
    "accounts": (ACCOUNT, VENUE, _MAX_AGE),
    "orders": (ACCOUNT, VENUE, SYMBOL, Param("side", "string", "buy or sell", ("buy", "sell")), _MAX_AGE),
    "fills": (ACCOUNT, VENUE, SYMBOL, FROM, TO),
    "closed": (ACCOUNT, VENUE, SYMBOL),
    "reconciliations": (
        ACCOUNT,
        VENUE,
        SYMBOL,
        Param("class", "string", "Classes of corrections, separated by commas", _CLASSES),
        FROM,
        TO,
    ),
    "summary": (Param("user", "string", "Users, separated by commas"),),
    "feeds": (ACCOUNT, VENUE, Param("state", "string", "States of a feed, separated by commas", FEED_STATES)),
    "alerts": (
        ACCOUNT,
        VENUE,
        SYMBOL,
        Param("rule", "string", "Names of rules, separated by commas"),
        Param("state", "string", "States of an alert, separated by commas", ("pending", "firing", "resolved")),
        Param("severity", "string", "Severities, separated by commas", SEVERITIES),
    ),
}
# Filters that a row's key answers; the others are compared with the row's own field of that name.
_BY_KEY = ("account", "venue", "symbol", "user")

_SNAPSHOT = (
    Param("tables", "string", "Tables, separated by commas (default: all that the filters fit)"),
    Param("accounts", "string", "Accounts, separated by commas (default: all)"),
    Param("symbols", "string", "The venue's own symbols, separated by commas (default: all)"),
    Param("since", "integer", "The seq of an earlier answer: only what changed after it"),
    Param("epoch", "string", "The epoch of that answer"),
    Param("sub", "string", "The sub of that answer: its selection must be the one asked for now"),
)


class Rest:
    """The handlers of one server."""

    def __init__(self, state: ServerState) -> None:
        self._state = state
        self._pages: dict[object, tuple[bytes, str]] = {}  # of the change set ``_pages_of``
        self._pages_of = -1
        live = [table for table in LIVE if table in state.tables]
        self.operations: list[Operation] = [
            Operation(
                "/v1/snapshot",
                self.snapshot,
                "Tables, whole or since a cursor",
                _SNAPSHOT,
                schemas=("Snapshot", "SinceSnapshot"),
            ),
            *(
                Operation(
                    f"/v1/{table}",
                    self._live(table),
                    f"Rows of {table}",
                    LIVE[table] + PAGE,
                    schemas=(f"{table}Page",),
                    unready=_MAX_AGE in LIVE[table] or FROM in LIVE[table],
                    exported=FROM in LIVE[table],
                )
                for table in live
            ),
            Operation("/v1/instruments", self.instruments, "The contract table", schemas=("Instruments",)),
            Operation("/v1/config", self.config, "The running configuration without secrets"),
            Operation("/healthz", self.healthz, "Alive", schemas=("Health",)),
            Operation(
                "/readyz",
                self.readyz,
                "Clients can be served; with feeds=1: every required feed is live",
                (Param("feeds", "integer", "1: answer 503 unless every required feed is live"),),
                schemas=("Readiness",),
                unready=True,
            ),
            Operation(
                "/internal/reconcile",
                self.reconcile,
                "Compare the store with the venues; with apply: correct it; with force: close the rows of an account",
                schemas=("Reconciled",),
                method="POST",
                body="ReconcileRequest",
            ),
            *(AlertRoutes(state).operations if "alerts" in state.tables else ()),
            *ModelRoutes(state).operations,
            *BackfillRoutes(state).operations,
            *StressRoutes(state).operations,
            *HistoryRoutes(state).operations,
            *ServiceRoutes(state).operations,
            Operation("/metrics", self.metrics, "Figures for Prometheus", media=CONTENT_TYPE),
        ]

    # --- Tables -----------------------------------------------------------------------------------------------------

    async def snapshot(self, request: Request) -> Response:
        """Answer with one member per table: all rows, or what changed since a cursor where that is known for certain."""
        query = Query(request, _SNAPSHOT)
        principal = principal_of(self._state, request)
        selections = self._selections(query, principal)
        tables, sub = self._state.tables, sub_of(*selections)
        since = self._since(query, principal, selections, sub)
        head: dict[str, object] = {"epoch": tables.epoch, "seq": tables.seq, "durable_seq": tables.durable_seq}
        head |= {"at": tables.at, "sub": sub}
        if since is None:
            members = [(s.table, self._rows(s)) for s in selections]
        else:
            head["delta"] = True
            members = [(s.table, self._changes(s, since)) for s in selections]
        return _answer(head, members)

    def _selections(self, query: Query, principal: Principal) -> list[Selection]:
        accounts, symbols = query.names("accounts"), query.names("symbols")
        asked = query.names("tables")
        if asked is None:
            wanted = {name for name, values in (("accounts", accounts), ("symbols", symbols)) if values is not None}
            asked = [table.name for table in self._state.tables if wanted <= table.filters]
        known = self._state.accounts()
        return [
            resolve(self._state.tables, name, principal, known, accounts=accounts, symbols=symbols)
            for name in dict.fromkeys(asked)
        ]

    def _since(self, query: Query, principal: Principal, selections: list[Selection], sub: str) -> int | None:
        tables = self._state.tables
        cursor = query.integer("since", 0, 2**63 - 1)
        brought = query.text("sub")
        # Without a sub only the query says what the cursor was of: enough where the query alone decides what is seen.
        same = brought == sub or (brought is None and principal.sees_everything)
        if cursor is None or not same or query.text("epoch") != tables.epoch:
            return None
        floor = max((tables[s.table].floor for s in selections), default=0)
        return cursor if floor <= cursor <= tables.seq else None

    def _rows(self, selection: Selection) -> bytes:
        table = self._state.tables[selection.table]
        return _object(row_member(table.version(slot)) for slot in table.members(selection).tolist())

    def _changes(self, selection: Selection, since: int) -> bytes:
        table = self._state.tables[selection.table]
        changed = table.changed_since(selection, since).tolist()
        rows = _object(row_member(table.version(slot)) for slot in changed)
        patch = _object(map(gone_member, table.gone_since(selection, since)))
        return b'{"rows":%b,"patch":%b}' % (rows, patch)

    def _live(self, table: str) -> Handler:
        async def handler(request: Request) -> Response:
            return await self._page(request, self._state.tables[table])

        return handler

    async def _page(self, request: Request, table: Table) -> Response:
        query = Query(request, LIVE[table.name] + PAGE)
        principal = principal_of(self._state, request)
        if query.knows("from") and (query.text("from") or query.text("to") or form_of(request) != "json"):
            return await self._stored(request, table, query, principal)
        named = query.names("account") if "accounts" in table.filters else None
        selection = resolve(self._state.tables, table.name, principal, self._state.accounts(), accounts=named)
        limit = query.integer("limit", 1, MAX_LIMIT) or DEFAULT_LIMIT
        fields = [param.name for param in LIVE[table.name] if param not in (_MAX_AGE, FROM, TO)]
        wanted = {name: values for name in fields if (values := query.names(name)) is not None}
        max_age_ms = query.integer("max_age_ms", 0, _LONGEST_AGE_MS)
        found, verified = Verification({}, {}), max_age_ms is not None
        if max_age_ms is not None:
            asked = self._state.accounts() if selection.accounts is None else selection.accounts
            found = await self._state.verify(asked, max_age_ms, wanted.get("venue"))
        rows, next_cursor = self._matching_rows(table, selection, wanted, query.text("cursor") or "", limit)
        tables = self._state.tables
        head: dict[str, object] = {"epoch": tables.epoch, "seq": tables.seq, "at": tables.at}
        if verified:
            head["verified_at"] = found.verified_at
            head |= self._flat(table, selection, wanted)
        if next_cursor:
            head["next_cursor"] = next_cursor
        body = [(table.name, rows)]
        if not found.failed:
            return _answer(head, body)
        # Nothing is known of what the venue could not be asked for: least of all that it is flat.
        head.pop("flat", None)
        head.pop("unknown_symbols", None)
        why = "; ".join(f"{account}: {reason}" for account, reason in sorted(found.failed.items()))
        refusal = Refusal("venue_unreachable", f"{why}. What follows is what was known at verified_at")
        return _answer({**problem(refusal), **head}, body, status=503, media=PROBLEM_JSON)

    def _matching_rows(
        self, table: Table, selection: Selection, wanted: dict[str, list[str]], after: str, limit: int
    ) -> tuple[bytes, str]:
        """Return a page's rows and the id to go on after ("": there are no more); the same bytes until the next change set."""
        if self._pages_of != self._state.tables.seq or len(self._pages) >= _MOST_PAGES:
            self._pages_of = self._state.tables.seq
            self._pages.clear()
        key = selection, tuple((name, *values) for name, values in wanted.items()), after, limit
        if key not in self._pages:
            rows, more = _matching(table, selection, wanted, after, limit)
            self._pages[key] = _object(map(row_member, rows)), rows[-1].id if more else ""
        return self._pages[key]

    async def _stored(self, request: Request, table: Table, query: Query, principal: Principal) -> Response:
        """Answer with all that is stored of a time, in the shape of the live table; or with a file."""
        asked = asked_of_records(self._state, table.name, query, principal)
        if (exported := export_of(self._state, request, asked, query)) is not None:
            return exported
        page = await self._state.history.page(asked)
        tables = self._state.tables
        head: dict[str, object] = {"epoch": tables.epoch, "seq": tables.seq, "at": tables.at}
        if page.next_cursor:
            head["next_cursor"] = page.next_cursor
        return _answer(head, [(table.name, _object(orjson.dumps(i) + b":" + row.encode() for i, row in page.rows))])

    def _flat(self, table: Table, selection: Selection, wanted: dict[str, list[str]]) -> dict[str, object]:
        """Return which of the symbols asked for nobody holds, on either side, and which no venue lists: of those it is not said."""
        if table.name != "positions" or "symbol" not in wanted:
            return {}
        of = {name: values for name, values in wanted.items() if name in _BY_KEY}
        held = {row.row.get("symbol") for row in _matching(table, selection, of, "", MAX_LIMIT)[0]}
        listed = {one["symbol"] for one in self._state.instruments()}
        absent = [symbol for symbol in wanted["symbol"] if symbol not in held]
        unknown = [symbol for symbol in absent if symbol not in listed]
        found: dict[str, object] = {"flat": [symbol for symbol in absent if symbol in listed]}
        return found | ({"unknown_symbols": unknown} if unknown else {})

    async def reconcile(self, request: Request) -> Response:
        """Compare, and correct where asked to; for the command line of whoever runs the gateway."""
        Query(request, ())
        operator_of(self._state, request, "correct the store")
        asked = await asked_of(self._state, request, ReconcileRequest, "reconciliation")
        unknown = sorted(set(asked.accounts or ()) - set(self._state.accounts()))
        if unknown:
            known = ", ".join(sorted(self._state.accounts())) or "none"
            raise Refusal("unknown_account", f"there is no account {', '.join(unknown)}; there are: {known}")
        if asked.mode == "force" and not (asked.accounts and asked.reason):
            raise Refusal(
                "bad_command", "force needs the accounts by name and a reason: it closes rows that nobody can check"
            )
        return answer_json({"mode": asked.mode, "accounts": await self._state.reconcile(asked)})

    # --- The gateway itself -----------------------------------------------------------------------------------------

    async def instruments(self, request: Request) -> Response:
        """Answer with the contract table."""
        Query(request, ())
        principal_of(self._state, request)
        return answer_json({"instruments": self._state.instruments()})

    async def config(self, request: Request) -> Response:
        """Answer with the running configuration."""
        Query(request, ())
        principal_of(self._state, request)
        return answer_json(self._state.config_view())

    async def healthz(self, request: Request) -> Response:
        """Answer that the process lives."""
        return answer_json({"status": "ok", "version": self._state.version})

    async def readyz(self, request: Request) -> Response:
        """Answer whether clients can be served, and in what state each feed is."""
        query = Query(request, (Param("feeds", "integer", ""),))
        live, feeds = self._state.ready()
        required = query.integer("feeds", 0, 1)
        if required and not live:
            refusal = Refusal("not_ready", "a required feed is not live; see feeds")
            return answer_json({**problem(refusal), "feeds": feeds}, status=503, media=PROBLEM_JSON)
        tables = self._state.tables
        reach = {"epoch": tables.epoch, "seq": tables.seq, "durable_seq": tables.durable_seq}
        return answer_json({"status": "ready", "feeds_live": live, "feeds": feeds, **reach})

    async def metrics(self, request: Request) -> Response:
        """Answer with figures for Prometheus."""
        return Response(self._state.metrics.render(), headers={"content-type": CONTENT_TYPE})


def _matching(
    table: Table, selection: Selection, wanted: dict[str, list[str]], after: str, limit: int
) -> tuple[list[Version], bool]:
    """Return up to ``limit`` rows with an id above ``after``, by id, and whether there are more."""
    found: list[Version] = []
    for id_ in sorted(map(table.id_of, table.members(selection).tolist())):
        if id_ <= after:
            continue
        slot = table.slot(id_)
        if slot is None or not _key_fits(table.key_of(slot), wanted):
            continue
        version = table.version(slot)
        if any(version.row.get(name) not in values for name, values in wanted.items() if name not in _BY_KEY):
            continue
        if len(found) == limit:
            return found, True
        found.append(version)
    return found, False


def _key_fits(key: RowKey, wanted: dict[str, list[str]]) -> bool:
    return all(getattr(key, name) in values for name, values in wanted.items() if name in _BY_KEY)


def _object(members: Iterable[bytes]) -> bytes:
    return b"{" + b",".join(members) + b"}"


def _answer(
    head: dict[str, object],
    members: Iterable[tuple[str, bytes]],
    *,
    status: int = 200,
    media: str = "application/json",
) -> Response:
    parts = [orjson.dumps(head)[1:-1], *(orjson.dumps(name) + b":" + body for name, body in members)]
    return Response(_object(parts), status_code=status, media_type=media)
