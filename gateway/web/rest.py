"""REST: the tables as JSON, whole or since a cursor; the gateway's own state; and the list of all routes.

Handlers read the tables between the writer's turns and join the rows' cached bytes. The list ``operations`` is also what the
API description is made of, so that no route can be without one.
"""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from gateway.core.access import Principal, resolve
from gateway.core.protocol import Refusal, gone_member, row_member, sub_of
from gateway.core.tables import Selection
from gateway.metrics import CONTENT_TYPE
from gateway.web.alerts import AlertRoutes
from gateway.web.backfills import BackfillRoutes
from gateway.web.history import HistoryRoutes
from gateway.web.live import LiveRoutes
from gateway.web.models import ModelRoutes
from gateway.web.problem import PROBLEM_JSON, problem
from gateway.web.route import (
    Operation,
    Param,
    Query,
    answer_json,
    answer_members,
    asked_of,
    join_members,
    operator_of,
    principal_of,
)
from gateway.web.services import ServiceRoutes
from gateway.web.state import ReconcileRequest, ServerState
from gateway.web.stress import StressRoutes

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
        self.live = LiveRoutes(state)
        self.operations: list[Operation] = [
            Operation(
                "/v1/snapshot",
                self.snapshot,
                "Tables, whole or since a cursor",
                _SNAPSHOT,
                schemas=("Snapshot", "SinceSnapshot"),
            ),
            *self.live.operations,
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
        return answer_members(head, members)

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
        return join_members(row_member(table.version(slot)) for slot in table.members(selection).tolist())

    def _changes(self, selection: Selection, since: int) -> bytes:
        table = self._state.tables[selection.table]
        changed = table.changed_since(selection, since).tolist()
        rows = join_members(row_member(table.version(slot)) for slot in changed)
        patch = join_members(map(gone_member, table.gone_since(selection, since)))
        return b'{"rows":%b,"patch":%b}' % (rows, patch)

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
