"""REST of the live tables: their rows, filtered and paged, as of now; and the same question asked again, answered at once.

Owns which questions are known and the pages that answer them. A page is made again only when one of the rows that it is chosen
from changes, however many ask for it and whatever changes elsewhere. Handlers read the tables between the writer's turns and join
the rows' cached bytes.
"""

from __future__ import annotations

from typing import NamedTuple, get_args

import orjson
from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Scope

from gateway.core.access import Principal, resolve
from gateway.core.alerts.rules import SEVERITIES
from gateway.core.lookup import DEFAULT_LIMIT, MAX_LIMIT
from gateway.core.protocol import Refusal, row_member
from gateway.core.records import CorrectionClass
from gateway.core.state import FEED_STATES
from gateway.core.tables import RowKey, Selection, Slots, Table, Version
from gateway.web.export import form_of
from gateway.web.history import FROM, PAGE, TO, asked_of_records, export_of
from gateway.web.problem import PROBLEM_JSON, problem
from gateway.web.route import (
    ACCOUNT,
    SYMBOL,
    VENUE,
    Handler,
    Operation,
    Param,
    Query,
    answer_members,
    join_members,
    principal_of,
    with_members,
)
from gateway.web.state import ServerState, Verification

_MAX_AGE = Param("max_age_ms", "integer", "Ask the venue first where it was asked longer ago than this (milliseconds)")
_CLASSES: tuple[str, ...] = get_args(CorrectionClass)
_LONGEST_AGE_MS = 86_400_000
# Pages and questions that are kept: many clients ask for the same, again and again.
_MOST_PAGES, _MOST_BYTES, _MOST_QUESTIONS, _LONGEST_KEPT = 256, 16 << 20, 1_024, 2_048

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


class Question(NamedTuple):
    """What is asked of a live table, checked: ``wanted`` by filter, ``after`` this id ("": from the first)."""

    table: str
    accounts: tuple[str, ...] | None
    wanted: tuple[tuple[str, tuple[str, ...]], ...]
    after: str
    limit: int


class Page:
    """Rows that answer a question; ``next_cursor``: the id to go on after ("": there are no more)."""

    __slots__ = ("_chosen", "_seq", "next_cursor", "rows")

    def __init__(self, rows: bytes, next_cursor: str, chosen: Slots, seq: int) -> None:
        """``chosen``: all slots that the rows were chosen from, as of the change set ``seq``."""
        self.rows, self.next_cursor = rows, next_cursor
        self._chosen, self._seq = chosen, seq

    def stands(self, table: Table) -> bool:
        """Say whether it would be the same now."""
        if table.changed_seq > self._seq:
            if table.structure_seq > self._seq or (table.seqs[self._chosen] > self._seq).any():
                return False
            self._seq = table.published
        return True


class LiveRoutes:
    """The handlers of one server."""

    def __init__(self, state: ServerState) -> None:
        self._state = state
        self._pages: dict[tuple[Selection, Question], Page] = {}
        self._bytes = 0
        self._questions: dict[tuple[str, bytes], Question] = {}  # by path and query: those that the tables alone answer
        self.operations = [
            Operation(
                f"/v1/{table}",
                self._handler(table),
                f"Rows of {table}",
                LIVE[table] + PAGE,
                schemas=(f"{table}Page",),
                unready=_MAX_AGE in LIVE[table] or FROM in LIVE[table],
                exported=FROM in LIVE[table],
            )
            for table in LIVE
            if table in state.tables
        ]

    def _handler(self, table: str) -> Handler:
        async def handler(request: Request) -> Response:
            return await self._answer(request, self._state.tables[table])

        return handler

    async def _answer(self, request: Request, table: Table) -> Response:
        query = Query(request, LIVE[table.name] + PAGE)
        principal = principal_of(self._state, request)
        if query.knows("from") and (query.text("from") or query.text("to") or form_of(request) != "json"):
            return await self._stored(request, table, query, principal)
        question = _question(table, query)
        selection = self._selection(question, principal)
        max_age_ms = query.integer("max_age_ms", 0, _LONGEST_AGE_MS)
        if max_age_ms is not None:
            return await self._verified(table, selection, question, max_age_ms)
        asked: bytes = request.scope["query_string"]
        if not query.knows("from") and len(asked) <= _LONGEST_KEPT:  # where it does the next one may want another form
            if len(self._questions) >= _MOST_QUESTIONS:
                self._questions.clear()
            self._questions[request.scope["path"], asked] = question
        return Response(self._body(selection, question), media_type="application/json")

    def again(self, scope: Scope) -> bytes | None:
        """Return the body that a handler here would answer with to what was asked before; None where it has to be asked."""
        question = self._questions.get((scope["path"], scope["query_string"]))
        if question is None or scope["method"] != "GET":
            return None
        principal = self._state.principal(Headers(scope=scope))
        if principal is None:
            return None
        try:
            return self._body(self._selection(question, principal), question)
        except Refusal:
            return None

    def _selection(self, question: Question, principal: Principal) -> Selection:
        state = self._state
        return resolve(state.tables, question.table, principal, state.accounts(), accounts=question.accounts)

    def _body(self, selection: Selection, question: Question) -> bytes:
        page = self._page(selection, question)
        return with_members(self._head(page), [(question.table, page.rows)])

    def _head(self, page: Page) -> dict[str, object]:
        tables = self._state.tables
        head: dict[str, object] = {"epoch": tables.epoch, "seq": tables.seq, "at": tables.at}
        return head | ({"next_cursor": page.next_cursor} if page.next_cursor else {})

    def _page(self, selection: Selection, question: Question) -> Page:
        table, key = self._state.tables[question.table], (selection, question)
        page = self._pages.get(key)
        if page is not None and page.stands(table):
            return page
        if page is not None:
            self._forget(key)
        rows, more = _matching(table, selection, dict(question.wanted), question.after, question.limit)
        seq = self._state.tables.seq
        made = Page(join_members(map(row_member, rows)), rows[-1].id if more else "", table.members(selection), seq)
        while self._pages and (self._bytes + len(made.rows) > _MOST_BYTES or len(self._pages) >= _MOST_PAGES):
            self._forget(next(iter(self._pages)))
        self._pages[key] = made
        self._bytes += len(made.rows)
        return made

    def _forget(self, key: tuple[Selection, Question]) -> None:
        self._bytes -= len(self._pages.pop(key).rows)

    async def _verified(self, table: Table, selection: Selection, question: Question, max_age_ms: int) -> Response:
        """Answer once the venues were asked, with when that was; where one could not be, with what was known then."""
        asked = self._state.accounts() if selection.accounts is None else selection.accounts
        wanted = {name: list(values) for name, values in question.wanted}
        found = await self._state.verify(asked, max_age_ms, wanted.get("venue"))
        page = self._page(selection, question)
        head = self._head(page) | {"verified_at": found.verified_at}
        body = [(table.name, page.rows)]
        if not found.failed:
            return answer_members(head | self._flat(table, selection, wanted), body)
        # Nothing is known of what the venue could not be asked for: least of all that it is flat.
        return _unverified(found, head, body)

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
        rows = join_members(orjson.dumps(i) + b":" + row.encode() for i, row in page.rows)
        return answer_members(head, [(table.name, rows)])

    def _flat(self, table: Table, selection: Selection, wanted: dict[str, list[str]]) -> dict[str, object]:
        """Return which of the symbols asked for nobody holds, on either side, and which no venue lists: of those it is not said."""
        if table.name != "positions" or "symbol" not in wanted:
            return {}
        of = {name: tuple(values) for name, values in wanted.items() if name in _BY_KEY}
        held = {row.row.get("symbol") for row in _matching(table, selection, of, "", MAX_LIMIT)[0]}
        listed = {one["symbol"] for one in self._state.instruments()}
        absent = [symbol for symbol in wanted["symbol"] if symbol not in held]
        unknown = [symbol for symbol in absent if symbol not in listed]
        found: dict[str, object] = {"flat": [symbol for symbol in absent if symbol in listed]}
        return found | ({"unknown_symbols": unknown} if unknown else {})


def _question(table: Table, query: Query) -> Question:
    """Return what a query asks. Raises Refusal."""
    named = query.names("account") if "accounts" in table.filters else None
    limit = query.integer("limit", 1, MAX_LIMIT) or DEFAULT_LIMIT
    fields = [param.name for param in LIVE[table.name] if param not in (_MAX_AGE, FROM, TO)]
    wanted = tuple((name, tuple(values)) for name in fields if (values := query.names(name)) is not None)
    return Question(table.name, None if named is None else tuple(named), wanted, query.text("cursor") or "", limit)


def _unverified(found: Verification, head: dict[str, object], body: list[tuple[str, bytes]]) -> Response:
    why = "; ".join(f"{account}: {reason}" for account, reason in sorted(found.failed.items()))
    refusal = Refusal("venue_unreachable", f"{why}. What follows is what was known at verified_at")
    return answer_members({**problem(refusal), **head}, body, status=503, media=PROBLEM_JSON)


def _matching(
    table: Table, selection: Selection, wanted: dict[str, tuple[str, ...]], after: str, limit: int
) -> tuple[list[Version], bool]:
    """Return up to ``limit`` rows with an id above ``after``, by id, and whether there are more."""
    of_key = [(name, values) for name, values in wanted.items() if name in _BY_KEY]
    of_row = [(name, values) for name, values in wanted.items() if name not in _BY_KEY]
    found: list[Version] = []
    for id_, slot in sorted((table.id_of(slot), slot) for slot in table.members(selection).tolist()):
        if id_ <= after or (of_key and not _key_fits(table.key_of(slot), of_key)):
            continue
        version = table.version(slot)
        if of_row and any(version.row.get(name) not in values for name, values in of_row):
            continue
        if len(found) == limit:
            return found, True
        found.append(version)
    return found, False


def _key_fits(key: RowKey, wanted: list[tuple[str, tuple[str, ...]]]) -> bool:
    return all(getattr(key, name) in values for name, values in wanted)
