"""static/panels.js: what is not a live stream never looks like one, and says why."""

from __future__ import annotations

from typing import Any

import pytest
from playwright.async_api import Page

FEEDS = """async (row) => {
    const { Feeds } = await import('/panels.js');
    const root = document.createElement('ul');
    new Feeds(root).update(new Map([['whale:poll', row]]), 5000);
    const pill = root.firstChild;
    return [pill.dataset.state, pill.textContent, pill.title];
}"""
ACCOUNTS = """async (row) => {
    const { Accounts } = await import('/panels.js');
    const root = document.createElement('ul');
    new Accounts(root).update(new Map([['whale', row]]), () => undefined);
    const card = root.firstChild;
    return [card.dataset.stale, card.querySelector('.pool').textContent, card.title];
}"""
FEED = {"venue": "hyperliquid", "connection": "poll", "state": "live", "since": 0, "last_message_at": 2000}
ACCOUNT = {"venue": "hyperliquid", "env": "live"}


async def test_a_polled_connection_does_not_look_live(modules: Page) -> None:
    state, text, title = await modules.evaluate(FEEDS, FEED | {"polled": True})
    assert state == "polled"
    assert text.endswith("polled")
    assert "last answer 3 s ago" in title
    assert (await modules.evaluate(FEEDS, FEED))[0] == "live"
    assert (await modules.evaluate(FEEDS, FEED | {"polled": True, "state": "down"}))[0] == "down"


@pytest.mark.parametrize(
    ("row", "shown", "told"),
    [
        ({"stale": {"since": 0, "reason": "polled"}}, "polled, not streamed", "as of"),
        ({"stale": {"since": 0, "reason": "venue_unreachable"}}, "venue does not answer", "since"),
        (
            {"refused": "its key may trade", "stale": {"since": 0, "reason": "private_feed"}},
            "refused",
            "its key may trade",
        ),
        ({"venue_warning": {"what": "margin call", "at": 0}}, "Hyperliquid", "margin call"),
        ({"same_owner_as": ["twin"]}, "Hyperliquid", "twin"),
    ],
)
async def test_a_card_says_why_its_figures_are_not_live(
    modules: Page, row: dict[str, Any], shown: str, told: str
) -> None:
    stale, text, title = await modules.evaluate(ACCOUNTS, ACCOUNT | row)
    assert stale == row.get("stale", {}).get("reason")
    assert shown in text
    assert told in title


TOTALS = """async (row) => {
    const { Totals } = await import('/panels.js');
    const root = document.createElement('div');
    new Totals(root).update(new Map([['ann', row]]));
    const steps = [...root.querySelectorAll('.ladder li')];
    return [root.querySelector('.stress').hidden, steps.map((step) => [step.textContent, step.dataset.level, step.title])];
}"""


async def test_the_ladder_shows_what_is_lost_who_is_liquidated_and_what_is_not_covered(modules: Page) -> None:
    calm = {"liquidated": [], "not_covered": ["opts"]}
    stress = {
        "-20": {"equity_usd": 400.0, "margin_ratio": 1.0, "liquidated": ["b", "a"], "not_covered": ["opts"]},
        "0": {"equity_usd": 1000.0, "margin_ratio": 0.2, **calm},
        "5": {"equity_usd": 1250.0, "margin_ratio": 0.6, **calm},
    }
    hidden, steps = await modules.evaluate(TOTALS, {"stress": stress})
    assert not hidden
    assert [step[:2] for step in steps] == [["−20 % −600", "near"], ["+5 % +250", "watch"]]
    assert "liquidated, in this order: b, a" in steps[0][2]
    assert all("not covered: opts" in step[2] for step in steps)
    assert (await modules.evaluate(TOTALS, {}))[0], "nothing to show is not shown"
    uncovered = {"-20": dict(calm), "0": dict(calm)}
    assert (await modules.evaluate(TOTALS, {"stress": uncovered}))[1][0][0] == "−20 % –"


async def test_the_ladder_says_which_accounts_and_underlyings_are_not_in_it(modules: Page) -> None:
    steps = {"-20": {"liquidated": [], "not_covered": ["opts"]}, "0": {"liquidated": [], "not_covered": ["opts"]}}
    title = TOTALS.replace("return [", "return root.querySelector('.stress dt').textContent; return [")
    assert await modules.evaluate(title, {"stress": steps}) == "If the market moves (without 1 of the accounts)"
    unmoved = {"stress": steps, "stress_unmoved": ["BCT", "WBTC"]}
    expected = "If the market moves (without 1 of the accounts; nobody holds BCT, WBTC)"
    assert await modules.evaluate(title, unmoved) == expected


async def test_a_card_tells_the_move_that_liquidates_the_account(modules: Page) -> None:
    _, _, title = await modules.evaluate(ACCOUNTS, ACCOUNT | {"liquidation_shock": -0.321})
    assert "liquidated if everything moves by −32.1 %" in title
    _, _, title = await modules.evaluate(ACCOUNTS, ACCOUNT | {"not_covered": "its mode (portfolio) cannot be computed"})
    assert "not in the stress figures: its mode (portfolio) cannot be computed" in title


REALIZED = """async (row) => {
    const { Totals } = await import('/panels.js');
    const root = document.createElement('div');
    new Totals(root).update(new Map([['ann', row]]));
    const value = [...root.querySelectorAll('.totals > div')].find((one) => one.textContent.startsWith('Realised today'));
    const [sum, since] = value.querySelector('dd').children;
    return [sum.textContent, sum.dataset.sign ?? null, since.textContent, since.title];
}"""


async def test_what_was_realised_today_says_since_when_where_that_is_not_midnight(modules: Page) -> None:
    midnight = 20_000 * 86_400_000
    whole = {"total_realized_pnl_usd": -12.5, "realized_since": midnight}
    assert await modules.evaluate(REALIZED, whole) == ["−$12.50", "down", "", ""]
    late = whole | {"realized_since": midnight + 3_600_000, "realized_incomplete": ["whale"]}
    _, _, since, title = await modules.evaluate(REALIZED, late)
    assert since.startswith("since 20")
    assert since.endswith(", incomplete")
    assert title == "not whole: whale"
    assert (await modules.evaluate(REALIZED, {}))[0] == "–"
