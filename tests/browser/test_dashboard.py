"""The dashboard as somebody sees it who opens it in a browser, over a running demo."""

from __future__ import annotations

import asyncio
import itertools
import math
from typing import Any

import pytest
from playwright.async_api import Page

from tests.browser.chromium import PATIENCE_S, PHONE, until
from tests.browser.conftest import Open
from tests.browser.demo import Demo

LIVE = "document.body.dataset.gateway === 'live' && document.querySelectorAll('tbody tr').length > 0"


def texts(column: str) -> str:
    """Return the expression for a column's texts by row id."""
    return (
        "Object.fromEntries([...document.querySelectorAll('tbody tr')]"
        f".map((row) => [row.dataset.id, row.querySelector('.{column}').textContent]))"
    )


async def column(page: Page, name: str) -> dict[str, str]:
    found: dict[str, str] = await page.evaluate(texts(name))
    return found


async def changes(page: Page, name: str) -> None:
    """Wait until the figure of some row that was there before reads differently."""
    before = await column(page, name)
    await page.evaluate("(before) => { window.before = before; }", before)
    await until(page, f"Object.entries({texts(name)}).some(([id, text]) => id in before && text !== before[id])")


async def test_positions_of_three_venues_move_by_themselves(dashboard: Open) -> None:
    page = (await dashboard()).page
    await until(page, LIVE)
    await until(page, f"new Set(Object.values({texts('venue')})).size >= 3")
    assert {"OKX", "Bybit", "Hyperliquid"} <= set((await column(page, "venue")).values())
    await changes(page, "mark")
    await changes(page, "pnl")


async def test_totals_accounts_and_feeds_are_shown(dashboard: Open) -> None:
    page = (await dashboard()).page
    await until(page, LIVE)
    await until(page, "/^\\$[\\d,]+\\.\\d\\d$/.test(document.querySelector('.totals dd')?.textContent)")
    await until(page, "document.querySelectorAll('#accounts .card').length >= 3")
    await until(page, "document.querySelectorAll('#feeds [data-state=live]').length >= 4")
    assert await page.locator("#gateway").inner_text() == "live"
    assert await page.locator("#banner").is_hidden()


async def test_what_is_shown_is_what_the_gateway_says(dashboard: Open) -> None:
    page = (await dashboard()).page
    await until(page, LIVE)
    rows: dict[str, dict[str, Any]] = await page.evaluate(
        "fetch('/v1/positions').then((r) => r.json()).then((r) => r.positions)"
    )
    entries, sides = await column(page, "entry"), await column(page, "side")
    both = rows.keys() & entries.keys()
    assert len(both) > 20
    for id_ in both:
        assert sides[id_] == rows[id_]["side"]
    # A trade may come between the two looks; most rows have none.
    same = [id_ for id_ in both if entries[id_].replace(",", "") == rows[id_].get("entry_price", "–")]
    assert len(same) > len(both) / 2


def distance(text: str) -> float:
    return float(text.removesuffix(" %").replace("−", "-").replace(",", ""))


async def test_the_nearest_liquidation_comes_first_and_headers_sort_by_keyboard(dashboard: Open) -> None:
    page = (await dashboard()).page
    await until(page, LIVE)
    shown: list[list[str]] = await page.evaluate(
        "[...document.querySelectorAll('tbody tr')].map((row) =>"
        " [row.querySelector('.liquidation .price').textContent, row.querySelector('.distance').textContent])"
    )
    order = [
        {"unknown": -math.inf, "none": math.inf}.get(price) or (math.inf if share == "–" else distance(share))
        for price, share in shown
    ]
    # A leg that its pool's other leg makes up for has a price, and no distance to it.
    # The order is made once a second, the figures move in between.
    assert all(a <= b + 0.5 for a, b in itertools.pairwise(order)), shown

    head = page.locator("th.size button")
    await head.focus()
    await page.keyboard.press("Enter")
    await until(page, "document.querySelector('th.size').ariaSort === 'descending'")
    assert await page.locator("thead [aria-sort]").count() == 1
    await page.keyboard.press("Enter")
    await until(page, "document.querySelector('th.size').ariaSort === 'ascending'")
    await until(page, f"(([a, b]) => a <= b)(Object.values({texts('size')}).map((t) => Number(t.replaceAll(',', ''))))")


async def test_a_filter_leaves_what_contains_every_word(dashboard: Open) -> None:
    page = (await dashboard()).page
    await until(page, LIVE)
    await page.keyboard.press("/")
    await page.keyboard.type("BTC okx")
    await until(page, f"Object.values({texts('venue')}).every((name) => name === 'OKX')")
    assert all("BTC" in symbol for symbol in (await column(page, "symbol")).values())
    assert " of " in await page.locator("#count").inner_text()
    await page.keyboard.type(" nothing-of-the-kind")
    await until(page, "document.querySelectorAll('tbody tr').length === 0")
    assert await page.locator("#empty").inner_text() == "No position matches the filter."


@pytest.mark.parametrize("scheme", ["dark", "light"])
async def test_a_phone_never_scrolls_sideways(dashboard: Open, scheme: str) -> None:
    page = (await dashboard(size=PHONE, scheme=scheme)).page
    await until(page, LIVE)
    await changes(page, "pnl")
    widths = await page.evaluate("[document.documentElement.scrollWidth, document.documentElement.clientWidth]")
    assert widths[0] <= widths[1] == PHONE[0]
    cut: list[str] = await page.evaluate(
        "[...document.querySelectorAll('tbody :is(.mark, .pnl, .roe, .distance)')]"
        ".filter((cell) => cell.scrollWidth > cell.clientWidth).map((cell) => cell.textContent)"
    )
    assert cut == []
    await page.locator("#sort").select_option("pnl -1")
    await until(page, "document.querySelector('#sort').value === 'pnl -1'")


async def test_dark_and_light_differ_and_can_be_read(dashboard: Open) -> None:
    grounds = {}
    for scheme in ("dark", "light"):
        page = (await dashboard(scheme=scheme)).page
        await until(page, LIVE)
        grounds[scheme] = await page.evaluate("getComputedStyle(document.body).backgroundColor")
        ratios: dict[str, float] = await page.evaluate(_CONTRASTS)
        assert len(ratios) >= 5
        assert all(ratio >= 4.5 for ratio in ratios.values()), (scheme, ratios)
    assert grounds["dark"] != grounds["light"]


# WCAG 2.2, "relative luminance" and "contrast ratio", of what is on the page in each colour, on the table's ground.
_CONTRASTS = """
() => {
    const rgb = (text) => text.match(/[\\d.]+/g).slice(0, 3).map((part) => Number(part) / 255);
    const linear = (c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
    const luminance = (text) => rgb(text).map(linear).reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
    const ground = luminance(getComputedStyle(document.querySelector('table')).backgroundColor);
    const ratio = (style) => {
        const [a, b] = [luminance(style), ground].sort((x, y) => y - x);
        return (a + 0.05) / (b + 0.05);
    };
    const found = {};
    for (const name of ['.name', 'td.venue', '[data-side=long]', '[data-side=short]', '[data-sign=up]', '[data-sign=down]',
                        '.share', '.source', 'thead button']) {
        const one = document.querySelector(`#positions ${name}`);
        if (one) found[name] = ratio(getComputedStyle(one).color);
    }
    return found;
}
"""


async def test_a_table_stays_a_table_for_those_who_cannot_see_it(dashboard: Open) -> None:
    for size in (PHONE, (1280, 860)):
        page = (await dashboard(size=size)).page
        await until(page, LIVE)
        table = page.get_by_role("table", name="Positions")
        assert await table.get_by_role("rowheader").count() > 20
        assert await table.get_by_role("cell").count() > 200
    assert await page.get_by_role("columnheader").count() == 13 - 1  # one column is for wider windows
    assert await page.get_by_role("status").count() == 0  # nothing to say while all is well


# Further policies can only forbid more. (Rewriting the server's own by routing would make the page one of unknown origin,
# which Chromium keeps from loopback.)
STRICTEST = """
new MutationObserver((_, observer) => {
    if (!document.head) return;
    observer.disconnect();
    const policy = document.createElement('meta');
    policy.httpEquiv = 'Content-Security-Policy';
    policy.content = "default-src 'self'";
    document.head.prepend(policy);
}).observe(document, { childList: true, subtree: true });
"""


async def test_no_inline_style_or_script_is_needed(dashboard: Open) -> None:
    opened = await dashboard(script=STRICTEST)
    await until(opened.page, LIVE)
    await changes(opened.page, "pnl")
    assert opened.problems == []
    # And a breach would have been noticed.
    await opened.page.evaluate("document.body.setAttribute('style', 'color: red')")
    async with asyncio.timeout(PATIENCE_S):
        await opened.page.evaluate("fetch('/healthz')")  # the complaint was sent before the answer comes
    assert any("policy: style-src" in problem for problem in opened.problems)
    opened.problems.clear()


async def test_only_the_gateway_is_asked(dashboard: Open, demo: Demo) -> None:
    opened = await dashboard()
    await until(opened.page, LIVE)
    here = demo.url.removeprefix("http:")
    assert len(opened.requests) >= 10
    assert all(url.removeprefix("http:").removeprefix("ws:").startswith(here) for url in opened.requests)
