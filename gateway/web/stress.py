"""REST of scenarios: what moves of the market, and changes that nobody made, would do."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from gateway.core.protocol import Refusal
from gateway.core.scenario import parse
from gateway.web.route import Operation, Query, answer_json, principal_of
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
        principal, body = principal_of(self._state, request), await request.body()
        most = self._state.limits.max_message_bytes
        if len(body) > most:
            raise Refusal("bad_scenario", f"the body has {len(body)} bytes; {most} are the most")
        known = set(self._state.accounts())
        allowed = known if principal.accounts is None else known & principal.accounts
        return answer_json(self._state.stress(parse(body), allowed))
