"""The state of an engine, in portions and back: nothing is lost, nothing foreign comes in."""

from __future__ import annotations

import base64
import pickle
import zlib
from pathlib import Path
from typing import Any

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
    with pytest.raises(msgspec.ValidationError, match="is no state"):
        take_over(engine(follows=True), forged(what))


IMAGE = "gateway.core.image"


class _Call:
    """Is encoded as a call of what has this name in a module, or of what another call gave."""

    def __init__(self, of: str | _Call, name: str | None, *given: object) -> None:
        self.of, self.name, self.given = of, name, given


def _encoded(what: object) -> bytes:
    if not isinstance(what, _Call):
        return pickle.dumps(what, 3)[2:-1]  # without the version and the end
    name = b"" if what.name is None else _encoded(what.name) + pickle.STACK_GLOBAL
    given = pickle.MARK + b"".join(map(_encoded, what.given)) + pickle.TUPLE
    return _encoded(what.of) + name + given + pickle.REDUCE


def forged(what: object) -> list[str]:
    """Return a state that is not one."""
    text = pickle.PROTO + b"\x04" + _encoded(what) + pickle.STOP
    return [base64.b64encode(zlib.compress(b"s" + text)).decode()]


@pytest.mark.parametrize(
    "what",
    [
        lambda path: _Call(IMAGE, "np.f2py.subprocess.check_call", ["touch", path]),
        lambda path: _Call(IMAGE, "np.f2py.subprocess.Popen", ["touch", path]),
        lambda path: _Call(IMAGE, "pickle.io.FileIO", path, "w"),
    ],
    ids=["function", "process", "file"],
)
def test_nothing_is_reached_through_what_a_module_of_the_core_holds(what: Any, tmp_path: Path) -> None:
    with pytest.raises(msgspec.ValidationError, match="is no state"):
        take_over(engine(follows=True), forged(what(str(tmp_path / "made"))))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["MethodType", "Any", "pickle", "Image", "_Unpickler", "_at", "Floats"])
def test_what_a_module_of_the_core_imports_or_the_reader_itself_is_no_state(name: str) -> None:
    with pytest.raises(msgspec.ValidationError, match="is no state"):
        take_over(engine(follows=True), forged(_Call(IMAGE, name)))


@pytest.mark.parametrize("place", ["/__init__/__globals__/__builtins__/exec", "/turn", "/market/instruments", "/sink"])
def test_a_place_is_that_of_a_part_and_leads_nowhere_else(place: str) -> None:
    with pytest.raises(msgspec.ValidationError, match=f"the engine's state: '{place}'"):
        take_over(engine(follows=True), forged(_Call(IMAGE, "_part", place)))


def test_a_place_runs_nothing(tmp_path: Path) -> None:
    place = _Call(IMAGE, "_part", "/__init__/__globals__/__builtins__/exec")
    with pytest.raises(msgspec.ValidationError, match="the engine's state"):
        take_over(engine(follows=True), forged(_Call(place, None, f"open({str(tmp_path / 'made')!r}, 'w')")))
    assert not list(tmp_path.iterdir())


FLOATS = _Call(IMAGE, "_array", bytes(64), "<f8", (8,))


@pytest.mark.parametrize(
    "what",
    [
        _Call(IMAGE, "_array", bytes(8), "O", (1,)),
        _Call(IMAGE, "_view", FLOATS, "O", (1,), (8,), 0),
        _Call(IMAGE, "_view", FLOATS, "i8,O", (1,), (16,), 0),
        _Call(IMAGE, "_view", FLOATS, "<f8", (9,), (8,), 0),
        _Call(IMAGE, "_view", FLOATS, "<f8", (2,), (-8,), 0),
        _Call(IMAGE, "_view", FLOATS, "<f8", (1,), (8,), -8),
        _Call(IMAGE, "_view", FLOATS, "<f8", (1,), (8,), 64),
        _Call(IMAGE, "_view", None, "<f8", (8,), (8,), 0),
    ],
    ids=["objects", "view of objects", "with objects in it", "longer", "backwards", "before", "behind", "of nothing"],
)
def test_columns_hold_figures_and_look_at_what_is_there(what: _Call) -> None:
    with pytest.raises(
        msgspec.ValidationError, match=r"is no kind of figures|strides is incompatible|a view of nothing"
    ):
        take_over(engine(follows=True), forged(what))


def test_what_only_another_version_knows_is_refused() -> None:
    with pytest.raises(msgspec.ValidationError, match="No module named"):
        take_over(engine(follows=True), forged(_Call("gateway.core.gone", "Gone")))


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
