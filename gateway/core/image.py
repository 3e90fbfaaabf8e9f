"""The whole state of an engine as text in bounded portions, and back into another engine: a base in the middle of a life. Pure.

Owns what of an engine is state and what is its construction. Its *parts* are the objects that every new engine is made of: each
keeps its place, and what it holds is replaced. All else (accounts, positions, pools, records) is copied. What is kept in great
numbers and never changes, records above all, is copied as lists of references, in no time, and encoded in portions later; the rest
is encoded at once.

The form is Python's own (pickle), which keeps what is one object one object, and every bit of the columns. It is read with classes
that the pure core and the venues' events define, and a few of the library that only hold: none of them has to do with anything but
memory. So a text that somebody forged runs no code of its own and reaches no file, process or connection; what it can do is give an
engine wrong figures, take memory and time, and set attributes of those classes, which is why only what a gateway wrote belongs into
a journal. Another version of this program cannot read it, and says so.
"""

from __future__ import annotations

import base64
import copyreg
import pickle
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from types import BuiltinMethodType, FunctionType, MethodType
from typing import Any

import msgspec
import numpy as np

from gateway.core.arrays import Floats
from gateway.core.calibrating import Calibration
from gateway.core.chains import Chain, decode
from gateway.core.corrections import Corrections
from gateway.core.cycles import Cycles
from gateway.core.evidence import Memory
from gateway.core.executions import Executions
from gateway.core.market import Market
from gateway.core.newest import Newest
from gateway.core.orders import Orders
from gateway.core.realized import Day
from gateway.core.reconcile import Fences
from gateway.core.tables import Table
from gateway.core.timelines import Timeline

Portion = Callable[[], str]
_Many = dict[Any, Any] | list[Any]

_RECORDS = 300  # in one portion
_AT_ONCE = 50  # positions, say, that are encoded in one step
_BYTES = 100_000  # of what is encoded at once, in one portion
# What is kept in great numbers and never changes.
_MANY: Mapping[type, Sequence[str]] = {
    Newest: ("_records", "_order", "_seen"),
    Day: ("_lines", "_unknown"),
    Memory: ("_pieces", "_by_id"),
    Timeline: ("_items", "_cycles"),
    Fences: ("_open", "_closed"),
    Market: ("instruments", "tiers", "collateral"),
    Orders: ("open",),
    Cycles: ("_pasts",),
    Executions: ("_ends",),
    Corrections: ("records",),
    Calibration: ("_seen",),
    Table: ("_ids", "_keys", "_born", "_slots"),
}
# An engine that follows has these of its own: alerts, and which prices of currencies count, are told to it.
_OWN = frozenset({"alerts", "settings", "sink", "_follows", "_step"})
_TOLD = "alerts"  # the table of them
_UNREADABLE = (
    pickle.UnpicklingError,
    zlib.error,
    ArithmeticError,
    AttributeError,
    EOFError,
    ImportError,
    LookupError,
    TypeError,
    ValueError,
)
_FUNCTIONS = (FunctionType, MethodType, BuiltinMethodType)
_BACK = ("_part", "_records", "_array", "_view")  # methods of ``_Unpickler``
_OTHERS = frozenset({
    "builtins.frozenset", "builtins.list", "builtins.set", "builtins.slice", "collections.Counter", "collections.defaultdict",
    "collections.deque", "decimal.Decimal", "gateway.core.chains.decode", "msgspec._utils.rebuild",
})  # fmt: skip


class Image:
    """The state of an engine as it is while ``copy`` runs: the engine takes no turn until that is over.

    Args:
        like: A new engine: it says what the parts are.
    """

    def __init__(self, root: object, like: object) -> None:
        self._written = _Written()
        self._pickler = _Pickler(self._written, {place: _at(root, place) for place in parts(like)})

    def copy(self) -> Iterator[None]:
        """Copy it in steps of some milliseconds."""
        return self._pickler.write()

    def portions(self) -> list[Portion]:
        """Return what gives it, portion by portion: each to be called once, in this order, whenever."""
        whole = bytes(self._written)
        found: list[Portion] = [
            lambda at=at: _text(b"s", whole[at : at + _BYTES])  # type: ignore[misc]  # bound now
            for at in range(0, len(whole), _BYTES)
        ]
        packed = _packed(self._pickler.later)
        count = -(-sum(map(len, self._pickler.later)) // _RECORDS)
        return found + [lambda: _text(b"r", pickle.dumps(next(packed), 5))] * count


def take_over(root: object, texts: Iterable[str]) -> None:
    """Bring a new engine into the state that ``portions`` gave.

    Raises:
        msgspec.ValidationError: It is damaged, or of another version of this program.
    """
    whole, records, found = bytearray(), dict[int, list[Any]](), parts(root)
    try:
        for text in texts:
            portion = zlib.decompress(base64.b64decode(text))
            if portion[:1] == b"s":
                whole += portion[1:]
            else:
                for number, items in _Unpickler(portion[1:], found).load():
                    records.setdefault(number, []).extend(items)
        states = _Unpickler(bytes(whole), found, records).states()
        if states.keys() != found.keys():
            raise msgspec.ValidationError("the engine has other parts now")
        for place, state in states.items():
            part = found[place]
            if state.keys() != _held(part).keys():
                raise msgspec.ValidationError(f"{type(part).__name__} holds something else now")
            for name, value in state.items():
                setattr(part, name, value)
    except _UNREADABLE as error:
        raise msgspec.ValidationError(f"the engine's state: {error}") from error


def parts(new: object) -> dict[str, object]:
    """Return the parts of a new engine by their places."""
    found: dict[str, object] = {}
    known: set[int] = set()
    waiting: list[tuple[str, object]] = [("", new)]
    for place, part in waiting:
        if id(part) in known or (isinstance(part, Table) and part.name == _TOLD):
            continue
        known.add(id(part))
        found[place] = part
        for name, value in _attributes(part).items():
            if _is_part(value):
                waiting.append((f"{place}/{name}", value))
            elif _is_made(value) and isinstance(value, dict):
                waiting += [(f"{place}/{name}/{key}", one) for key, one in value.items() if _is_part(one)]
    return found


def _is_part(value: object) -> bool:
    return type(value).__module__.startswith("gateway.core.") and not isinstance(value, tuple | msgspec.Struct)


def _at(root: object, place: str) -> Any:
    found: Any = root
    for name in place.split("/")[1:]:
        found = found[name] if isinstance(found, dict) else getattr(found, name)
    return found


def _attributes(one: object) -> dict[str, Any]:
    found = dict(getattr(one, "__dict__", {}))
    for kind in type(one).__mro__:
        found |= {name: getattr(one, name) for name in getattr(kind, "__slots__", ()) if hasattr(one, name)}
    return {name: value for name, value in found.items() if name not in _OWN}


def _held(part: object) -> dict[str, Any]:
    """Return what a part holds but what it was made with: functions, and tables by their names."""
    return {name: value for name, value in _attributes(part).items() if not _is_made(value)}


def _is_made(value: object) -> bool:
    if type(value) is dict:
        value = next(iter(value.values()), None)
    return isinstance(value, (*_FUNCTIONS, Table))


def _packed(later: Iterable[_Many]) -> Iterator[list[tuple[int, list[Any]]]]:
    """Yield what each portion holds: some of one container after the other, with their numbers."""
    some, count = list[tuple[int, list[Any]]](), 0
    for number, many in enumerate(later):
        rest = iter(many.items() if isinstance(many, dict) else many)
        while slice_ := list(islice(rest, _RECORDS - count)):
            some.append((number, slice_))
            count += len(slice_)
            if count == _RECORDS:
                yield some
                some, count = [], 0
    if some:
        yield some


def _text(kind: bytes, portion: bytes) -> str:
    return base64.b64encode(zlib.compress(kind + portion, 1)).decode()


class _Later:
    """Stands for what is encoded later: a dict or list."""

    __slots__ = ("count", "kind", "number")

    def __init__(self, number: int, kind: str, count: int) -> None:
        self.number, self.kind, self.count = number, kind, count


def _part(place: str) -> object: ...
def _records(number: int, kind: str, count: int) -> object: ...
def _array(data: bytes, kind: str, shape: tuple[int, ...]) -> object: ...
def _view(of: Floats, kind: str, shape: tuple[int, ...], strides: tuple[int, ...], offset: int) -> object: ...


class _Written(bytearray):
    """What is encoded at once."""

    def write(self, data: bytes) -> None:
        """Take some more of it."""
        self += data


class _Pickler(pickle.Pickler):
    """Encodes all but what is many, of which ``later`` has copies, by number."""

    def __init__(self, written: _Written, found: Mapping[str, object]) -> None:
        """``found``: the parts by their places."""
        super().__init__(written, 5)
        self._parts = found
        self._places = {id(part): place for place, part in found.items()}
        self.later: list[_Many] = []
        self.dispatch_table = (
            dict.fromkeys(_MANY, self._kept)
            | dict.fromkeys(map(type, found.values()), self._kept)
            | {_Later: _back, np.ndarray: _reduced, Chain: lambda chain: (decode, (chain.encode(),))}
        )

    def write(self) -> Iterator[None]:
        """Encode what the parts hold: first, some at a time, what they hold much of, and then who holds what."""
        for place, part in self._parts.items():
            state = self._state(part, _held(part))
            for value in state.values():
                if type(value) is dict and len(value) > _AT_ONCE:
                    rest = iter(value.values())
                    while some := list(islice(rest, _AT_ONCE)):
                        self.dump(some)
                        yield
            self.dump({place: state})
            yield

    def _state(self, one: object, found: dict[str, Any]) -> dict[str, Any]:
        found |= {name: self._put_off(found[name]) for name in _MANY.get(type(one), ())}
        if isinstance(one, Table):  # rows can be read again, and nobody asks a replay what went away
            found |= {"_versions": [None] * len(one._versions), "_removals": type(one._removals)(), "_members": {}}
        return found

    def _put_off(self, value: Any) -> Any:
        if isinstance(value, dict) and isinstance(next(iter(value.values()), None), dict | list):
            return {key: self._put_off(of) for key, of in value.items()}
        self.later.append(value.copy())
        return _Later(len(self.later) - 1, type(value).__name__, len(value))

    def _kept(self, one: object) -> tuple[Any, ...]:
        """Return how a part is encoded, by its place, or an object that keeps many."""
        place = self._places.get(id(one))
        if place is not None:
            return _part, (place,)
        return copyreg.__newobj__, (type(one),), self._state(one, vars(one).copy())  # type: ignore[attr-defined]


def _back(later: _Later) -> tuple[Any, ...]:
    return _records, (later.number, later.kind, later.count)


def _reduced(array: np.ndarray[Any, Any]) -> tuple[Any, ...]:
    """Return how an array is encoded: a view of another one stays one."""
    of = array.base
    if not isinstance(of, np.ndarray) or not of.flags.c_contiguous or not array.size:
        return _array, (array.tobytes(), array.dtype.str, array.shape)
    offset = array.__array_interface__["data"][0] - of.__array_interface__["data"][0]
    return _view, (of, array.dtype.str, array.shape, array.strides, offset)


class _Reading:
    """Gives out what was encoded."""

    def __init__(self, data: bytes) -> None:
        self._data, self._at = data, 0

    @property
    def more(self) -> bool:
        """Say whether there is more to read."""
        return self._at < len(self._data)

    def read(self, size: int) -> bytes:
        """Return the next bytes."""
        self._at += size
        return self._data[self._at - size : self._at]

    def readline(self) -> bytes:
        """Return what there is up to the end of a line."""
        end = self._data.find(b"\n", self._at)
        return self.read((end + 1 or len(self._data)) - self._at)


class _Unpickler(pickle.Unpickler):
    """Decodes for an engine of these parts, by their places, with what was many (``records``)."""

    def __init__(
        self, data: bytes, found: Mapping[str, object], records: Mapping[int, list[Any]] | None = None
    ) -> None:
        self._reading = _Reading(data)
        super().__init__(self._reading)
        self._parts, self._many = found, records or {}

    def states(self) -> dict[str, dict[str, Any]]:
        """Return what ``_Pickler.write`` encoded: what the parts hold, by their places."""
        found = dict[str, dict[str, Any]]()
        while self._reading.more:
            one = self.load()
            if isinstance(one, dict):
                found |= one
        return found

    def find_class(self, module_name: str, global_name: str) -> Any:
        """Return a class, or what gives an object its place back. Raises UnpicklingError for anything else."""
        if module_name == __name__ and global_name in _BACK:
            return getattr(self, global_name)
        full_name = f"{module_name}.{global_name}"
        ours = module_name.startswith("gateway.core.") or module_name == "exchanges.events"
        if "." not in global_name and (full_name in _OTHERS or (ours and module_name != __name__)):
            found = super().find_class(module_name, global_name)
            if full_name in _OTHERS or (isinstance(found, type) and found.__module__ == module_name):
                return found
        raise pickle.UnpicklingError(f"{full_name} is no state")

    def _part(self, place: str) -> object:
        return self._parts[place]

    def _records(self, number: int, kind: str, count: int) -> object:
        found = self._many.get(number, ())
        if len(found) != count:
            raise pickle.UnpicklingError(f"{len(found)} records of {count} are there")
        return {"dict": dict, "list": list}[kind](found)

    def _array(self, data: bytes, kind: str, shape: tuple[int, ...]) -> object:
        return np.frombuffer(data, _figures(kind)).reshape(shape).copy()

    def _view(self, of: Floats, kind: str, shape: tuple[int, ...], strides: tuple[int, ...], offset: int) -> object:
        if not isinstance(of, np.ndarray):
            raise pickle.UnpicklingError("a view of nothing")
        return np.ndarray(shape, _figures(kind), of, offset, strides)


def _figures(kind: str) -> np.dtype[Any]:
    """Return the kind of a column. Raises UnpicklingError where it would hold objects: any bytes would be taken for addresses."""
    found = np.dtype(kind)
    if found.hasobject:
        raise pickle.UnpicklingError(f"{kind} is no kind of figures")
    return found
