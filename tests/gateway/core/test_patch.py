from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.patch import diff, merge

# -0.0 and 0.0 are the same figure.
floats = st.floats(-1, 1, allow_nan=False).map(lambda value: value + 0.0)
scalars = st.one_of(st.none(), st.booleans(), st.integers(-1, 1), floats, st.text(max_size=2))
values = st.recursive(
    scalars,
    lambda inner: st.one_of(st.lists(inner, max_size=2), st.dictionaries(st.sampled_from("ab"), inner, max_size=2)),
    max_leaves=6,
)
rows = st.dictionaries(st.sampled_from("xyz"), values, max_size=3)


@given(rows, rows)
def test_a_patch_leads_from_the_old_row_to_the_new(old: dict[str, Any], new: dict[str, Any]) -> None:
    patch = diff(old, new)
    if patch is None:
        assert b"null" in orjson.dumps(new)
    else:
        before = orjson.dumps(old)
        assert orjson.dumps(merge(old, patch), option=orjson.OPT_SORT_KEYS) == orjson.dumps(
            new, option=orjson.OPT_SORT_KEYS
        )
        assert orjson.dumps(old) == before, "merge changed its argument"


@given(rows)
def test_nothing_changed_is_an_empty_patch(row: dict[str, Any]) -> None:
    assert diff(row, orjson.loads(orjson.dumps(row))) == {}


# RFC 7396, appendix A.
@pytest.mark.parametrize(
    ("target", "patch", "result"),
    [
        ({"a": "b"}, {"a": "c"}, {"a": "c"}),
        ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
        ({"a": "b"}, {"a": None}, {}),
        ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
        ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
        ({"a": "c"}, {"a": ["b"]}, {"a": ["b"]}),
        ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
        ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
        (["a", "b"], ["c", "d"], ["c", "d"]),
        ({"a": "b"}, ["c"], ["c"]),
        ({"a": "foo"}, None, None),
        ({"a": "foo"}, "bar", "bar"),
        ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
        ([1, 2], {"a": "b", "c": None}, {"a": "b"}),
        ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
    ],
)
def test_merge_follows_the_standard(target: object, patch: object, result: object) -> None:
    assert merge(target, patch) == result


def test_a_wanted_null_cannot_be_said() -> None:
    assert diff({}, {"x": None}) is None
    assert diff({"x": 1}, {"x": {"n": None}}) is None
    assert diff({"x": {"n": 1}}, {"x": {"n": None}}) is None
    assert diff({"x": None}, {"x": None, "y": 1}) == {"y": 1}


def test_true_is_not_one() -> None:
    assert diff({"x": 1, "y": [1]}, {"x": True, "y": [True]}) == {"x": True, "y": [True]}
