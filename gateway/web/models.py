"""REST of margin models: how they agree with the venues, how one figure came about, and pairs to judge models by."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from gateway.core.access import resolve
from gateway.core.protocol import Refusal
from gateway.web.route import Operation, Param, Query, answer_json, principal_of
from gateway.web.state import ServerState


class ModelRoutes:
    """The handlers of one server."""

    def __init__(self, state: ServerState) -> None:
        self._state = state
        position = Param("id", "string", "The position's id, percent-encoded")
        account = Param("id", "string", "The account's name")
        self.operations = [
            Operation(
                "/v1/models",
                self.models,
                "Margin models with their residuals against the venues since the start",
                schemas=("Models",),
            ),
            Operation(
                "/v1/positions/{id}/explain",
                self.position,
                "How a position's figures came about, what was read, and how far they are from the venue's",
                (position,),
            ),
            Operation(
                "/v1/accounts/{id}/explain",
                self.account,
                "How an account's equity and pools came about, and how far they are from the venue's",
                (account,),
            ),
            Operation(
                "/internal/models/pairs",
                self.pairs,
                "What models read and what the venues said of the same moment, without accounts, ids and secrets",
                schemas=("Pairs",),
            ),
        ]

    async def models(self, request: Request) -> Response:
        """Answer with every model."""
        Query(request, ())
        principal_of(self._state, request)
        return answer_json(self._state.models.models())

    async def position(self, request: Request) -> Response:
        """Explain one position."""
        return answer_json(self._state.models.explain_position(self._row(request, "positions")))

    async def account(self, request: Request) -> Response:
        """Explain one account."""
        return answer_json(self._state.models.explain_account(self._row(request, "accounts")))

    async def pairs(self, request: Request) -> Response:
        """Answer with a pair of every pool that was compared."""
        Query(request, ())
        if not principal_of(self._state, request).sees_everything:
            raise Refusal("unauthorized", "only who may see every account may hand on what they hold")
        return answer_json({"pairs": self._state.models.pairs()})

    def _row(self, request: Request, table: str) -> str:
        """Return the id in the path, if its row is there and may be seen."""
        Query(request, ())
        tables, id_ = self._state.tables, str(request.path_params["id"])
        selection = resolve(tables, table, principal_of(self._state, request), self._state.accounts())
        if not tables[table].holds(id_, selection):
            raise Refusal("not_found", f"there is no row {id_!r} that you may see; /v1/{table} lists them")
        return id_
