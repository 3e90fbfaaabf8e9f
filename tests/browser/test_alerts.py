"""static/alerts.js: the worst first, taken note of by a button, hidden while nothing fires."""

from __future__ import annotations

from typing import Any

from playwright.async_api import Page

STRIP = """async ([rows, taken]) => {
    const { Alerts } = await import('/alerts.js');
    const root = document.createElement('section');
    root.innerHTML = '<span class="count"></span><ul></ul>';
    const asked = [];
    const alerts = new Alerts(root, async (id) => { asked.push(id); return taken; });
    alerts.update(new Map(Object.entries(rows)), 60_000);
    const lines = () => [...root.querySelectorAll('li')].map((line) => [
        line.dataset.severity, line.querySelector('.message').textContent, line.querySelector('.since').textContent,
        line.querySelector('button').hidden]);
    const shown = lines();
    root.querySelector('button')?.click();
    await new Promise((done) => setTimeout(done));
    return { hidden: root.hidden, count: root.querySelector('.count').textContent, shown, asked,
             button: root.querySelector('button')?.textContent };
}"""


def alert(message: str, severity: str = "warning", **fields: Any) -> dict[str, Any]:
    return {"state": "firing", "severity": severity, "since": 0, "message": message, "acknowledged": False} | fields


async def test_what_fires_stands_with_the_worst_first_and_what_is_known_last(modules: Page) -> None:
    rows = {
        "a": alert("mild"),
        "b": alert("bad", "critical"),
        "c": alert("known", "critical", acknowledged=True),
        "d": alert("over", state="resolved"),
        "e": alert("quiet", "error", silenced_until=90_000),
    }
    found = await modules.evaluate(STRIP, [rows, True])
    assert (found["hidden"], found["count"]) == (False, "4")
    assert found["shown"] == [
        ["critical", "bad", "1 min", False],
        ["error", "quiet", "1 min, silenced", False],
        ["warning", "mild", "1 min", False],
        ["critical", "known", "1 min, acknowledged", True],
    ]
    assert (found["asked"], found["button"]) == (["b"], "Acknowledge")


async def test_a_failure_to_take_note_is_said(modules: Page) -> None:
    assert (await modules.evaluate(STRIP, [{"a": alert("mild")}, False]))["button"] == "Failed, again"


async def test_many_are_counted_and_none_is_hidden_away(modules: Page) -> None:
    found = await modules.evaluate(STRIP, [{f"{number:02}": alert(str(number)) for number in range(11)}, True])
    assert (found["count"], len(found["shown"])) == ("11, the first 8 here", 8)
    wide = modules.viewport_size
    assert wide is not None
    await modules.set_viewport_size({"width": 390, "height": 800})
    narrow = await modules.evaluate(STRIP, [{f"{number:02}": alert(str(number)) for number in range(11)}, True])
    assert (narrow["count"], len(narrow["shown"])) == ("11, the first 3 here", 3)
    await modules.set_viewport_size(wide)
    assert (await modules.evaluate(STRIP, [{}, True]))["hidden"] is True
