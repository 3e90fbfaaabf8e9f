"""REST of scenarios: what moves of the market, and changes that nobody made, would do."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from gateway.core.scenario import parse
from gateway.web.route import Operation, Query, answer_json, body_of, principal_of
from gateway.web.state import ServerState


class StressRoutes:
    """The handlers of one server."""

    def __init__(self, state: ServerState) -> None:
        self._state = state
        self.operations = [
            Operation(
                "/v1/stress",
                self.stress,
                "What moves of the market, and changes that nobody made, would do; which size would still be safe",
                schemas=("Stressed",),
                method="POST",
                body="Scenario",
            )
        ]

    async def stress(self, request: Request) -> Response:
        """Answer with the figures before and after."""
        Query(request, ())
        principal = principal_of(self._state, request)
        body = await body_of(self._state, request, "bad_scenario")
        known = set(self._state.accounts())
        allowed = known if principal.accounts is None else known & principal.accounts
        return answer_json(await self._state.stress(parse(body), allowed))
