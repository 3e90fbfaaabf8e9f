"""An account read by its address alone: what that path says, what it cannot say, and that silence is never flat."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest

from exchanges.aster.address import AddressLink
from exchanges.errors import AuthFailed, ProtocolViolation
from exchanges.events import AccountMode, BalanceState, OpenOrders, PositionsSnapshot
from exchanges.venue import Notice, Output
from tests.exchanges.aster.samples import USER, by_address, events

# The documentation's sample, shortened; its figures agree with one another.
LEG = {
    "id": "98000000000389_BTCUSDT_BOTH", "symbol": "BTCUSDT", "collateral": "USDT", "positionAmount": "1.340",
    "entryPrice": "84490.74932115", "unrealizedProfit": "-13990.31797537", "askNotional": "0", "bidNotional": "60",
    "notionalValue": "99227.28611496", "markPrice": "74050.21351863", "leverage": 1, "isolated": False,
    "isolatedWallet": "0", "adl": 1, "positionSide": "BOTH", "marginValue": "99227.28611496",
}  # fmt: skip
ORDER = {"orderId": "web_AD_7jz2xjo0ma4nblniq_98", "symbol": "TRUMPUSDT", "side": "SELL", "type": "LIMIT",
         "origQty": "4.44000000", "price": "10.00000000"}  # fmt: skip


def result(privacy: str = "disabled", address: str = USER, **fields: Any) -> dict[str, Any]:
    return {"address": address, "accountPrivacy": privacy, **fields}


def balances(*legs: dict[str, Any], wallet: str = "9049204461.84438644", **fields: Any) -> bytes:
    group = {"tradingProduct": "perps", "positions": list(legs)}
    body = {"result": result(perpAssets=[], positions=[group], staking={}, **fields), "id": 1, "jsonrpc": "2.0"}
    asset = f'{{"asset":"USDT","walletBalance":{wallet}}}'
    return json.dumps(body).replace('"perpAssets": []', f'"perpAssets": [{asset}]').encode()


def orders(*rows: dict[str, Any], **fields: Any) -> bytes:
    return json.dumps({"result": result(openOrders=list(rows), **fields), "id": 1, "jsonrpc": "2.0"}).encode()


def told(link: AddressLink, index: int, body: bytes) -> list[Output]:
    return link.answer(link.state()[index], body, 7, 9)


def test_it_is_polled_at_a_host_of_its_own_and_never_signed() -> None:
    link = by_address()
    assert (link.polled, link.url, link.prepare(), link.audit()) == (True, "", [], [])
    for request in link.state():
        assert (request.host, request.path, request.method) == ("https://tapi.asterdex.com", "/info", "POST")
        assert link.sign(request, 1) is request
    assert link.history(1, ["BTCUSDT"]) == link.find_order("BTCUSDT", "1") == []


def test_the_documentations_sample() -> None:
    link = by_address()
    mode, snapshot, money = told(link, 0, balances(LEG))
    assert isinstance(mode, AccountMode)
    assert isinstance(snapshot, PositionsSnapshot)
    assert isinstance(money, BalanceState)
    assert (mode.computable, mode.hedge, snapshot.asked_at) == (False, False, 7)
    (state,) = snapshot.positions
    assert (state.id, state.side, state.size, state.leverage, state.adl) == (
        "main:BTCUSDT:BOTH",
        "long",
        "1.340",
        "1",
        1,
    )
    assert (state.venue_liquidation_price, state.liquidation_known) == (None, "unknown")
    moved = Decimal(state.size) * (Decimal(state.mark_price or "") - Decimal(state.entry_price or ""))
    assert abs(moved - Decimal(state.venue_unrealized_pnl or "")) < Decimal("1e-7")
    assert (money.coins[0].total, money.pools[0].cash) == ("9049204461.84438644", "9049204461.84438644"), (
        "digits unchanged"
    )


def test_ids_and_scopes_are_those_of_the_signed_path() -> None:
    _, snapshot, money = told(by_address(), 0, balances(LEG))
    (listed,) = told(by_address(), 1, orders(ORDER))
    assert isinstance(snapshot, PositionsSnapshot)
    assert isinstance(money, BalanceState)
    assert isinstance(listed, OpenOrders)
    assert {snapshot.scope, money.scope, listed.scope} == {"perp"}


def test_what_isolated_positions_were_given_is_not_the_pools() -> None:
    isolated = {**LEG, "symbol": "ETHUSDT", "isolated": True, "isolatedWallet": "100.5"}
    _, snapshot, money = told(by_address(), 0, balances(LEG, isolated, wallet="1000.75"))
    assert isinstance(money, BalanceState)
    assert isinstance(snapshot, PositionsSnapshot)
    assert (money.coins[0].total, money.pools[0].cash) == ("1000.75", "900.25")
    assert [state.pool for state in snapshot.positions] == ["USDT", "iso:main:ETHUSDT:BOTH"]


def test_hedge_mode_shows_in_its_legs_and_nothing_is_said_without_any() -> None:
    mode, *_ = told(by_address(), 0, balances({**LEG, "positionSide": "SHORT", "positionAmount": "-1"}))
    nothing, snapshot, _ = told(by_address(), 0, balances())
    assert isinstance(mode, AccountMode)
    assert isinstance(nothing, AccountMode)
    assert isinstance(snapshot, PositionsSnapshot)
    assert (mode.hedge, nothing.hedge, snapshot.positions) == (True, None, ())


def test_open_orders() -> None:
    (listed,) = told(by_address(), 1, orders(ORDER))
    assert isinstance(listed, OpenOrders)
    (order,) = listed.orders
    assert (order.order_id, order.side, order.size, order.price) == (
        "web_AD_7jz2xjo0ma4nblniq_98",
        "sell",
        "4.44000000",
        "10.00000000",
    )


def test_a_list_that_may_be_cut_off_is_no_list() -> None:
    (output,) = told(by_address(), 1, orders(*([ORDER] * 1000)))
    assert isinstance(output, Notice)


@pytest.mark.parametrize("index", [0, 1])
def test_an_account_that_hides_itself_is_not_flat(index: int) -> None:
    with pytest.raises(AuthFailed, match="privacy"):
        told(by_address(), index, (balances, orders)[index](privacy="enabled"))


@pytest.mark.parametrize(
    "body",
    [
        b"{}", b"[]", b"<html>", b'{"error":{"code":-32602,"msg":"Invalid params"},"id":1}', b'{"result":{}}',
        balances(privacy="maybe"), balances(address="0x" + "1" * 40), balances({**LEG, "positionAmount": ""}),
        balances({**LEG, "positionSide": "NET"}), balances(wallet='"x"'),
    ],
)  # fmt: skip
def test_what_is_not_as_documented_is_a_violation(body: bytes) -> None:
    with pytest.raises(ProtocolViolation):
        told(by_address(), 0, body)


def test_positions_of_another_product_are_told() -> None:
    body = json.loads(balances(LEG))
    body["result"]["positions"].append({"tradingProduct": "shield", "positions": [LEG]})
    outputs = told(by_address(), 0, json.dumps(body).encode())
    assert [output.what for output in outputs if isinstance(output, Notice)] == ["positions of 'shield' are not shown"]


def test_it_is_ready_when_both_were_answered() -> None:
    link = by_address()
    told(link, 0, balances(LEG))
    assert not link.ready
    assert events(told(link, 1, orders()))
    assert link.ready
