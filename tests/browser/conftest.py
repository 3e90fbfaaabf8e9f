"""One browser and one demo for all browser tests; each test has a page of its own, and no page may complain."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from playwright.async_api import Browser, Page, async_playwright

from tests.browser.chromium import ARGUMENTS, Watched, executable, open_page
from tests.browser.demo import Demo

Open = Callable[..., Awaitable[Watched]]


@pytest.fixture(scope="session")
async def browser() -> AsyncIterator[Browser]:
    """A headless Chromium."""
    async with async_playwright() as playwright:
        running = await playwright.chromium.launch(executable_path=executable(), args=list(ARGUMENTS))
        yield running
        await running.close()


@pytest.fixture(scope="session")
async def demo(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Demo]:
    """A running demo; tests only look at it."""
    running = await Demo.start(tmp_path_factory.mktemp("browser") / "data")
    yield running
    await running.stop()


@pytest.fixture
async def dashboard(browser: Browser, demo: Demo) -> AsyncIterator[Open]:
    """Opens the dashboard; at the end no page may have complained of anything."""
    opened: list[Watched] = []

    async def open_dashboard(**options: object) -> Watched:
        watched = await open_page(browser, **options)  # type: ignore[arg-type]  # those of open_page
        opened.append(watched)
        await watched.page.goto(demo.url)
        return watched

    yield open_dashboard
    for watched in opened:
        await watched.page.context.close()
        assert watched.problems == []


@pytest.fixture(scope="session")
async def modules(browser: Browser, demo: Demo) -> AsyncIterator[Page]:
    """A page of the gateway's origin without the dashboard: ``import("/replica.js")`` works in it."""
    watched = await open_page(browser)
    await watched.page.goto(f"{demo.url}/docs")
    yield watched.page
    await watched.page.context.close()
    assert watched.problems == []
