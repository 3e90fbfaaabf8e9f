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
