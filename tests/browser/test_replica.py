"""static/replica.js against the gateway's own rules: the same frames end in the same rows."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from playwright.async_api import Page

from gateway.core.patch import merge

# Each example is a round trip to the browser.
browsed = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])

FIELDS = st.sampled_from(["size", "side", "stale", "pools", "__proto__", "constructor", "toString", "0", ""])
SCALARS = (
    st.booleans()
    | st.integers(-(2**53) + 1, 2**53 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec="utf-8"), max_size=5)
)
IDS = st.sampled_from(["okx-main:BTC-USDT-SWAP:net:cross:USDT", "b", "7", "__proto__", "hasOwnProperty"])


def json_values(leaves: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Return JSON values with these leaves."""
    return st.recursive(
        leaves, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(FIELDS, inner, max_size=3), max_leaves=8
    )


VALUES = json_values(SCALARS)
PATCHES = json_values(SCALARS | st.none())
ROWS = st.dictionaries(FIELDS, VALUES, max_size=4)
ROW_PATCHES = st.none() | st.dictionaries(FIELDS, PATCHES, max_size=3)

MERGE = """
async ([target, patch]) => {
    const { merge } = await import('/replica.js');
    return JSON.stringify(merge(JSON.parse(target), JSON.parse(patch)));
}
"""

# Rows come back as a list of pairs: an object would lose an id called "__proto__".
APPLY = """
async (texts) => {
    const { Replica } = await import('/replica.js');
    const replica = new Replica();
    const steps = texts.map((text) => {
        const frame = JSON.parse(text);
        const applied = frame.type === 'heartbeat' ? replica.heartbeat(frame.seq) : replica.apply(frame);
        const { cursor, complete } = replica;
        return { applied, cursor, complete, since: replica.since(), changed: [...replica.takeChanged()].sort() };
    });
    return JSON.stringify({ rows: [...replica.rows], steps });
}
"""


def number(text: str) -> float:
    """Read a number as JavaScript does: all are floats, and -0 is written 0."""
    return float(text) + 0.0


def canonical(value: object) -> str:
    """Return JSON in which true, 1 and 1.0 are two values, as in JSON, and not one or three as in Python."""
    return json.dumps(json.loads(json.dumps(value), parse_int=number, parse_float=number), sort_keys=True)


async def apply(page: Page, frames: list[dict[str, Any]]) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Return the rows that a replica has after these frames, and how it stood after each."""
    answer = json.loads(await page.evaluate(APPLY, [json.dumps(frame) for frame in frames]))
    return dict(answer["rows"]), answer["steps"]


@given(target=VALUES, patch=PATCHES)
@browsed
async def test_merge_is_the_gateways(modules: Page, target: object, patch: object) -> None:
    merged = await modules.evaluate(MERGE, [json.dumps(target), json.dumps(patch)])
    assert canonical(json.loads(merged)) == canonical(merge(target, patch))


@st.composite
def conversations(draw: st.DrawFn) -> list[dict[str, Any]]:
    """Draw a snapshot, then deltas, snapshots and heartbeats; patches speak of rows that are there."""
    seq = draw(st.integers(1, 100))
    rows = draw(st.dictionaries(IDS, ROWS, max_size=4))
    frames: list[dict[str, Any]] = [{"type": "snapshot", "sub": "s", "epoch": "e", "seq": seq, "rows": rows}]
    there = set(rows)
    for kind in draw(st.lists(st.sampled_from(["delta", "delta", "delta", "snapshot", "heartbeat"]), max_size=6)):
        prev, seq = seq, seq + draw(st.integers(0, 5))
        frame: dict[str, Any] = {"type": kind, "sub": "s", "epoch": "e", "seq": seq}
        if kind == "snapshot":
            frame["rows"] = draw(st.dictionaries(IDS, ROWS, max_size=3))
            there = set(frame["rows"])
        elif kind == "delta":
            whole = draw(st.dictionaries(IDS, ROWS, max_size=2))
            there |= set(whole)
            patch = draw(st.dictionaries(st.sampled_from(sorted(there)), ROW_PATCHES, max_size=2)) if there else {}
            there -= {id_ for id_, change in patch.items() if change is None}
            frame |= {name: member for name, member in (("rows", whole), ("patch", patch)) if member}
            frame["prev"] = draw(st.integers(0, prev))
        frames.append(frame)
    return frames


def by_the_book(frames: list[dict[str, Any]]) -> object:
    """Return the rows after these frames: the client of three lines, with the gateway's own merge."""
    table: object = {}
    for frame in frames:
        if frame["type"] == "snapshot":
            table = frame["rows"]
        elif frame["type"] == "delta":
            assert isinstance(table, dict)
            table = merge({**table, **frame.get("rows", {})}, frame.get("patch", {}))
    return table


@given(frames=conversations())
@browsed
async def test_frames_end_in_the_gateways_rows(modules: Page, frames: list[dict[str, Any]]) -> None:
    rows, steps = await apply(modules, frames)
    assert canonical(rows) == canonical(by_the_book(frames))
    assert [step["cursor"] for step in steps] == [frame["seq"] for frame in frames]
    for frame, step in zip(frames, steps, strict=True):
        assert step["since"] == {"epoch": "e", "seq": frame["seq"], "sub": "s"}
        assert set(step["changed"]) >= {*frame.get("rows", {}), *frame.get("patch", {})}


def snapshot(seq: int, rows: dict[str, Any], **more: object) -> dict[str, Any]:
    return {"type": "snapshot", "sub": "s", "epoch": "e", "seq": seq, "rows": rows, **more}


def delta(prev: int, seq: int, rows: dict[str, Any], **more: object) -> dict[str, Any]:
    return {"type": "delta", "sub": "s", "prev": prev, "seq": seq, "rows": rows, **more}


async def test_a_gap_is_told_and_nothing_of_it_applied(modules: Page) -> None:
    rows, steps = await apply(modules, [snapshot(5, {"a": {"x": 1}}), delta(6, 7, {"a": {"x": 2}})])
    assert [step["applied"] for step in steps] == [True, False]
    assert rows == {"a": {"x": 1}}
    assert steps[-1]["since"] == {"epoch": "e", "seq": 5, "sub": "s"}


async def test_a_delta_before_any_snapshot_is_a_gap(modules: Page) -> None:
    rows, steps = await apply(modules, [delta(0, 7, {"a": {}})])
    assert not steps[0]["applied"]
    assert rows == {}
    assert "since" not in steps[0]


async def test_a_snapshot_in_pieces_is_no_place_to_resume_from_until_its_last(modules: Page) -> None:
    pieces = [
        snapshot(5, {"a": {}}, more=True),
        delta(5, 5, {"b": {}}, more=True),
        {"type": "heartbeat", "seq": 9},
        delta(5, 5, {"c": {}}),
    ]
    rows, steps = await apply(modules, pieces)
    assert set(rows) == {"a", "b", "c"}
    assert [step["complete"] for step in steps] == [False, False, False, True]
    assert ["since" in step for step in steps] == [False, False, False, True]
    assert steps[-1]["since"]["seq"] == 5


async def test_a_delta_in_pieces_moves_the_cursor_with_its_last(modules: Page) -> None:
    pieces = [snapshot(5, {}), delta(5, 5, {"a": {}}, more=True), delta(5, 8, {"b": {}})]
    _, steps = await apply(modules, pieces)
    assert [step["since"]["seq"] for step in steps] == [5, 5, 8]


async def test_what_a_snapshot_leaves_out_counts_as_changed(modules: Page) -> None:
    _, steps = await apply(modules, [snapshot(5, {"a": {}, "b": {}}), snapshot(6, {"b": {}})])
    assert steps[1]["changed"] == ["a", "b"]
