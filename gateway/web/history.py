"""REST of the past: records in pages or as files, what was realised and what accounts were worth by time, positions as they stood.

Who asks sees the records of his accounts alone; without a filter, whoever sees everything also those of accounts that are
configured no more.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import get_args
from urllib.parse import unquote

import orjson
from starlette.requests import Request
from starlette.responses import Response

from gateway.core.access import Principal
from gateway.core.lookup import (
    BUCKETS,
    DEFAULT_LIMIT,
    KINDS,
    LATEST,
    MAX_LIMIT,
    Asked,
    Bucket,
    Page,
    Span,
    parse_cursor,
    span,
)
from gateway.core.protocol import Refusal
from gateway.core.records import VerificationClass
from gateway.web.export import Export, form_of, whole
from gateway.web.route import ACCOUNT, SYMBOL, VENUE, Handler, Operation, Param, Query, answer_json, principal_of
from gateway.web.state import ServerState

STRATEGY = Param("strategy", "string", "Strategies of accounts (configuration), separated by commas")
FROM = Param("from", "integer", "From this moment on (milliseconds, UTC)")
TO = Param("to", "integer", "Before this moment (milliseconds, UTC)")
PAGE = (
    Param("limit", "integer", f"Rows in the answer, 1 to {MAX_LIMIT} (default {DEFAULT_LIMIT})"),
    Param("cursor", "string", "The next_cursor of the page before"),
)
_OF = (ACCOUNT, STRATEGY, VENUE)
_LEG = Param("side", "string", "long or short", ("long", "short"))
_CLASS = Param("class", "string", "The worst difference of the day", get_args(VerificationClass))
_BUCKET = Param("bucket", "string", "Width of the buckets, by UTC; weeks begin on Monday (default day)", BUCKETS)
_PNL_BY, _EQUITY_BY = ("account", "strategy", "venue", "symbol"), ("account", "strategy", "venue")

PNL_COLUMNS = (
    "at", "account", "strategy", "venue", "symbol", "env", "execution", "ccy", "realized_pnl", "fees", "funding",
    "liquidation_fee", "realized_net", "net_usd", "records", "unknown", "rates",
)  # fmt: skip
EQUITY_COLUMNS = (
    "at", "account", "strategy", "venue", "env", "execution", "equity_usd", "net_usd", "transfers_usd", "pnl_usd",
    "peak_usd", "drawdown", "as_of", "accounts", "carried", "equity",
)  # fmt: skip


class HistoryRoutes:
    """The handlers of one server."""

    def __init__(self, state: ServerState) -> None:
        self._state = state
        by = "What sums are apart by, separated by commas: "
        lists: dict[str, tuple[str, str, tuple[Param, ...]]] = {
            "/v1/positions/history": (
                "history",
                "Positions from open to close, the newest first",
                (*_OF, SYMBOL, _LEG),
            ),
            "/v1/pnl/records": ("pnl_records", "Realised PnL as the venues' own books have it", (*_OF, SYMBOL, _LEG)),
            "/v1/funding": ("funding", "Funding that was paid and received", (*_OF, SYMBOL)),
            "/v1/transfers": ("transfers", "Money that came or went without a trade", _OF),
            "/v1/verifications": (
                "verifications",
                "Our sums against the venues' books, by day",
                (*_OF, SYMBOL, _CLASS),
            ),
        }
        self.operations = [
            *(
                Operation(path, self._list(kind, (*params, FROM, TO, *PAGE)), summary, (*params, FROM, TO, *PAGE),
                          schemas=("History",), unready=True, exported=True)
                for path, (kind, summary, params) in lists.items()
            ),
            Operation(
                "/v1/pnl", self.pnl, "What was realised, by time and currency",
                (_BUCKET, Param("by", "string", by + ", ".join(_PNL_BY), _PNL_BY), *_OF, SYMBOL, FROM, TO),
                schemas=("Realized",), unready=True, exported=True,
            ),
            Operation(
                "/v1/equity", self.equity, "What accounts were worth over time, gross and net of transfers",
                (_BUCKET, Param("by", "string", by + ", ".join(_EQUITY_BY), _EQUITY_BY), *_OF, FROM, TO),
                schemas=("Worth",), unready=True, exported=True,
            ),
            Operation(
                "/v1/positions/at", self.positions_at, "Positions as they stood at a moment",
                (Param("at", "integer", "The moment (milliseconds, UTC; default now)"), *_OF, SYMBOL, _LEG),
                schemas=("Stood",), unready=True, exported=True,
            ),
            Operation(
                "/v1/positions/{id}/timeline", self.timeline, "What changed a position, and why, the newest first",
                (Param("id", "string", "The position's id, percent-encoded"), FROM, TO, *PAGE),
                schemas=("History",), unready=True,
            ),
            Operation(
                "/v1/journal/{place}", self.entry, "One entry of the journal, as it came",
                (Param("place", "string", "Its place: `journal` of a record"),), schemas=("JournalEntry",), unready=True,
            ),
        ]  # fmt: skip

    # --- records ---------------------------------------------------------------------------------------------------------

    def _list(self, kind: str, params: tuple[Param, ...]) -> Handler:
        async def handler(request: Request) -> Response:
            query = Query(request, params)
            asked = asked_of_records(self._state, kind, query, principal_of(self._state, request))
            exported = export_of(self._state, request, asked, query)
            return exported or listed(await self._state.history.page(asked))

        return handler

    async def timeline(self, request: Request) -> Response:
        """Answer with what changed a position."""
        query = Query(request, (FROM, TO, *PAGE))
        position = request.path_params["id"]
        account = unquote(position.partition(":")[0])
        refusal = Refusal("not_found", f"there is and was no position {position!r} that you may see")
        if account not in visible(self._state, principal_of(self._state, request)):
            raise refusal
        since, until = times(query)
        cursor = query.text("cursor")
        asked = Asked(
            kind="timeline", since=since, until=until, limit=limit_of(query),
            cursor=parse_cursor("timeline", cursor) if cursor is not None else None,
        )  # fmt: skip
        found = await self._state.history.timeline(account, position, asked)
        if found is None:
            raise refusal
        return listed(found)

    async def entry(self, request: Request) -> Response:
        """Answer with an entry of the journal; one that is of no account only to whoever sees everything."""
        Query(request, ())
        principal, place = principal_of(self._state, request), request.path_params["place"]
        number = int(place) if place.isascii() and place.isdigit() and len(place) < 20 else -1
        found = await self._state.history.entry(number) if 0 <= number < 2**63 else None
        whose = None if found is None else found.get("account")
        seen = principal.sees_everything or whose in visible(self._state, principal)
        if found is None or not seen:
            raise Refusal(
                "not_found", f"no entry {place[:30]!r} is kept that you may see; `journal` of a record names one"
            )
        places = {"id": str(found["id"])} | ({"causes": list(map(str, found["causes"]))} if "causes" in found else {})
        user = {"user": found.pop("user_name")} if "user_name" in found else {}
        return answer_json(found | user | places)

    # --- sums ------------------------------------------------------------------------------------------------------------

    async def pnl(self, request: Request) -> Response:
        """Answer with what was realised."""
        query = Query(request, (_BUCKET, Param("by", "string", "", _PNL_BY), *_OF, SYMBOL, FROM, TO))
        accounts = accounts_of(self._state, query, principal_of(self._state, request))
        asked, symbols = self._span(query), query.names("symbol")
        rows = await self._state.history.pnl(asked, accounts, symbols, _by(query))
        return self._answer(request, asked, rows, PNL_COLUMNS, "pnl")

    async def equity(self, request: Request) -> Response:
        """Answer with what accounts were worth."""
        query = Query(request, (_BUCKET, Param("by", "string", "", _EQUITY_BY), *_OF, FROM, TO))
        accounts = accounts_of(self._state, query, principal_of(self._state, request))
        asked = self._span(query)
        rows = await self._state.history.equity(asked, accounts, _by(query))
        return self._answer(request, asked, rows, EQUITY_COLUMNS, "equity")

    def _span(self, query: Query) -> Span:
        since, until = query.integer("from", 0, LATEST), query.integer("to", 0, LATEST)
        _in_order(since, until)
        names = query.names("bucket") or ["day"]
        found: dict[str, Bucket] = {one: one for one in get_args(Bucket)}
        if len(names) != 1:
            raise Refusal("bad_filter", "bucket is one of " + ", ".join(BUCKETS))
        return span(found[names[0]], since, until, self._state.now_ms())

    def _answer(
        self, request: Request, asked: Span, rows: list[dict[str, object]], columns: tuple[str, ...], name: str
    ) -> Response:
        form = form_of(request)
        if form != "json":
            return Export(form, columns, whole(rows), f"perpwire-{name}")
        return answer_json({"bucket": asked.bucket, "from": asked.since, "to": asked.until, "rows": rows})

    # --- as it was -------------------------------------------------------------------------------------------------------

    async def positions_at(self, request: Request) -> Response:
        """Answer with positions as they stood."""
        at_param = Param("at", "integer", "")
        query = Query(request, (at_param, *_OF, SYMBOL, _LEG))
        principal = principal_of(self._state, request)
        at = query.integer("at", 0, LATEST)
        at = self._state.now_ms() if at is None else at
        accounts = accounts_of(self._state, query, principal)
        names = visible(self._state, principal) if accounts is None else accounts
        rows = await self._state.history.positions_at([one for one in names if one in self._state.history.infos()], at)
        for field in ("symbol", "side"):
            if (values := query.names(field)) is not None:
                rows = {row_id: row for row_id, row in rows.items() if row.get(field) in values}
        form = form_of(request)
        if form != "json":
            columns = ("id", *dict.fromkeys(name for row in rows.values() for name in row))
            return Export(
                form, columns, whole({"id": row_id} | row for row_id, row in rows.items()), "perpwire-positions"
            )
        return answer_json({"at": at, "positions": rows})


# --- what lists share -----------------------------------------------------------------------------------------------------


def visible(state: ServerState, principal: Principal) -> set[str]:
    """Return the configured accounts that somebody may see."""
    known = set(state.accounts())
    return known if principal.accounts is None else known & principal.accounts


def accounts_of(state: ServerState, query: Query, principal: Principal) -> tuple[str, ...] | None:
    """Return the accounts that are asked for, of those that may be seen; None: all that there ever were.

    Raises:
        Refusal: unknown_account; bad_filter: no account has such a strategy.
    """
    seen, infos = visible(state, principal), state.history.infos()
    named = query.names("account")
    for account in named or ():
        if account not in seen:
            raise Refusal("unknown_account", f"there is no account {account!r} that you may see")
    chosen = sorted(seen if named is None else set(named))
    strategies, venues = (query.names(param.name) for param in (STRATEGY, VENUE))
    if named is None and strategies is None and venues is None and principal.accounts is None:
        return None
    known = {infos[one].strategy for one in seen if one in infos} - {None}
    for strategy in strategies or ():
        if strategy not in known:
            there = ", ".join(sorted(map(str, known))) or "none"
            raise Refusal("bad_filter", f"no account has the strategy {strategy!r}; there are: {there}")
    if strategies is not None:
        chosen = [one for one in chosen if one in infos and infos[one].strategy in strategies]
    if venues is not None:
        chosen = [one for one in chosen if one in infos and infos[one].venue in venues]
    return tuple(chosen)


def asked_of_records(state: ServerState, kind: str, query: Query, principal: Principal) -> Asked:
    """Return what a query asks of a list of records. Raises Refusal."""
    since, until = times(query)
    cursor = query.text("cursor")
    return Asked(
        kind=kind,
        accounts=accounts_of(state, query, principal),
        symbols=_texts(query.names("symbol")),
        sides=_texts(query.names("side")) if query.knows("side") else None,
        classes=_texts(query.names("class")) if query.knows("class") else None,
        since=since,
        until=until,
        limit=limit_of(query),
        cursor=parse_cursor(kind, cursor) if cursor is not None else None,
    )


def export_of(state: ServerState, request: Request, asked: Asked, query: Query) -> Response | None:
    """Return the records as a file where the request prefers one: all that fit, the oldest first."""
    form = form_of(request)
    if form == "json":
        return None
    if query.text("cursor") is not None or query.text("limit") is not None:
        raise Refusal("bad_filter", "a file has all records of its time: leave out `limit` and `cursor`")
    return Export(form, KINDS[asked.kind].columns, state.history.chunks(asked), f"perpwire-{asked.kind}")


def listed(page: Page) -> Response:
    """Answer with a page of records."""
    body = b'{"rows":[' + ",".join(record for _, record in page.rows).encode() + b"]"
    more = b',"next_cursor":' + orjson.dumps(page.next_cursor) if page.next_cursor else b""
    return Response(body + more + b"}", media_type="application/json")


def times(query: Query) -> tuple[int, int]:
    """Return from when on and before when. Raises Refusal."""
    since, until = query.integer("from", 0, LATEST), query.integer("to", 0, LATEST)
    _in_order(since, until)
    return since or 0, LATEST if until is None else until


def limit_of(query: Query) -> int:
    """Return how many records a page has at most. Raises Refusal."""
    return query.integer("limit", 1, MAX_LIMIT) or DEFAULT_LIMIT


def _in_order(since: int | None, until: int | None) -> None:
    if since is not None and until is not None and since > until:
        raise Refusal("bad_filter", f"`from` ({since}) is after `to` ({until}); exchange them")


def _by(query: Query) -> tuple[str, ...]:
    return tuple(dict.fromkeys(query.names("by") or ()))


def _texts(names: Iterable[str] | None) -> tuple[str, ...] | None:
    if names is None:
        return None
    found = tuple(dict.fromkeys(names))
    if any("\0" in one for one in found):
        raise Refusal("bad_filter", "a name has no NUL in it")
    return found
