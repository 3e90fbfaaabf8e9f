"""The real apprise, as it is installed: it delivers to a receiver on this machine, and says nothing of where that is."""

from __future__ import annotations

import asyncio
import logging
import threading
from functools import partial

import msgspec
import pytest

from gateway.core.alerts.records import Notice
from gateway.notify.failure import DeliveryFailed
from gateway.notify.others import Others, Thread
from tests.gateway.notify.receiver import receiver

NOTICE = Notice("alert_1", "firing", "critical", "okx-main BTC-USDT-SWAP long: near", 0, {"id": "1"})


async def test_apprise_delivers() -> None:
    async with receiver() as running:
        others = Others(running.url.replace("http://", "json://"), Thread())
        assert await others.send(NOTICE) == "sent"
        assert await others.send(NOTICE._replace(state="resolved", severity="warning")) == "sent"
        await others.close()
    first, second = (msgspec.json.decode(body) for _, body in running.got)
    assert (first["title"], first["message"], first["type"]) == (
        "Perpwire: firing (critical)", NOTICE.message, "failure",
    )  # fmt: skip
    assert (second["title"], second["type"]) == ("Perpwire: resolved (warning)", "success")


async def test_what_does_not_work_is_said_without_the_address(caplog: pytest.LogCaptureFixture) -> None:
    thread = Thread()
    with caplog.at_level(logging.DEBUG):
        async with receiver() as running:
            running.answers = [(500, {})]
            others = Others(running.url.replace("http://", "json://"), thread)
            with pytest.raises(DeliveryFailed) as refused:
                await others.send(NOTICE)
        with pytest.raises(DeliveryFailed) as away:
            await others.send(NOTICE)
        with pytest.raises(DeliveryFailed) as unclear:
            await Others("nothing-of-apprises", thread).send(NOTICE)
    await others.close()
    assert refused.value.reason == away.value.reason == "the service did not take it"
    assert unclear.value.reason == "apprise does not understand its address"
    own = [record.getMessage() for record in caplog.records if record.name != "aiohttp.access"]  # that is the receiver
    assert not [message for message in own if "token-of-the-desk" in message]


async def test_what_was_given_up_before_the_thread_came_to_it_is_not_sent_later() -> None:
    thread, hung, at_work, sent = Thread(), threading.Event(), threading.Event(), list[str]()

    def hang() -> None:
        at_work.set()
        hung.wait(10)

    first = asyncio.create_task(thread.run(hang))
    await asyncio.to_thread(at_work.wait)
    for attempt in ("first", "second", "third"):
        with pytest.raises(DeliveryFailed, match="did not come back"):
            await thread.run(partial(sent.append, attempt), wait_s=0.0)
    hung.set()
    await first
    await thread.run(partial(sent.append, "fourth"))
    thread.stop()
    assert sent == ["fourth"]
