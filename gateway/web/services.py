"""Views for internal services: what a user holds and held, and what a contract brings and brought."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from urllib.parse import unquote

import orjson
from starlette.requests import Request
from starlette.responses import Response

from gateway.core.access import Principal, resolve
from gateway.core.lookup import Asked, Span, parse_cursor
from gateway.core.protocol import Refusal
from gateway.web.history import FROM, PAGE, TO, accounts_of, limit_of, times, visible
from gateway.web.route import ACCOUNT, VENUE, Operation, Param, Query, principal_of
from gateway.web.state import ServerState

_OF_USER = (FROM, TO, *PAGE)
_OF_SYMBOL = (ACCOUNT, VENUE, FROM, TO, *PAGE)


class ServiceRoutes:
    """The handlers of one server."""

    def __init__(self, state: ServerState) -> None:
        self._state = state
        self.operations = [
            Operation(
                "/internal/positions/{user_id}",
                self.user,
                "What a user holds, and held",
                (Param("user_id", "string", "The user, as configured"), *_OF_USER),
                schemas=("UserPositions",),
                unready=True,
            ),
            Operation(
                "/profit/{inst_id}",
                self.profit,
                "What a contract brings now, and brought",
                (Param("inst_id", "string", "The venue's own symbol, percent-encoded"), *_OF_SYMBOL),
                schemas=("Profit",),
                unready=True,
            ),
        ]

    async def user(self, request: Request) -> Response:
        """Answer with a user's live rows and the cycles that ended."""
        query = Query(request, _OF_USER)
        principal, user = principal_of(self._state, request), request.path_params["user_id"]
        infos, seen = self._state.history.infos(), visible(self._state, principal)
        accounts = sorted(name for name, info in infos.items() if info.user == user and name in seen)
        if not accounts or principal.user not in (None, user):
            raise Refusal("not_found", f"there is no user {user!r} that you may see")
        page = await self._state.history.page(_asked(query, accounts, None))
        mine = Principal(principal.name, user, frozenset(accounts))
        live = [(table, self._live(table, mine, None)) for table in ("positions", "accounts", "summary")]
        return self._answer({"user": user}, live, page.rows, page.next_cursor)

    async def profit(self, request: Request) -> Response:
        """Answer with what a contract brings and brought."""
        query = Query(request, _OF_SYMBOL)
        principal, symbol = principal_of(self._state, request), unquote(request.path_params["inst_id"])
        if "\0" in symbol:
            raise Refusal("not_found", "no symbol has a NUL in it")
        accounts = accounts_of(self._state, query, principal)
        since, until = times(query)
        now = self._state.now_ms()
        page = await self._state.history.page(_asked(query, accounts, symbol))
        whole = Span("day", (since, max(since, min(until, now + 1))))
        realized = await self._state.history.pnl(whole, accounts, (symbol,), ())
        mine = principal if accounts is None else Principal(principal.name, principal.user, frozenset(accounts))
        rows = self._live("positions", mine, symbol)
        head = {"symbol": symbol, "unrealized": unrealized(map(orjson.loads, rows.values())), "realized": realized}
        return self._answer(head, [("positions", rows)], page.rows, page.next_cursor)

    def _live(self, table: str, principal: Principal, symbol: str | None) -> dict[str, bytes]:
        """Return the live rows of a table, encoded."""
        if table not in self._state.tables:
            return {}
        found, known = self._state.tables[table], self._state.accounts()
        named = sorted(principal.accounts & set(known)) if principal.accounts is not None else None
        if named == []:
            return {}
        chosen = resolve(
            self._state.tables, table, principal, known,
            accounts=named if "accounts" in found.filters else None,
            symbols=None if symbol is None else [symbol],
        )  # fmt: skip
        versions = [found.version(slot) for slot in found.members(chosen).tolist()]
        return {one.id: orjson.dumps(one.row) for one in versions}

    def _answer(
        self,
        head: Mapping[str, object],
        live: Sequence[tuple[str, Mapping[str, bytes]]],
        history: Sequence[tuple[str, str]],
        next_cursor: str,
    ) -> Response:
        tables = self._state.tables
        found: dict[str, object] = {"epoch": tables.epoch, "seq": tables.seq, "at": tables.at, **head}
        found |= {"next_cursor": next_cursor} if next_cursor else {}
        found |= {name: {row_id: orjson.Fragment(row) for row_id, row in rows.items()} for name, rows in live}
        found["history"] = [orjson.Fragment(record) for _, record in history]
        return Response(orjson.dumps(found), media_type="application/json")


def _asked(query: Query, accounts: Sequence[str] | None, symbol: str | None) -> Asked:
    since, until = times(query)
    cursor = query.text("cursor")
    return Asked(
        kind="history",
        accounts=None if accounts is None else tuple(accounts),
        symbols=None if symbol is None else (symbol,),
        since=since,
        until=until,
        limit=limit_of(query),
        cursor=parse_cursor("history", cursor) if cursor is not None else None,
    )


def unrealized(rows: Iterable[Mapping[str, object]]) -> list[dict[str, object]]:
    """Return the PnL of live positions by environment, execution and settlement currency, which never add up.

    ``unknown``: how many have none; they are in no sum.
    """
    groups: dict[tuple[object, ...], dict[str, object]] = {}
    for row in rows:
        head = {name: row.get(name) for name in ("env", "execution", "settle")}
        group = groups.setdefault(
            tuple(head.values()), {name: value for name, value in head.items() if value is not None}
        )
        group["positions"] = _plus(group.get("positions"), 1)
        if row.get("unrealized_pnl") is None:
            group["unknown"] = _plus(group.get("unknown"), 1)
            continue
        for name in ("unrealized_pnl", "unrealized_pnl_usd", "notional_usd"):
            if row.get(name) is not None:
                group[name] = _plus(group.get(name), row[name])
    return list(groups.values())


def _plus(one: object, other: object) -> object:
    return (one or 0) + other  # type: ignore[operator]  # both are numbers of JSON
