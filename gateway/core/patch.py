"""JSON Merge Patch (RFC 7396): what changed between two rows, and how a replica applies it. Pure."""

from __future__ import annotations

from typing import cast

Row = dict[str, object]


class Inexpressible(Exception):
    """The change cannot be said as a merge patch (a null value is wanted): send the whole row instead."""


def diff(old: Row, new: Row) -> dict[str, object] | None:
    """Return the merge patch that turns ``old`` into ``new``; ``{}`` where they are equal.

    Returns None where no patch can: in a patch ``null`` removes, so a value that *is* null cannot be set (RFC 7396,
    section 1). Null inside an array is no obstacle, since arrays are replaced as a whole.
    """
    try:
        return _diff(old, new)
    except Inexpressible:
        return None


def _diff(old: Row, new: Row) -> dict[str, object]:
    patch: dict[str, object] = {}
    for field, value in new.items():
        before = old.get(field)
        if value is None:
            if before is not None or field not in old:
                raise Inexpressible
        elif isinstance(value, dict) and isinstance(before, dict):
            inner = _diff(before, value)
            if inner:
                patch[field] = inner
        elif before is not value and not _same(before, value):
            patch[field] = _settable(value)
    for field in old:
        if field not in new:
            patch[field] = None
    return patch


def _settable(value: object) -> object:
    if isinstance(value, dict):
        for inner in value.values():
            if inner is None:
                raise Inexpressible
            _settable(inner)
    return value


def _same(a: object, b: object) -> bool:
    # In Python 1 == True == 1.0, in JSON they are three values.
    if type(a) is not type(b) or a != b:
        return False
    if isinstance(a, list):
        return all(map(_same, a, cast("list[object]", b)))
    if isinstance(a, dict):
        other = cast("dict[str, object]", b)
        return all(_same(value, other[field]) for field, value in a.items())
    return True


def merge(target: object, patch: object) -> object:
    """Return ``target`` with a merge patch applied (RFC 7396, section 2); neither argument is changed."""
    if not isinstance(patch, dict):
        return patch
    merged = dict(target) if isinstance(target, dict) else {}
    for field, value in patch.items():
        if value is None:
            merged.pop(field, None)
        else:
            merged[field] = merge(merged.get(field), value)
    return merged
