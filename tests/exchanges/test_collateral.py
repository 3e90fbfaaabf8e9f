"""When the table of haircuts is asked, and of which currencies it is told."""

from __future__ import annotations

from exchanges.collateral import Haircuts
from exchanges.events import CollateralTier, CollateralTiers
from exchanges.venue import Ask, HttpRequest, Output

REQUEST = HttpRequest(path="/haircuts")
HOUR = 3_600_000


def tiers(ccy: str, rate: str = "0.9") -> CollateralTiers:
    return CollateralTiers(venue="okx", env="live", ccy=ccy, tiers=(CollateralTier(lower="0", rate=rate),))


def told(outputs: list[Output]) -> list[CollateralTiers]:
    return [each for each in outputs if isinstance(each, CollateralTiers)]


def asked(outputs: list[Output]) -> list[HttpRequest]:
    return [each.request for each in outputs if isinstance(each, Ask)]


def test_nothing_is_asked_until_somebody_holds_a_currency() -> None:
    haircuts = Haircuts(REQUEST, HOUR)
    assert haircuts.due(0) == []
    haircuts.want(["BTC"])
    assert asked(haircuts.due(5)) == [REQUEST]
    assert haircuts.due(6) == []


def test_what_is_held_is_told_once_and_again_when_it_changes() -> None:
    haircuts = Haircuts(REQUEST, HOUR)
    haircuts.want(["BTC", "ETH", "NONE"])
    haircuts.due(0)
    haircuts.take([tiers("BTC"), tiers("ETH"), tiers("SOL")])
    assert told(haircuts.due(1)) == [tiers("BTC"), tiers("ETH")]
    assert haircuts.due(2) == []
    haircuts.want(["BTC", "SOL"])
    assert told(haircuts.due(3)) == [tiers("SOL")], "what is wanted later is known already"
    haircuts.take([tiers("BTC", "0.8"), tiers("SOL")])
    assert told(haircuts.due(4)) == [tiers("BTC", "0.8")]


def test_an_old_table_is_asked_again() -> None:
    haircuts = Haircuts(REQUEST, HOUR)
    haircuts.want(["BTC"])
    haircuts.due(10)
    assert asked(haircuts.due(HOUR + 9)) == []
    assert asked(haircuts.due(HOUR + 10)) == [REQUEST]
    assert asked(haircuts.due(HOUR + 11)) == []
