"""The tables agree with each other."""

from __future__ import annotations

import pytest

from exchanges.okx import tables


def test_every_host_is_a_bare_secure_address() -> None:
    for region, environments in tables.HOSTS.items():
        for env, hosts in environments.items():
            assert hosts.rest.startswith("https://"), (region, env)
            for ws in (hosts.ws_public, hosts.ws_private):
                assert ws.startswith("wss://"), (region, env)
                assert not ws.endswith("/"), (region, env)


def test_demo_and_live_never_share_a_stream() -> None:
    for environments in tables.HOSTS.values():
        if "demo" in environments:
            assert environments["demo"].ws_private != environments["live"].ws_private


@pytest.mark.parametrize("faults", [tables.LOGIN_FAULTS, tables.REST_FAULTS, tables.CLOSE_FAULTS])
def test_every_fault_of_the_operator_says_what_to_do(faults: dict[object, tables.Fault]) -> None:
    assert [code for code, fault in faults.items() if fault.kind == "auth" and not fault.do] == []


def test_a_ping_leaves_time_for_its_answer_before_the_venue_closes() -> None:
    assert tables.PING_EVERY_S < tables.SILENT_AFTER_S <= 30


def test_what_is_modelled_has_a_kind() -> None:
    assert {tables.KINDS[inst_type] for inst_type in tables.MODELLED} == {"perp", "future"}
