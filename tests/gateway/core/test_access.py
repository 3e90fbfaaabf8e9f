from __future__ import annotations

import pytest

from gateway.core.access import LOCAL, Principal, resolve
from gateway.core.protocol import Refusal
from gateway.core.tables import Selection
from tests.gateway.toy import ACCOUNTS, Toy

JOE = Principal("joe", user="joe", accounts=frozenset({"main"}))


def test_the_local_principal_gets_what_it_asks() -> None:
    tables = Toy().tables
    assert resolve(tables, "positions", LOCAL, ACCOUNTS) == Selection("positions")
    asked = resolve(tables, "positions", LOCAL, ACCOUNTS, accounts=["other", "main", "main"], symbols=["B", "A"])
    assert asked == Selection("positions", accounts=("main", "other"), symbols=("A", "B"))


def test_what_is_asked_is_cut_to_what_is_allowed() -> None:
    tables = Toy().tables
    everything = resolve(tables, "positions", JOE, ACCOUNTS)
    assert everything == Selection("positions", accounts=("main",), users=("joe",))
    assert resolve(tables, "positions", JOE, ACCOUNTS, accounts=["main"]) == everything


@pytest.mark.parametrize(
    ("code", "table", "filters"),
    [
        ("unknown_table", "nonsense", {}),
        ("bad_filter", "summary", {"accounts": ["main"]}),
        ("bad_filter", "feeds", {"symbols": ["A"]}),
        ("bad_filter", "positions", {"accounts": []}),
        ("unknown_account", "positions", {"accounts": ["nobody"]}),
        ("unknown_account", "positions", {"accounts": ["main", "other"]}),
    ],
)
def test_what_cannot_be_had_is_refused(code: str, table: str, filters: dict[str, list[str]]) -> None:
    with pytest.raises(Refusal) as caught:
        resolve(Toy().tables, table, JOE, ACCOUNTS, **filters)
    assert caught.value.code == code
