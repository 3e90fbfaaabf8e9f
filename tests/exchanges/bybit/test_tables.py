"""The tables agree with one another."""

from __future__ import annotations

import pytest

from exchanges.bybit import tables


@pytest.mark.parametrize("key", tables.HOSTS, ids=str)
def test_hosts_are_base_addresses(key: tuple[str, str | None]) -> None:
    hosts = tables.HOSTS[key]
    assert hosts.rest.startswith("https://")
    assert hosts.ws_public.startswith("wss://")
    assert hosts.ws_private.startswith("wss://")
    assert not any(host.endswith("/") for host in (hosts.rest, hosts.ws_public, hosts.ws_private))


def test_demo_has_no_public_stream_of_its_own() -> None:
    demo = tables.HOSTS[("demo", None)]
    assert demo.ws_public == tables.HOSTS[("live", None)].ws_public
    assert demo.ws_private != tables.HOSTS[("live", None)].ws_private
    assert demo.rest == "https://api-demo.bybit.com"


def test_every_fault_of_the_operator_says_what_to_do() -> None:
    texts = {name: refusal for _, name, refusal in tables.LOGIN_TEXTS}
    refusals = {**{str(code): refusal for code, refusal in tables.RETCODES.items()}, **texts}
    silent = [code for code, refusal in refusals.items() if refusal.fault == "auth" and not refusal.do]
    assert silent == []


def test_a_ping_is_due_well_before_silence_means_death() -> None:
    assert 2 * tables.PING_EVERY_S < tables.SILENT_AFTER_S
