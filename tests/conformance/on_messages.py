"""Cases that read what a venue said, as it was said and with something changed."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator
from decimal import Decimal, InvalidOperation
from typing import Any

import msgspec

from exchanges import VENUES
from exchanges.errors import VenueError
from exchanges.events import (
    BalanceState,
    CoinBalance,
    Event,
    Fill,
    FundingPayment,
    OpenOrders,
    Order,
    PositionsSnapshot,
    PositionState,
)
from exchanges.venue import Ask, Malformed, Notice, Refresh
from tests.conformance.book import Book
from tests.conformance.case import Material, messages
from tests.conformance.known import ENUMS, MAPS, SUMS, UNREADABLE
from tests.conformance.tape import Call, Told, moments, play, tell

HTML = "<html><head><title>500</title></head><body><center><h1>500</h1></center></body></html>"
NEW_WORD = "SomethingNew"
# Fields that hold words and ids, of which "" says that there is none (OKX: a block trade has no order).
WORDS = frozenset({"account", "scope", "id", "order_id", "what", "category", "status", "type"})
_NUMBER = re.compile(r"-?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?")


# --- Reading --------------------------------------------------------------------------------------------------------


@messages("Every message is read; what cannot be is listed with its reason")
def everything_is_read(material: Material) -> int:
    read = 0
    for tape in material.tapes:
        for _, told in play(tape):
            assert told.refused is None, f"{tape.name}: {told.refused}"
            flaws = [output.what for output in told.outputs if isinstance(output, Malformed)]
            excused = UNREADABLE.get(tape.name, "nothing") if material.source == "captured" else "nothing"
            assert all(re.search(excused, flaw) for flaw in flaws), f"{tape.name}: {flaws[:3]}"
            read += bool(told.outputs)
    return read


@messages("Fields that are not known are ignored")
def unknown_fields_are_ignored(material: Material) -> int:
    tried = 0
    for tape in material.tapes:
        for call, told, instead in moments(tape):
            if (found := _decoded(call)) is not None:
                grown = instead(call.saying(json.dumps(_grown(found, MAPS.get(material.venue, frozenset())))))
                assert grown.events == told.events, f"{tape.name}: {call.text[:200]}"
                assert [type(o) for o in grown.outputs] == [type(o) for o in told.outputs], (
                    f"{tape.name}: {call.text[:200]}"
                )
                tried += 1
    return tried


@messages("A frame that is cut, empty or of another shape is told, costs that one message, and never raises")
def a_broken_frame_costs_one_message(material: Material) -> int:
    tried = 0
    for tape in material.tapes:
        for call, _, instead in moments(tape):
            if call.name != "receive" or _decoded(call) is None:
                continue
            for text in (call.text[: len(call.text) // 2], "{", "[1]", "null", "\x00", HTML):
                told = instead(call.saying(text))
                assert not told.events, f"{tape.name}: {text[:80]!r} brought {told.events}"
                assert any(isinstance(o, Malformed | Notice | Refresh) for o in told.outputs), (
                    f"{tape.name}: {text[:80]!r} passed silently"
                )
            tried += 1
    return tried


@messages("A question that failed is never read as flat: error, empty, HTML, cut, another shape")
def a_failure_is_never_flat(material: Material) -> int:
    tried = 0
    venue = VENUES[material.venue]
    for tape in material.tapes:
        for call, _, instead in moments(tape):
            if call.name != "answer":
                continue
            found = _decoded(call)
            bodies = [
                "",
                HTML,
                call.text[: len(call.text) // 2],
                "null",
                "1",
                '"x"',
                '{"code":-1001,"msg":"Internal error"}',
            ]
            bodies += ["{}", '{"code":"50001","msg":"busy","data":[]}', '{"retCode":10016,"retMsg":"busy","result":{}}']
            bodies += ["[]", "[[]]"] if isinstance(found, dict) else []
            for body in bodies:
                if body == call.text:
                    continue
                told = _asked(venue, call.saying(body), instead)
                assert not [e for e in told.events if _closes(e)], (
                    f"{tape.name} {call.args[0].path}: {body[:60]!r} is flat"
                )
            tried += 1
    return tried


def _asked(venue: Any, call: Call, instead: Any) -> Told:
    try:
        venue.check(call.args[0], 200, {}, call.data)
    except VenueError as error:
        return Told(refused=error)
    told: Told = instead(call)
    return told


def _closes(event: Event) -> bool:
    match event:
        case PositionsSnapshot() | OpenOrders():
            return True
        case BalanceState():
            return event.full
        case PositionState():
            return not Decimal(event.size)
    return False


# --- Figures and words ----------------------------------------------------------------------------------------------


@messages("Figures are the venue's own digits: positions, fills, payments and balances")
def digits_are_the_venues(material: Material) -> int:
    checked = 0
    for tape in material.tapes:
        said = set(_NUMBER.findall(tape.before))
        for call, told in play(tape):
            said |= {number.lstrip("-") for number in _NUMBER.findall(call.text)}
            for what, figure in _figures(told.events):
                if (what, material.venue) in SUMS and SUMS[what, material.venue].search(call.text):
                    continue
                assert figure.lstrip("-") in said, f"{tape.name}: {what} {figure} was not sent: {call.text[:200]}"
                checked += 1
    return checked


def _figures(events: tuple[Event, ...]) -> Iterator[tuple[str, str]]:
    fields: dict[type, tuple[str, ...]] = {
        PositionState: ("size", "entry_price", "venue_unrealized_pnl", "venue_liquidation_price", "leverage"),
        Fill: ("size", "price", "fee"),
        FundingPayment: ("amount",),
        CoinBalance: ("total", "available"),
    }
    for record in _flat(events):
        for name in fields.get(type(record), ()):
            value = getattr(record, name)
            if value is not None:
                yield f"{type(record).__name__}.{name}", value


def _flat(events: tuple[Event, ...]) -> Iterator[Event]:
    for event in events:
        yield event
        match event:
            case PositionsSnapshot():
                yield from event.positions
            case OpenOrders():
                yield from event.orders
            case BalanceState():
                yield from event.coins


@messages('"" is unknown: it never becomes 0 and never stays ""')
def empty_is_unknown(material: Material) -> int:
    tried = 0
    for tape in material.tapes:
        for call, told, instead in moments(tape):
            if not any(_figures(told.events)):
                continue
            for path, changed in _each_figure(_decoded(call), ""):
                other = instead(call.saying(json.dumps(changed)))
                more = _zeros(other) - _zeros(told)
                assert not more, f"{tape.name}: {path} empty gave {more}"
                tried += 1
    return tried


def _zeros(told: Told) -> Counter[tuple[str, str]]:
    """Count the figures that are zero or empty, by field."""
    found: Counter[tuple[str, str]] = Counter()
    for record in _flat(told.events):
        for name in record.__struct_fields__:
            value = getattr(record, name)
            if name in WORDS or not isinstance(value, str):
                continue
            try:
                zero = not Decimal(value)
            except InvalidOperation:
                zero = not value
            if zero:
                found[f"{type(record).__name__}.{name}", value] += 1
    return found


@messages("A word that is not known is told or shown, never guessed and never silent")
def unknown_words_are_told(material: Material) -> int:
    tried = 0
    for tape in material.tapes:
        for call, told, instead in moments(tape):
            if not told.outputs:
                continue
            for path, changed in _each_word(_decoded(call), ENUMS[material.venue]):
                other = instead(call.saying(json.dumps(changed)))
                loud = other.refused or any(isinstance(o, Malformed | Notice | Ask | Refresh) for o in other.outputs)
                assert loud or other == told or NEW_WORD.lower() in repr(other).lower(), (
                    f"{tape.name}: {path} passed silently"
                )
                tried += 1
    return tried


@messages("No text for humans holds a secret")
def no_text_holds_a_secret(material: Material) -> int:
    read = 0
    for tape in material.tapes:
        for call, told, instead in moments(tape):
            secret_frame = call.text[:-1] + json.dumps(list(material.secrets))
            for one in (
                told,
                instead(call.saying(json.dumps({"op": list(material.secrets), "e": 1}))),
                instead(call.saying(secret_frame)),
            ):
                texts = [repr(o) for o in one.outputs if isinstance(o, Malformed | Notice | Refresh)] + [
                    str(one.refused)
                ]
                for secret in material.secrets:
                    assert not any(secret in text for text in texts), f"{tape.name}: a secret in {texts}"
            read += 1
    return read


# --- Order ----------------------------------------------------------------------------------------------------------


@messages("Frames that come twice change nothing")
def frames_twice_change_nothing(material: Material) -> int:
    compared = 0
    for tape in _mine(material):
        once, twice = Book(), Book()
        link, other = tape.make(), tape.make()
        for call in tape.calls:
            once.take(tell(link, call).events, _at(call))
            for _ in range(2 if call.name == "receive" else 1):
                twice.take(tell(other, call).events, _at(call))
        compared += _same(tape.name, once, twice)
    return compared


@messages("Frames that come once more after newer ones change nothing: the venue's order counts")
def older_after_newer_changes_nothing(material: Material) -> int:
    compared = 0
    for tape in _mine(material):
        book, link = Book(), tape.make()
        for call in tape.calls:
            book.take(tell(link, call).events, _at(call))
        before = _state(book)
        late = max((_at(call) for call in tape.calls if call.brought), default=0)
        for call in reversed([call for call in tape.calls if call.name == "receive"]):
            book.take(tell(link, call).events, late)
        assert _state(book) == before, f"{tape.name}: {_difference(before, _state(book))}"
        compared += any(before)
    return compared


@messages("Neighbouring frames in the other order come to the same")
def neighbours_swapped_come_to_the_same(material: Material) -> int:
    compared = 0
    for tape in _mine(material):
        once, swapped = Book(), Book()
        link, other = tape.make(), tape.make()
        for call in tape.calls:
            once.take(tell(link, call).events, _at(call))
        frames = list(tape.calls)
        at = 0
        while at + 1 < len(frames):
            if frames[at].name == frames[at + 1].name == "receive" and _swappable(frames[at], frames[at + 1]):
                frames[at], frames[at + 1] = frames[at + 1], frames[at]
                at += 1
            at += 1
        again = False
        for call in frames:
            told = tell(other, call)
            again = again or any(isinstance(output, Refresh) for output in told.outputs)
            swapped.take(told.events, _at(call))
        # Pages of a snapshot in another order are no snapshot: the link asks for another connection, which brings a new one.
        compared += again or _same(tape.name, once, swapped)
    return compared


def _swappable(*calls: Call) -> bool:
    """Say whether both are data: replies to what we said have an order of their own."""
    replies = ("event", "op", "success", "method", "result")
    return all(isinstance(f := _decoded(c), dict) and not any(key in f for key in replies) for c in calls)


def _mine(material: Material) -> Iterator[Any]:
    return (tape for tape in material.tapes if not tape.public and any(c.name == "receive" for c in tape.calls))


def _at(call: Call) -> int:
    return int(call.args[-1]) if call.brought else 0


def _state(book: Book) -> tuple[Any, ...]:
    held = {row.id: (row.side, row.size, row.entry_price) for row in book.positions.values()}
    # Which position a fill belongs to is said where it is known by then.
    fills = {id_: msgspec.structs.replace(fill, position=None) for id_, fill in book.fills.items()}
    payments = {id_: msgspec.structs.replace(paid, position=None) for id_, paid in book.payments.items()}
    return held, dict.fromkeys(book.orders), fills, payments, dict(book.transfers)


def _same(name: str, one: Book, other: Book) -> bool:
    assert _state(one) == _state(other), f"{name}: {_difference(_state(one), _state(other))}"
    return any(_state(one))


def _difference(one: tuple[Any, ...], other: tuple[Any, ...]) -> str:
    parts = zip(("positions", "orders", "fills", "payments", "transfers"), one, other, strict=True)
    return "; ".join(
        f"{what}: {set(a) ^ set(b) or [(k, a[k], b[k]) for k in a if a[k] != b[k]]}" for what, a, b in parts if a != b
    )


# --- Signs ----------------------------------------------------------------------------------------------------------


@messages("Who takes pays his fee; fees are effects on the balance")
def takers_pay(material: Material) -> int:
    seen = 0
    for tape in material.tapes:
        for _, told in play(tape):
            for event in told.events:
                if isinstance(event, Fill) and event.role == "taker" and event.fee is not None:
                    assert Decimal(event.fee) <= 0, f"{tape.name}: a taker is paid {event.fee}"
                    seen += 1
    return seen


@messages("Every id begins with its account: two accounts never mix")
def ids_name_the_account(material: Material) -> int:
    seen = 0
    for tape in material.tapes:
        for _, told in play(tape):
            for record in _flat(told.events):
                if isinstance(record, Fill | Order | PositionState):
                    assert record.id.startswith(f"{record.account}:"), record.id
                    seen += 1
    return seen


# --- Changing messages ----------------------------------------------------------------------------------------------


def _decoded(call: Call) -> Any:
    """Return the JSON of a message, None where it is none."""
    try:
        return msgspec.json.decode(call.data)
    except msgspec.DecodeError:
        return None


def _grown(found: Any, maps: frozenset[str], name: str = "") -> Any:
    """Add fields to every object; not to those whose fields are a list of what there is."""
    if isinstance(found, dict):
        more = {} if name in maps else {"zzNew": {"a": [1, "x"]}, "zzWord": "new"}
        return {**{key: _grown(value, maps, key) for key, value in found.items()}, **more}
    return [_grown(each, maps) for each in found] if isinstance(found, list) else found


def _places(found: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[tuple[Any, ...], Any]]:
    """Yield every place of a message, of lists the first two entries alone."""
    if isinstance(found, dict):
        for name, value in found.items():
            yield from _places(value, (*path, name))
    elif isinstance(found, list):
        for at, value in enumerate(found[:2]):
            yield from _places(value, (*path, at))
    else:
        yield path, found


def _with(found: Any, path: tuple[Any, ...], value: Any) -> Any:
    if not path:
        return value
    copied = dict(found) if isinstance(found, dict) else list(found)
    copied[path[0]] = _with(found[path[0]], path[1:], value)
    return copied


def _each_figure(found: Any, value: str) -> Iterator[tuple[tuple[Any, ...], Any]]:
    for path, was in _places(found):
        if isinstance(was, str) and _NUMBER.fullmatch(was):
            yield path, _with(found, path, value)


def _each_word(found: Any, keys: frozenset[str]) -> Iterator[tuple[tuple[Any, ...], Any]]:
    for path, was in _places(found):
        if isinstance(was, str) and was and path and path[-1] in keys and not _NUMBER.fullmatch(was):
            yield path, _with(found, path, NEW_WORD)
