"""The state of an engine, in portions and back: nothing is lost, nothing foreign comes in."""

from __future__ import annotations

import base64
import pickle
import zlib

import msgspec
import numpy as np
import pytest

from exchanges.events import Fill
from gateway.config import Config
from gateway.core.image import Image, parts, take_over
from gateway.engine import Engine
from tests.gateway.events_of import OKX, balance, fill, instrument, mark, position
from tests.gateway.life import whole


def engine(epoch: str = "one", *, follows: bool = False) -> Engine:
    return Engine(epoch, (OKX,), Config().engine, follows=follows)


def lived(fills: int = 3) -> Engine:
    """Return an engine with something of everything."""
    one = engine()
    one.turn([instrument(), balance(), position(fence=(1,), venue_at=1_000), mark("120", at=1_000)], 1_000)
    one.turn(
        [fill("buy", at=2_000 + n, id=f"f{n}", fee="-1", fee_ccy="USDT", realized_pnl="2") for n in range(fills)], 9_000
    )
    one.clock(10_000)
    return one


def copied(of: Engine) -> Image:
    """Return the state of an engine as it is now."""
    found = of.image()
    for _ in found.copy():
        pass
    return found


def state(of: Engine) -> list[str]:
    """Return it as text."""
    return [one() for one in copied(of).portions()]


def test_what_comes_after_it_changes_nothing_of_it() -> None:
    one = lived()
    image, before = copied(one), whole(one)
    one.turn(
        [position(fence=(2,), size="9", venue_at=11_000), mark("90", at=11_000), fill(at=11_000, id="late")], 11_000
    )
    other = engine(follows=True)
    other.take_over(portion() for portion in image.portions())
    assert whole(other, apart={"feeds", "alerts"}) == {name: rows for name, rows in before.items() if name != "alerts"}


def test_columns_that_look_at_one_block_do_so_afterwards() -> None:
    other = engine(follows=True)
    other.take_over(state(lived()))
    book = other.book
    assert np.shares_memory(book._live.upnl, book._block)
    assert np.shares_memory(book.equity, book._pools)
    assert other.accounts is other._standing._accounts
    assert next(iter(other.positions.values())).account is other.accounts["okx-main"]


def test_many_records_are_many_small_portions() -> None:
    found = state(lived(fills=2_000))
    assert len(found) > 10
    assert max(map(len, found)) < 140_000


@pytest.mark.parametrize("what", [print, Engine, msgspec.json.decode], ids=lambda what: what.__name__)
def test_what_is_no_state_is_not_made(what: object) -> None:
    forged = base64.b64encode(zlib.compress(b"s" + pickle.dumps(what))).decode()
    with pytest.raises(msgspec.ValidationError, match="is no state"):
        take_over(engine(follows=True), [forged])


def test_a_state_with_a_portion_missing_or_cut_is_refused() -> None:
    found = state(lived())
    for damaged in (found[1:], found[:-1], [found[0][:-404]], ["?"], []):
        with pytest.raises(msgspec.ValidationError):
            take_over(engine(follows=True), damaged)


def test_a_state_of_another_program_is_refused() -> None:
    one = lived()
    one.market.lag_ms, one.market.invented = {}, 1  # type: ignore[attr-defined]
    with pytest.raises(msgspec.ValidationError, match="Market holds something else now"):
        take_over(engine(follows=True), state(one))


def test_parts_are_what_every_engine_is_made_of() -> None:
    assert parts(engine()).keys() == parts(lived()).keys()


def test_a_record_keeps_its_digits() -> None:
    other = engine(follows=True)
    other.take_over(state(lived()))
    kept = other._reports.executions.table.get("f1")
    assert isinstance(kept, Fill)
    assert kept == lived()._reports.executions.table.get("f1")
