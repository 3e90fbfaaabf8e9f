"""The venue's tables hold together."""

from __future__ import annotations

import pytest

from exchanges.hyperliquid import tables


@pytest.mark.parametrize("env", ["live", "testnet"])
def test_one_host_serves_rest_and_both_kinds_of_sockets(env: str) -> None:
    found = tables.HOSTS[env]
    host = found.rest.removeprefix("https://")
    assert found.ws_public == found.ws_private == f"wss://{host}"
    assert not host.endswith("/")


def test_pings_leave_time_for_an_answer_before_the_server_hangs_up() -> None:
    assert tables.PING_EVERY_S * 2 < tables.SILENT_AFTER_S <= 60


def test_channels_that_are_read_are_not_declared_unread() -> None:
    read = {
        "allDexsClearinghouseState",
        "clearinghouseState",
        "spotState",
        "webData3",
        "fastAssetCtxs",
        "activeAssetCtx",
        "activeSpotAssetCtx",
        "openOrders",
        "user",
        *tables.USER_TOPICS,
    }
    assert not read & tables.UNREAD_CHANNELS


def test_mids_are_never_read_as_marks() -> None:
    assert "allMids" in tables.UNREAD_CHANNELS
