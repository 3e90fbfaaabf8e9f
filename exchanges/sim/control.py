"""The simulator's control port: the truth, standing still, and faults, on demand or by a plan made beforehand.

Owns what was ordered and when. Routes: ``GET /truth`` (``?since=n``: the changes after that number; ``?books=1``: with all fills
and what they brought, see ``books``), ``POST /pause``, ``POST /resume``, ``POST /faults``, ``GET /faults`` (what was carried
out). What is asked wrongly is answered with RFC 9457 problem JSON that names what is known. What faults there are is in
``disturb`` and ``acts``.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Any

from aiohttp import web

from exchanges.sim import acts, books, disturb
from exchanges.sim.front import Clock, Front
from exchanges.sim.plan import PlannedFault, check
from exchanges.sim.wanted import BadRequest
from exchanges.sim.world import Impossible, UnknownName, World

# Faults that were carried out, kept for ``GET /faults``.
DONE_KEPT = 10_000


class Control:
    """The routes of the control port over the world and its fronts."""

    def __init__(self, world: World, fronts: Iterable[Front], clock: Clock) -> None:
        self._world = world
        self._clock = clock
        self._disturbances = disturb.Disturbances(world, {front.name: front for front in fronts}, clock)
        self._acts = acts.Acts(world, self._disturbances)
        self._planned: deque[tuple[float, Mapping[str, Any]]] = deque()
        self._done: deque[dict[str, Any]] = deque(maxlen=DONE_KEPT)

    def routes(self) -> Iterable[web.RouteDef]:
        """Return the control port's routes."""
        yield web.get("/truth", self._get_truth)
        yield web.post("/pause", self._post_pause)
        yield web.post("/resume", self._post_resume)
        yield web.post("/faults", self._post_faults)
        yield web.get("/faults", self._get_faults)

    def tick(self, now_ms: int) -> None:
        """Carry out what is planned for now, and end the faults whose time is over."""
        while self._planned and now_ms >= self._planned[0][0]:
            # What the plan names may have gone meanwhile: ``done`` has it.
            with suppress(BadRequest, UnknownName, Impossible):
                self.fault(self._planned.popleft()[1])
        self._disturbances.tick(now_ms)

    def schedule(self, plan: Iterable[PlannedFault]) -> None:
        """Carry out a plan, its times counted from now, instead of what is left of an earlier one."""
        now = self._clock()
        self._planned = deque(sorted(((now + 1000 * p.at_s, p.wanted) for p in plan), key=lambda entry: entry[0]))

    @property
    def done(self) -> list[dict[str, Any]]:
        """What was ordered so far, oldest first: ``{"at", "wanted", "affected" | "refused"}``."""
        return list(self._done)

    def truth(self, since: int | None = None) -> dict[str, Any]:
        """Return the world as it really is now."""
        return self._world.truth(since)

    def pause(self) -> None:
        """Let the world stand still; pushes that are due still go out."""
        self._world.step(self._clock())
        self._world.pause()

    def resume(self) -> None:
        """Let the world go on, and every stalled connection speak again."""
        self._world.step(self._clock())
        self._world.resume()
        self._disturbances.unstall()

    def fault(self, wanted: Mapping[str, Any]) -> dict[str, Any]:
        """Carry out one fault and return ``{"kind", "affected": […]}``.

        Raises:
            BadRequest | UnknownName | Impossible: With a message that names what is known.
        """
        done: dict[str, Any] = {"at": self._clock(), "wanted": dict(wanted)}
        self._done.append(done)
        try:
            done["affected"] = self._carry_out(wanted)
        except (BadRequest, UnknownName, Impossible) as error:
            done["refused"] = str(error)
            raise
        return {"kind": str(wanted["kind"]), "affected": done["affected"]}

    def _carry_out(self, wanted: Mapping[str, Any]) -> list[Any]:
        check(wanted)
        self._world.step(self._clock())
        kind = wanted["kind"]
        if kind in acts.KINDS:
            return self._acts.run(acts.KINDS[kind], wanted)
        return disturb.KINDS[kind].act(self._disturbances, wanted)

    # --- HTTP ------------------------------------------------------------------------------------------------------

    async def _get_truth(self, request: web.Request) -> web.Response:
        try:
            since = int(request.query["since"]) if "since" in request.query else None
        except ValueError:
            return _problem(f"since is {request.query['since']!r}: it is the number n of a change")
        told = books.books(self._world) if request.query.get("books") == "1" else {}
        return web.json_response({**self.truth(since), **told})

    async def _get_faults(self, request: web.Request) -> web.Response:
        return web.json_response(self.done)

    async def _post_pause(self, request: web.Request) -> web.Response:
        self.pause()
        return web.json_response({"paused": True})

    async def _post_resume(self, request: web.Request) -> web.Response:
        self.resume()
        return web.json_response({"paused": False})

    async def _post_faults(self, request: web.Request) -> web.Response:
        try:
            wanted = json.loads(await request.text())
            if not isinstance(wanted, dict):
                raise BadRequest(f"a fault is a JSON object such as {{'kind': 'drop'}}, not {wanted!r}")
            return web.json_response(self.fault(wanted))
        except json.JSONDecodeError as error:
            return _problem(f"the body is not JSON: {error}")
        except (BadRequest, UnknownName, Impossible) as error:
            return _problem(str(error))


def _problem(detail: str) -> web.Response:
    body = {"type": "about:blank", "title": "Bad Request", "status": 400, "detail": detail}
    return web.json_response(body, status=400, content_type="application/problem+json")
