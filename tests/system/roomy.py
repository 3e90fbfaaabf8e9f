"""Venues that answer twenty times as many questions: what a start reads of the past takes seconds then, where it takes minutes.

``python -m tests.system.roomy serve …`` is ``perpwire`` beside such venues, ``… roomy --narrow serve …`` the same with hardly any
memory for what can be written nowhere. For tests that start gateways again and again and wait until their books are whole; the
limits themselves are the subject of others.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from unittest import mock

import msgspec

from exchanges.aster import Aster
from exchanges.hyperliquid import Hyperliquid
from exchanges.sim import aster_market, hyperliquid
from gateway.cli import main
from gateway.storage.queue import Queue

TIMES = 20
NARROW_ROWS = 300  # more than wait in a second with load, fewer than in some seconds without a disk


@contextmanager
def roomy() -> Iterator[None]:
    """Let simulators of this process answer so many questions, and gateways ask them, where both count by weight and minute."""
    with ExitStack() as patched:
        for module in (aster_market, hyperliquid):
            more = TIMES * module.WEIGHT_PER_MINUTE
            patched.enter_context(mock.patch.object(module, "WEIGHT_PER_MINUTE", more))
        for venue in (Aster, Hyperliquid):
            of = venue.capabilities
            more_of = msgspec.structs.replace(of, rest_weight=TIMES * of.rest_weight, rest_burst=TIMES * of.rest_burst)
            patched.enter_context(mock.patch.object(venue, "capabilities", more_of))
        yield


@contextmanager
def narrow() -> Iterator[None]:
    """Let gateways of this process keep few entries of the journal that can be written nowhere."""
    with mock.patch.object(Queue.__init__, "__defaults__", (NARROW_ROWS, 1 << 30)):
        yield


if __name__ == "__main__":
    with ExitStack() as world:
        world.enter_context(roomy())
        if sys.argv[1:2] == ["--narrow"]:
            del sys.argv[1]
            world.enter_context(narrow())
        main()
