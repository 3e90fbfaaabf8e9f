"""Positions as they stood at a past moment: what the venues had last said, with sampled marks, by the engine's arithmetic. Pure.

A fresh engine is given the contracts, the states and the marks as one turn, as the live one was. Balances of that moment are not
kept apart, so that no pool that reaches beyond its position is known: where it is liquidated is ``unknown``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import msgspec

from exchanges.events import CurrencyPrice, Event, Instrument, MarginTiers, PositionState, Price
from gateway.core.sums import Rate
from gateway.engine import Engine

Row = dict[str, object]
SymbolKey = tuple[str, str, str]  # venue, env, symbol

# Of shares, scores and life: they are of the present alone. Of cross positions: what their pool would have to be known for.
_OF_NOW = ("stale", "weight", "risk_score", "next_funding", "next_funding_at", "funding_rate")
_OF_THE_POOL = ("liquidation_price", "trigger_price", "liquidation_distance")


def rows(
    engine: Engine,
    states: Iterable[tuple[PositionState, int]],
    contracts: Sequence[Instrument | MarginTiers],
    marks: Mapping[SymbolKey, tuple[str, int | None]],
    rates: Mapping[tuple[str, str, str], Rate],
    at: int,
) -> dict[str, Row]:
    """Return positions by id as ``/v1/positions`` would have shown them.

    Args:
        engine: Without state, of the accounts that are asked for: it is used up (``Engine.alike``).
        states: With the moment at which each came (our clock).
        marks: The text of each mark, and the moment that it is of. Without one a position keeps the mark of its own report.
        rates: (venue, env, currency) → its price in US dollars then.
    """
    engine.turn([*contracts, *_currencies(rates)], at)
    for state, came in sorted(states, key=lambda one: (one[1], one[0].id)):
        # Without the venue's order: nothing here is older than anything else.
        engine.turn([msgspec.structs.replace(state, fence=())], came)
    for (venue, env, symbol), (value, of) in marks.items():
        engine.turn([Price(venue=venue, env=env, symbol=symbol, value=value, at=of)], of if of is not None else at)
    engine.clock(at)  # prices of currencies count from here on
    return {row_id: _row(engine, row_id) for row_id in sorted(engine.positions)}


def _currencies(rates: Mapping[tuple[str, str, str], Rate]) -> list[Event]:
    return [
        CurrencyPrice(venue=venue, env=env, ccy=ccy, usd=repr(rate.usd), at=rate.at)
        for (venue, env, ccy), rate in rates.items()
        if rate.usd == rate.usd and ccy != "USD"
    ]


def _row(engine: Engine, row_id: str) -> Row:
    version = engine.tables["positions"].get(row_id)
    assert version is not None, f"{row_id} is open and has a row"
    row = {name: value for name, value in version.row.items() if name not in _OF_NOW}
    if row.get("margin_mode") != "isolated":
        row = {name: value for name, value in row.items() if name not in _OF_THE_POOL} | {
            "liquidation_source": "unknown"
        }
    return row
