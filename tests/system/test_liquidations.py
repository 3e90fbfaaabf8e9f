"""A dozen liquidations, with the venues' fields sent, blanked and 2 % wrong; `make liquidations` plays two hundred."""

from __future__ import annotations

import json
from decimal import Decimal
from functools import partial
from pathlib import Path

from tests.system.conftest import fresh_database
from tests.system.episodes import KINDS, script
from tests.system.liquidations import liquidations
from tests.system.spent import pool_of

COUNT = 12


async def test_liquidations_are_shown_and_told_before_they_come_and_a_wrong_price_is_never_believed(
    cluster: str, folder: Path
) -> None:
    verdicts = await liquidations(1, COUNT, partial(fresh_database, cluster), folder)
    print(json.dumps({fields: verdict.summary() for fields, verdict in verdicts.items()}))
    for fields in ("sent", "blank"):
        assert verdicts[fields].misses == []
        assert verdicts[fields].not_told == []
        assert verdicts[fields].liquidations == COUNT
        assert verdicts[fields].rows > COUNT
        assert verdicts[fields].in_motion.liquidations > 0
    wrong = verdicts["wrong"]
    assert wrong.calibrated == []
    assert wrong.flagged >= 0.95 * wrong.stated > 0, wrong.unflagged


def test_a_script_ends_every_kind_on_every_venue_and_its_truth_is_full_revaluation() -> None:
    plot = script(1)
    ended = {(end.venue, plot.kinds[end.account]) for end in plot.ends}
    assert ended == KINDS.keys()
    assert plot == script(1), "the same seed is the same script"
    world = plot.world()
    first = plot.ends[0]
    for moves in plot.path[: first.tick + 1]:
        assert not world.due(), "nobody ends before the first end"
        world.move(moves)
    assert [(account.name, pool.name) for account, pool in world.due()][:1] == [(first.account, first.pool)]
    held = first.held[0]
    assert held.before is not None
    assert held.after is not None
    assert held.after <= 0 < held.before
    # The true distance is where the pool is spent if its underlying alone moves.
    account = world.account(first.account)
    base = world.contract(first.venue, held.position.symbol).base
    near = min(
        abs(
            (pool := pool_of(world.scaled({base: 1 + sign * held.after}), account, held.position)).equity
            - pool.requirement
        )
        for sign in (Decimal(1), Decimal(-1))
    )
    assert near < Decimal("1e-6") * first.requirement
