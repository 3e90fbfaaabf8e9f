"""A page under watch: whatever it complains of, and every request that leaves this machine, is kept."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from playwright.async_api import Browser, ConsoleMessage, Page, Request, Response

_NAMES = ("chromium-headless-shell", "chromium", "google-chrome")
ARGUMENTS = (
    "--no-sandbox",  # tests run as root in containers
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-default-apps",
    "--disable-sync",
    "--no-first-run",
)
DESKTOP = (1280, 860)
PHONE = (390, 844)
# Bounds a wait for something that takes a second at most on a quiet machine.
PATIENCE_S = 30.0


def executable() -> str:
    """Return the browser: $CHROME, else the first that is on PATH."""
    named = os.environ.get("CHROME")
    found = named or next((path for path in map(shutil.which, _NAMES) if path), None)
    assert found, (
        f"no Chromium: run tests/browser/install-chromium, put one of {', '.join(_NAMES)} on PATH, or set CHROME"
    )
    return found


@dataclass
class Watched:
    """A page and what went wrong in it."""

    page: Page
    problems: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)

    def listen(self) -> None:
        """Start to watch."""
        self.page.on("console", self._console)
        self.page.on("pageerror", lambda error: self.problems.append(f"exception: {error}"))
        self.page.on("request", self._request)
        self.page.on("requestfailed", lambda request: self.problems.append(f"failed: {request.url}"))
        self.page.on("response", self._response)
        self.page.on("websocket", lambda socket: self._address(socket.url))

    def _console(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.problems.append(f"{message.type}: {message.text}")

    def _request(self, request: Request) -> None:
        self._address(request.url)

    def _response(self, response: Response) -> None:
        if response.status >= 400:
            self.problems.append(f"{response.status}: {response.url}")

    def _address(self, url: str) -> None:
        self.requests.append(url)
        if urlsplit(url).hostname != "127.0.0.1":
            self.problems.append(f"left this machine: {url}")


async def open_page(
    browser: Browser, *, size: tuple[int, int] = DESKTOP, scheme: str = "dark", script: str = ""
) -> Watched:
    """Return an empty page under watch.

    Args:
        script: Runs before the page's own.
    """
    context = await browser.new_context(
        viewport={"width": size[0], "height": size[1]},
        color_scheme=scheme,  # type: ignore[arg-type]  # "dark" or "light"
        locale="en-US",
    )
    # A violation of the content security policy becomes a complaint that names the rule.
    await context.add_init_script(
        "addEventListener('securitypolicyviolation',"
        " (e) => console.error(`policy: ${e.violatedDirective} ${e.blockedURI}`));" + script
    )
    watched = Watched(await context.new_page())
    watched.listen()
    return watched


async def until(page: Page, condition: str, timeout_s: float = PATIENCE_S) -> object:
    """Wait until a JavaScript expression is true, looking at every frame that is drawn, and return its value.

    The page's policy forbids ``eval``, which playwright's own ``wait_for_function`` needs.
    """
    found = await page.evaluate(
        f"""async (timeout) => {{
            const end = performance.now() + timeout;
            for (;;) {{
                const found = ({condition});
                if (found || performance.now() > end) return found;
                await new Promise(requestAnimationFrame);
            }}
        }}""",
        timeout_s * 1000,
    )
    assert found, f"never came true in {timeout_s} s: {condition}"
    return found
