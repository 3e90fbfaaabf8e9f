"""Explanations: a model's own figure is told where there is a model, and the venue's always."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.core.explain import explain
from tests.gateway.events_of import balance, engine, instrument, position


def pnl(contract_type: str, **fields: Any) -> dict[str, Any]:
    """Return what is told of the PnL of a position of one contract."""
    one, inverse = engine(), contract_type == "inverse"
    settle = "BTC" if inverse else "USDT"
    held = position("X", size="1", settle=settle, contract_type=None, **fields)
    market = instrument(
        "X", settle=settle, contract_type=contract_type, kind=held.kind, contract_size="100" if inverse else "1"
    )
    one.turn([market, balance(), held], 1_000)
    told: Any = explain(one.positions[held.id], one.book)["unrealized_pnl"]
    return dict(told)


@pytest.mark.parametrize(
    ("contract_type", "entry", "mark", "stated", "wanted"),
    [
        ("linear", "60000", "75000", "15000", 15_000.0),
        ("inverse", "60000", "75000", "0.00033333", 100 / 60_000 - 100 / 75_000),
    ],
)
def test_the_models_pnl_counts_from_the_published_entry(
    contract_type: str, entry: str, mark: str, stated: str, wanted: float
) -> None:
    told = pnl(contract_type, entry_price=entry, mark_price=mark, venue_unrealized_pnl=stated)
    assert (told["name"], told["venue"]) == (contract_type, stated)
    assert told["model"] == pytest.approx(wanted, rel=1e-12)
    assert told["residual"] == pytest.approx(wanted - float(stated), abs=1e-12)


@pytest.mark.parametrize("kind", ["option", "margin"])
def test_where_no_formula_gives_a_pnl_none_is_told(kind: str) -> None:
    told = pnl("inverse", kind=kind, side="short", entry_price="0.05", mark_price="0.04", venue_unrealized_pnl="0.1")
    assert told["venue"] == "0.1"
    assert not {"model", "residual", "name"} & told.keys()


def test_without_an_entry_there_is_nothing_to_count_from() -> None:
    told = pnl("inverse", entry_price="0", mark_price="60000", venue_unrealized_pnl="0")
    assert not {"model", "residual"} & told.keys()
