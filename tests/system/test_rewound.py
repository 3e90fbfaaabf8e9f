"""What the crash matrix holds a replay against knows every price that a base and what follows it hold."""

from __future__ import annotations

import msgspec

from exchanges.events import CurrencyPrice, FundingRate, Price
from gateway.core.journal import Entry, Lost
from gateway.storage.restore import Restored
from tests.gateway.events_of import OKX, balance, feed, instrument, mark, position
from tests.gateway.life import Life, Row
from tests.system import rewound

T0 = 1_760_000_000_000
SYMBOL = "BTC-USDT-SWAP"


def lived() -> tuple[Life, int]:
    """Return a life with a base in its middle, and where that begins."""
    life = Life(OKX, at=T0)
    life.turn(feed("live"), feed("live", None), instrument(), balance(), position(fence=(1,), venue_at=T0), at=T0)
    index = Price(venue="okx", env="live", symbol=SYMBOL, value="119.5", kind="index", at=T0 + 90)
    usdt = CurrencyPrice(venue="okx", env="live", ccy="USDT", usd="0.9991", quote="USD")
    btc = CurrencyPrice(venue="okx", env="live", ccy="BTC", usd="120.1", quote="USDT")
    rate = FundingRate(venue="okx", env="live", symbol=SYMBOL, rate="0.0001", next_at=T0 + 9**8, at=T0, paid_on="index")
    life.turn(mark("120", at=T0 + 100), index, usdt, btc, rate, at=T0 + 100)
    life.clock(T0 + 1_000)
    before = len(life.rows)
    for _ in life.base():
        pass
    life.turn(mark("121", at=T0 + 1_100), at=T0 + 1_100)
    life.clock(T0 + 2_000)
    return life, before


def test_the_prices_within_a_base_are_known() -> None:
    life, before = lived()
    whole, behind = rewound.newest(life.rows), rewound.newest(life.rows[before:])
    assert {key[2:] for key in whole} == {
        (SYMBOL, "mark"), (SYMBOL, "index"), (SYMBOL, "rate"), ("USDT", "usd"), ("BTC", "usd")
    }  # fmt: skip
    assert {key: told(event) for key, (event, _) in behind.items()} == {
        key: told(event) for key, (event, _) in whole.items()
    }
    assert told(behind["okx", "live", SYMBOL, "mark"][0]) == "121"


def told(event: object) -> object:
    """Return what an event says, however it is written."""
    match event:
        case CurrencyPrice():
            return float(event.usd)
        case Price(kind="index"):
            return float(event.value)
        case Price():
            return event.value
    return event


def test_a_gap_without_a_whole_base_behind_it_has_to_be_said() -> None:
    life, before = lived()
    gone = life.rows[before - 3 : before - 1]
    said = Lost(since=gone[0].id, until=gone[-1].id, entries=2)
    lost = Entry(id=said.until, at=T0, kind="lost", epoch="lived", body=msgspec.json.encode(said).decode())
    torn = [*life.rows[: before - 3], lost, life.rows[before - 1]]
    assert rewound.gap(kept(life.rows)) is None
    assert rewound.gap(kept([*torn, *life.rows[before:]])) is None, "a whole base is behind it"
    assert rewound.gap(kept([*torn, *life.rows[before + 1 :]])) == said.until, "that one has no beginning"
    assert rewound.gap(kept(torn)) == said.until
    assert rewound.unsaid(kept(torn), said.until) == []
    assert rewound.unsaid(kept(life.rows), said.until) == [f"replay: it went across the gap that ends at {said.until}"]


def kept(rows: list[Row]) -> rewound.Kept:
    """Return what a database holds of which rows alone count."""
    return rewound.Kept("lived", rows[-1].id, True, tuple(rows), Restored(checkpoint=None))
