"""static/table.js, columns.js and dom.js: order, what cells say, and that only what changed is touched."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from playwright.async_api import Page

# A positions table off the page, and what is in it.
SETTING = """
const { LiveTable } = await import('/table.js');
const { COLUMNS, decorate, words } = await import('/columns.js');
const element = document.createElement('table');
element.append(document.createElement('thead'), document.createElement('tbody'));
const table = new LiveTable(element, { columns: COLUMNS, sort: { column: 'distance', direction: 1 }, decorate, words });
const rows = new Map();
let now = 0;
const put = (changes) => {
    for (const [id, row] of Object.entries(changes)) row === null ? rows.delete(id) : rows.set(id, row);
    return table.update(rows, new Set(Object.keys(changes)), now += 1000);
};
const ids = () => [...element.tBodies[0].rows].map((row) => row.dataset.id);
const cells = (id) => Object.fromEntries(
    [...element.querySelector(`[data-id="${id}"]`).cells].map((cell) => [cell.className, cell.textContent]));
"""
ROW = {
    "user": "u", "account": "okx-main", "venue": "okx", "env": "live", "symbol": "BTC-USDT-SWAP", "kind": "perp",
    "side": "long", "base": "BTC", "settle": "USDT", "margin_mode": "cross", "leverage": "10", "size": "1234.50",
    "entry_price": "86000.10", "mark_price": 86120.5, "unrealized_pnl": 12.5, "unrealized_pnl_usd": 12.49, "roe": 0.0145,
    "notional_usd": 8612.05, "liquidation_source": "model", "liquidation_price": 77508.449, "liquidation_distance": 0.1,
    "risk_score": 0.6184,
}  # fmt: skip


async def play(page: Page, scene: str, *args: object) -> Any:
    """Run a scene in the setting and return what it returns."""
    return await page.evaluate(f"async (args) => {{{SETTING}{scene}}}", list(args))


async def test_a_row_says_what_the_gateway_says(modules: Page) -> None:
    found = await play(modules, "put({ a: args[0] }); return cells('a');", ROW)
    assert found == {
        "symbol": "BTC-USDT-SWAP",
        "venue": "OKX",
        "account": "okx-main",
        "side": "long",
        "mode": "cross10×",
        "size": "1,234.50",
        "value": "8,612",
        "entry": "86,000.10",
        "mark": "86,120.5",
        "pnl": "+12.49",
        "roe": "+1.45 %",
        "liquidation": "77,508.4m",
        "distance": "10.0 %",
        "risk": "0.62",
    }


async def test_the_unknown_is_never_zero(modules: Page) -> None:
    known = ("user", "account", "venue", "env", "symbol", "kind")
    bare = {name: ROW[name] for name in known}
    found = await play(modules, "put({ a: args[0] }); return cells('a');", bare)
    shown = {name: text for name, text in found.items() if name not in ("symbol", "venue", "account")}
    assert shown == dict.fromkeys(shown, "–") | {"mode": "––"}


async def test_none_and_unknown_are_words(modules: Page) -> None:
    for word in ("none", "unknown"):
        row = {k: v for k, v in ROW.items() if k not in ("liquidation_price", "liquidation_distance")}
        found = await play(
            modules,
            "put({ a: args[0] });"
            " return [cells('a').liquidation, element.querySelector('td .bar').dataset.level ?? ''];",
            row | {"liquidation_source": word},
        )
        assert found == [word, "unknown" if word == "unknown" else ""]


async def test_a_spent_pool_that_no_price_saves_says_so(modules: Page) -> None:
    row = {k: v for k, v in ROW.items() if k != "liquidation_price"} | {"liquidation_distance": -1}
    found = await play(
        modules,
        "put({ a: args[0] }); const { liquidation, distance } = cells('a');"
        " return [liquidation, distance, element.querySelector('td .bar').dataset.level,"
        " element.querySelector('td.liquidation').title];",
        row,
    )
    assert found == [
        "spent",
        "\N{MINUS SIGN}100.0 %",
        "near",
        "liquidation price spent\nits pool is spent, and no price of this symbol saves it",
    ]


async def test_what_only_its_underlying_liquidates_names_that_price(modules: Page) -> None:
    row = {k: v for k, v in ROW.items() if k != "liquidation_price"} | {"trigger_price": 70_000.0}
    found = await play(
        modules,
        "put({ a: args[0] }); return [cells('a').liquidation, element.querySelector('td.liquidation').title];",
        row,
    )
    assert found == [
        "–",
        "liquidation price –\nthe pool is spent at 70,000.0\nno price of this symbol alone liquidates it",
    ]


async def test_a_leg_that_is_made_up_for_is_farthest_though_it_has_a_price(modules: Page) -> None:
    row = {k: v for k, v in ROW.items() if k != "liquidation_distance"}
    found = await play(
        modules,
        "put({ leg: args[0], far: args[1] });"
        " return [ids(), element.querySelector('[data-id=\"leg\"] .bar').dataset.level ?? ''];",
        row,
        ROW | {"liquidation_distance": 0.9},
    )
    assert found == [["far", "leg"], ""]


async def test_nearness_has_three_levels(modules: Page) -> None:
    found = await play(
        modules,
        """
        const levels = {};
        for (const distance of [-0.1, 0, 0.05, 0.0501, 0.1, 0.1001, 3]) {
            put({ a: { ...args[0], liquidation_distance: distance } });
            levels[distance] = element.querySelector('td .bar').dataset.level;
        }
        return levels;
        """,
        ROW,
    )
    assert found == {
        "-0.1": "near", "0": "near", "0.05": "near", "0.0501": "watch", "0.1": "watch", "0.1001": "calm", "3": "calm",
    }  # fmt: skip


async def test_the_unknown_is_nearest_and_none_farthest(modules: Page) -> None:
    found = await play(
        modules,
        """
        const [row] = args;
        const bare = { ...row, liquidation_price: undefined, liquidation_distance: undefined };
        put({ far: { ...row, liquidation_distance: 0.9 }, none: { ...bare, liquidation_source: 'none' },
              near: { ...row, liquidation_distance: -0.01 }, unknown: { ...bare, liquidation_source: 'unknown' } });
        const up = ids();
        table.sortBy('distance');
        put({});
        return [up, ids()];
        """,
        ROW,
    )
    assert found == [["unknown", "near", "far", "none"], ["none", "far", "near", "unknown"]]


async def test_in_other_columns_the_unknown_is_last_in_both_directions(modules: Page) -> None:
    found = await play(
        modules,
        """
        put({ a: { ...args[0], size: '9' }, b: { ...args[0], size: '10' }, c: { ...args[0], size: undefined } });
        table.sortBy('size'); put({}); const down = ids();
        table.sortBy('size'); put({});
        return [down, ids()];
        """,
        ROW,
    )
    assert found == [["b", "a", "c"], ["a", "b", "c"]]


async def test_only_changed_cells_are_touched(modules: Page) -> None:
    found = await play(
        modules,
        """
        put({ a: args[0], b: { ...args[0], liquidation_distance: 0.2 } });
        const observer = new MutationObserver(() => {});
        observer.observe(element, { subtree: true, childList: true, characterData: true, attributes: true });
        const place = ({ target }) => (target.closest ? target : target.parentNode).closest('td, th, tr, tbody');
        const touched = () => [...new Set(observer.takeRecords().map(place).map((node) => node.className || node.tagName))];
        put({ a: { ...args[0] } });
        const same = touched();
        put({ a: { ...args[0], unrealized_pnl: 13, unrealized_pnl_usd: 12.99 } });
        return [same, touched(), element.querySelector('td.pnl').dataset.flash];
        """,
        ROW,
    )
    assert found == [[], ["pnl"], "up-a"]


async def test_rows_do_not_jump_more_than_once_a_second(modules: Page) -> None:
    found = await play(
        modules,
        """
        put({ a: { ...args[0], liquidation_distance: 0.1 }, b: { ...args[0], liquidation_distance: 0.2 } });
        rows.set('a', { ...args[0], liquidation_distance: 0.3 });
        table.update(rows, new Set(['a']), now += 999);
        const before = ids();
        table.update(rows, new Set(), now += 1);
        return [before, ids()];
        """,
        ROW,
    )
    assert found == [["a", "b"], ["b", "a"]]


async def test_a_stale_row_is_marked_with_its_reason(modules: Page) -> None:
    found = await play(
        modules,
        """
        put({ a: { ...args[0], stale: { since: 0, reason: 'mark_feed' } } });
        const row = element.querySelector('[data-id=a]');
        const marked = [row.dataset.stale, row.querySelector('.tag').textContent, row.querySelector('.symbol').title];
        put({ a: args[0] });
        return [...marked, row.dataset.stale ?? 'fresh', row.querySelector('.tag').textContent];
        """,
        ROW,
    )
    assert found[:2] == ["mark_feed", "mark feed"]
    assert "no fresh marks" in found[2]
    assert found[3:] == ["fresh", ""]


@given(before=st.permutations("abcdefgh"), after=st.permutations("abcdefgh"), left=st.integers(0, 8))
@settings(max_examples=80, deadline=None)
async def test_children_are_arranged(modules: Page, before: list[str], after: list[str], left: int) -> None:
    found = await modules.evaluate(
        """async ([before, after]) => {
            const { arrange } = await import('/dom.js');
            const parent = document.createElement('div');
            const nodes = new Map(before.map((name) => [name, Object.assign(document.createElement('i'), { id: name })]));
            arrange(parent, before.map((name) => nodes.get(name)));
            const first = [...parent.children].map((node) => node.id);
            arrange(parent, after.map((name) => nodes.get(name)));
            return [first, [...parent.children].map((node) => node.id)];
        }""",
        [before, after[:left]],
    )
    assert found == [before, after[:left]]
