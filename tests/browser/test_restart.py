"""The gateway dies under an open dashboard and is started again, first blind: the page says so, waits, and comes back."""

from __future__ import annotations

from pathlib import Path

from playwright.async_api import Browser

from tests.browser.chromium import open_page, until
from tests.browser.demo import Demo
from tests.browser.test_dashboard import LIVE

# Waits between attempts are a random share of up to ten seconds; a small share keeps the test short.
QUICK = "Math.random = () => 0.03;"
REASONS = "[...new Set([...document.querySelectorAll('tbody tr')].map((row) => row.dataset.stale))]"


async def test_the_page_survives_the_gateway(browser: Browser, tmp_path: Path) -> None:
    data = tmp_path / "data"
    first = await Demo.start(data)
    watched = await open_page(browser, script=QUICK)
    page = watched.page
    try:
        await page.goto(first.url)
        await until(page, LIVE)
        await until(page, "document.querySelector('#banner').hidden")
        rows = await page.locator("tbody tr").count()
        # Everything that is shown is in the database.
        await first.until("/metrics", r"perpwire_checkpoint_waiting_rows 0")
        await first.until("/metrics", r"perpwire_checkpoint_writes_total [1-9]")
    finally:
        await first.kill()

    await until(page, "document.body.dataset.gateway === 'reconnecting'")
    banner = page.get_by_role("status")
    assert "reconnecting" in await banner.inner_text()
    await until(page, "/last data [1-9]\\d* s ago/.test(document.querySelector('#banner').textContent)")
    await until(page, "getComputedStyle(document.querySelector('main')).filter === 'grayscale(1)'")
    assert abs(await page.locator("tbody tr").count() - rows) <= 2, "the past stays to be read"

    blind = await Demo.launch_blind(data, port=first.port)
    try:
        await until(page, "document.querySelector('#banner').hidden")
        await until(page, f"{REASONS}.length > 0 && {REASONS}.every((reason) => reason === 'restored')")
    finally:
        await blind.stop()
    await until(page, "document.body.dataset.gateway === 'reconnecting'")

    second = await Demo.launch(data, port=first.port)
    try:
        await until(page, f"{REASONS}.every((reason) => reason === undefined)")
        await until(page, LIVE)
        await until(page, "document.querySelectorAll('#feeds .pill:not([data-state=live])').length === 0")
    finally:
        await watched.page.context.close()
        await second.stop()
    # That nobody listened in between is all that there was to complain of.
    assert [problem for problem in watched.problems if "WebSocket connection to" not in problem] == []
