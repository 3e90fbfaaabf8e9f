"""Open orders: single reports by the venue's order, full lists replace their scope, the done stay done."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from exchanges.events import OpenOrders, Order
from tests.gateway.events_of import engine, order, row


def listed(*orders: Order, asked_at: int | None = None, scope: str = "orders") -> OpenOrders:
    return OpenOrders(account="okx-main", scope=scope, orders=orders, asked_at=asked_at)


def test_an_order_is_a_row_while_it_is_open() -> None:
    one = engine()
    one.turn([order(fence=(1,))], 1_000)
    found = row(one, "orders", "okx-main:BTC-USDT-SWAP:7")
    assert (found["side"], found["price"], found["user"], found["status"]) == ("buy", "90", "ann", "live")
    assert not {"open", "scope", "fence", "category", "filled"} & set(found)
    one.turn([order(fence=(2,), filled="0.5")], 2_000)
    assert row(one, "orders", "okx-main:BTC-USDT-SWAP:7")["filled"] == "0.5"
    one.turn([order(fence=(3,), open=False, status="canceled")], 3_000)
    assert not len(one.tables["orders"])


def test_a_full_list_replaces_its_scope_alone() -> None:
    one = engine()
    one.turn([order("1"), order("2"), order("3", scope="algo")], 1_000)
    one.turn([listed(order("2"), order("4"), asked_at=2_000)], 2_100)
    assert {i.rsplit(":", 1)[1] for i in one.tables["orders"].ids()} == {"2", "3", "4"}


def test_a_late_list_neither_revives_the_done_nor_ends_the_new() -> None:
    one = engine()
    one.turn([order("1")], 1_000)
    one.turn([order("1", open=False), order("2")], 3_000)
    one.turn([listed(order("1"), asked_at=2_000)], 4_000)
    assert list(one.tables["orders"].ids()) == [order("2").id]
    assert one.tables["orders"].key_of(one.tables["orders"].slot(order("2").id) or 0).symbol == "BTC-USDT-SWAP"
    one.turn([listed(asked_at=1_500)], 5_000)
    assert one.counters["older_ignored"] == 1, "a list asked before the one that was applied"


@settings(max_examples=200, deadline=None)
@given(states=st.lists(st.booleans(), min_size=1, max_size=6), data=st.data())
def test_any_order_of_reports_ends_at_the_newest(states: list[bool], data: st.DataObject) -> None:
    told = [order(fence=(number,), open=is_open) for number, is_open in enumerate(states, 1)]
    one = engine()
    for now, report in enumerate(data.draw(st.permutations(told)), 1):
        one.turn([report], now)
    assert (order().id in one.tables["orders"]) == states[-1]
