"""REST of readings of the past: begin one, see how all of them stand. For the command line of whoever runs the gateway."""

from __future__ import annotations

from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from gateway.core.backfills import BadWindow
from gateway.core.protocol import Refusal
from gateway.web.route import Operation, Query, answer_json, asked_of, operator_of
from gateway.web.state import BackfillRequest, ServerState

_MAY = "have the past of accounts read"


class BackfillRoutes:
    """The handlers of one server."""

    def __init__(self, state: ServerState) -> None:
        self._state = state
        self.operations = [
            Operation(
                "/internal/backfill",
                self.begin,
                "Read a stretch of an account's past from its venue; answers at once how that stands",
                schemas=("BackfillStatus",),
                method="POST",
                body="BackfillRequest",
            ),
            Operation("/internal/backfills", self.all, "How readings of the past stand", schemas=("BackfillStatuses",)),
        ]

    async def begin(self, request: Request) -> Response:
        """Begin a reading, or find it under way."""
        Query(request, ())
        operator_of(self._state, request, _MAY)
        asked = await asked_of(self._state, request, BackfillRequest, "reading of the past")
        try:
            return answer_json(_told(self._state.backfills.want(asked.account, asked.since, asked.until)))
        except KeyError:
            known = ", ".join(sorted(self._state.accounts())) or "none"
            raise Refusal("unknown_account", f"there is no account {asked.account}; there are: {known}") from None
        except BadWindow as bad:
            raise Refusal("bad_command", str(bad)) from None

    async def all(self, request: Request) -> Response:
        """Answer with all readings of this life."""
        Query(request, ())
        operator_of(self._state, request, _MAY)
        return answer_json({"backfills": [_told(status) for status in self._state.backfills.statuses()]})


def _told(status: Any) -> dict[str, object]:
    found: dict[str, object] = msgspec.to_builtins(status.backfill)
    return {name: value for name, value in found.items() if value is not None} | {
        "key": status.key,
        "state": status.state,
    }
