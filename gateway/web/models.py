"""REST of margin models: how they agree with the venues, how one figure came about, and pairs to judge models by."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from gateway.web.route import Operation, Param, Query, answer_json, operator_of, principal_of, row_of
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
        Query(request, ())
        return answer_json(self._state.models.explain_position(row_of(self._state, request, "positions")))

    async def account(self, request: Request) -> Response:
        """Explain one account."""
        Query(request, ())
        return answer_json(self._state.models.explain_account(row_of(self._state, request, "accounts")))

    async def pairs(self, request: Request) -> Response:
        """Answer with a pair of every pool that was compared."""
        Query(request, ())
        operator_of(self._state, request, "hand on what they hold")
        return answer_json({"pairs": self._state.models.pairs()})
