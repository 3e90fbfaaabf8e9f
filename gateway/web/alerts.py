"""REST of alerts: take note of one, keep some quiet for a time, send one for a test. Their rows are a live table like others."""

from __future__ import annotations

import math

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from gateway.core.protocol import Refusal
from gateway.web.route import Operation, Param, Query, answer_json, asked_of, operator_of, row_of
from gateway.web.state import AlertTestRequest, ServerState, SilenceRequest

_LONGEST_MS = 366 * 86_400_000
_MAY = "silence and test alerts"


class AlertRoutes:
    """The handlers of one server."""

    def __init__(self, state: ServerState) -> None:
        self._state = state
        alert = Param("id", "string", "The alert's id, percent-encoded")
        silence = Param("id", "string", "The silence's id")
        self.operations = [
            Operation(
                "/v1/alerts/{id}/ack",
                self.acknowledge,
                "Take note of a firing alert: it is quiet until it resolves or becomes worse",
                (alert,),
                method="POST",
            ),
            Operation("/v1/alerts/silences", self.silences, "Silences that are not over", schemas=("Silences",)),
            Operation(
                "/v1/alerts/silences",
                self.silence,
                "Keep matching alerts quiet for a time; they go on being shown",
                schemas=("Silence",),
                method="POST",
                body="SilenceRequest",
            ),
            Operation(
                "/v1/alerts/silences/{id}",
                self.unsilence,
                "End a silence",
                (silence,),
                schemas=("Silence",),
                method="DELETE",
            ),
            Operation(
                "/internal/alerts/test",
                self.test,
                "Send a test of a rule to its channels, and answer what each of them said",
                schemas=("AlertTested",),
                method="POST",
                body="AlertTestRequest",
            ),
        ]

    async def acknowledge(self, request: Request) -> Response:
        """Take note of one alert."""
        Query(request, ())
        id_ = row_of(self._state, request, "alerts")
        try:
            await self._state.alerts.acknowledge(id_)
        except KeyError:
            raise Refusal("not_found", f"the alert {id_!r} does not fire; /v1/alerts?state=firing lists them") from None
        found = self._state.tables["alerts"].get(id_)
        return answer_json({"id": id_, **(found.row if found is not None else {})})

    async def silences(self, request: Request) -> Response:
        """Answer with the silences."""
        Query(request, ())
        operator_of(self._state, request, _MAY)
        return answer_json({"silences": msgspec.to_builtins(self._state.alerts.silences())})

    async def silence(self, request: Request) -> Response:
        """Begin a silence."""
        Query(request, ())
        principal = operator_of(self._state, request, _MAY)
        asked = await asked_of(self._state, request, SilenceRequest, "silence")
        until = self._until(asked)
        self._check(asked)
        return answer_json(msgspec.to_builtins(await self._state.alerts.silence(asked, until, principal.name)))

    async def unsilence(self, request: Request) -> Response:
        """End a silence."""
        Query(request, ())
        operator_of(self._state, request, _MAY)
        id_ = request.path_params["id"]
        try:
            return answer_json(msgspec.to_builtins(await self._state.alerts.unsilence(id_)))
        except KeyError:
            raise Refusal("not_found", f"there is no silence {id_!r}; /v1/alerts/silences lists them") from None

    async def test(self, request: Request) -> Response:
        """Send a test."""
        Query(request, ())
        operator_of(self._state, request, _MAY)
        asked = await asked_of(self._state, request, AlertTestRequest, "test")
        self._known_rules((asked.rule,))
        return answer_json({"rule": asked.rule, "channels": await self._state.alerts.test(asked.rule)})

    def _until(self, asked: SilenceRequest) -> int:
        now = self._state.now_ms()
        if (asked.until is None) == (asked.for_s is None):
            raise Refusal("bad_command", "a silence needs its end: either `until` (ms) or `for_s` (seconds)")
        until = asked.until if asked.until is not None else now + 1000 * (asked.for_s or 0.0)
        if not now < until <= now + _LONGEST_MS:
            raise Refusal("bad_command", f"the end of a silence must lie ahead, by a year at most; now is {now}")
        return math.ceil(until)

    def _check(self, asked: SilenceRequest) -> None:
        for name in ("rules", "accounts", "venues", "symbols"):
            if getattr(asked, name) == ():
                raise Refusal(
                    "bad_command", f"{name} is an empty list, which matches nothing; leave it out to match all"
                )
        self._known_rules(asked.rules or ())
        venues = self._state.alerts.venues()
        for venue in asked.venues or ():
            if venue not in venues:
                raise Refusal("bad_command", f"no account is at a venue {venue!r}; there are: {', '.join(venues)}")
        for account in asked.accounts or ():
            if account not in self._state.accounts():
                raise Refusal("unknown_account", f"there is no account {account!r}")

    def _known_rules(self, names: tuple[str, ...]) -> None:
        known = self._state.alerts.rules()
        for name in names:
            if name not in known:
                raise Refusal("bad_command", f"there is no rule {name!r}; there are: {', '.join(known)}")
