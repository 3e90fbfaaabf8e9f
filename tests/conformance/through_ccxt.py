"""The cases that ask and do not listen, through ccxt instead of a venue's own codec: the simulated OKX and Bybit by ccxt's ports.

Owns nothing but the exchange of who asks: what is done and what is looked at are the cases' own.
"""

from __future__ import annotations

import copy
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from exchanges import ports
from exchanges.generic import Generic
from exchanges.venue import AccountSpec
from tests.conformance.stage import Scene, stage

# An account of each whose positions are perpetuals alone, which is what the ports ask for.
PORTS = {"okx": "okx-isolated", "bybit": "bybit-isolated"}
# By case, the ports that it is carried out through. Bybit's has an order by its id among the newest 500 alone, and refuses to ask
# until that is acknowledged: not there and not asked would be one answer.
THROUGH: dict[str, tuple[str, ...]] = {
    "a_round_closes_what_is_absent": ("okx", "bybit"),
    "a_failed_question_is_an_error": ("okx", "bybit"),
    "wrong_credentials_are_told": ("okx", "bybit"),
    "orders_are_found_by_id": ("okx",),
    "history_is_complete": ("okx", "bybit"),
}


@asynccontextmanager
async def through_ccxt() -> AsyncIterator[Mapping[str, Scene]]:
    """Run the scenes, at the pace of the machine's clock: ccxt signs with it."""
    async with stage(1, tuple(PORTS)) as scenes:
        made = {name: _asking(scene, PORTS[name]) for name, scene in scenes.items()}
        try:
            yield made
        finally:
            for scene in made.values():
                for generic in scene.generics:
                    await generic.exchange.close()


class Through(Scene):
    """A scene whose questions go through ccxt."""

    generics: list[Generic]

    def asker(self, spec: AccountSpec) -> Generic:  # type: ignore[override]
        """Return ccxt's instance for an account."""
        exchange = ports.connect(spec, self.hosts)
        exchange.options["fetchMarkets"] = {"types": ["swap"] if spec.venue == "okx" else ["linear", "inverse"]}
        self.generics.append(Generic(spec, exchange, self.clock))
        return self.generics[-1]


def _asking(scene: Scene, account: str) -> Through:
    made = copy.copy(scene)
    made.__class__ = Through
    assert isinstance(made, Through)
    made.generics = []
    made.specs = {account: scene.specs[account]}
    made.askers = {account: made.asker(scene.specs[account])}  # type: ignore[dict-item]
    return made
