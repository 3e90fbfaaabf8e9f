"""The words of ``perpwire check``, and what they leave out."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

from exchanges.events import CoinBalance, Event
from exchanges.venue import AccountSpec, ConnectionCount, Credentials, Endpoints
from gateway.check import Connection, Found, Holding, why
from gateway.reporting import public, report
from tests.gateway.events_of import balance, engine, instrument, position
from tests.gateway.events_of import row as row_of

ROOT = Path(__file__).parents[2]
_ADDRESS = "0x" + "ab" * 20
_SPEC = AccountSpec(name="desk", venue="hyperliquid", address=_ADDRESS, dexes=("xyz",))
_KEYED = AccountSpec(name="main", venue="okx", credentials=Credentials("theKey0123", "theSecret0123", "the phrase"))


def lines(one: Found) -> str:
    return "\n".join(report([one]))


def test_a_refused_account_says_why_and_shows_nothing_of_what_it_holds() -> None:
    holding = Holding(row={"symbol": "BTC", "kind": "perp", "venue": "okx"}, why="because")
    text = lines(Found(spec=_KEYED, refused="the key is gone", belongs_to=(("demo", "eea"),), holdings=(holding,)))
    assert "main: REFUSED" in text
    assert "the key is gone" in text
    assert "this key works with env: demo, region: eea" in text
    assert "BTC" not in text
    assert "0 of 1 accounts can be read; not: main" in text


def test_a_readable_account_says_what_counts_and_what_does_not() -> None:
    row = {
        "mode": "standard",
        "pools": {"main": {"ccy": "USDC", "equity": 10.0, "maintenance_margin": 1.0, "ratio": 0.1, "source": "model"}},
        "unpriced": ["HYPE"],
    }
    held = {"symbol": "xyz:GOLD", "kind": "perp", "venue": "hyperliquid", "side": "long", "margin_mode": "cross"}
    found = Found(
        spec=_SPEC,
        hosts=Endpoints("https://h", "wss://h", "wss://h"),
        clock_offset_ms=-5_000,
        row=row,
        holdings=(Holding(row={**held, "liquidation_source": "venue", "liquidation_price": 12.5}, why="no model"),),
        coins=(
            CoinBalance(ccy="HYPE", total="2", collateral=False),
            CoinBalance(ccy="BTC", total="1", discount="0.95"),
        ),
        connections=(
            Connection(
                id="desk:private",
                state="live",
                error="a remark",
                refused=("fills: not in this tier",),
                in_use=(ConnectionCount(channel="positions", count=20, limit=30),),
            ),
        ),
    )
    text = lines(found)
    for part in (
        "clock is 5.0 s ahead of that of hyperliquid",
        "main (USDC): equity 10, maintenance 1, ratio 0.1 (model)",
        "HYPE 2, no collateral",
        "BTC 1, counts with 0.95 of its value",
        "desk:private: live (a remark)",
        "refused: fills: not in this tier",
        "positions: 20 of 30 connections",
        "1 perp of dex xyz",
        "xyz:GOLD long cross: liquidation venue at 12.5 (no model)",
        "builder dexes other than: xyz",
        "in dollars, for want of a price: HYPE",
        "deposits in vaults",
        "1 of 1 accounts can be read",
    ):
        assert part in text, part


def test_a_report_says_that_a_model_may_give_way_to_the_venue() -> None:
    held = {"symbol": "BTC", "kind": "perp", "venue": "hyperliquid", "side": "long", "margin_mode": "cross"}
    for source, said in {"model": True, "calibrated": True, "venue": False}.items():
        row = {**held, "liquidation_source": source, "liquidation_price": 12.5}
        found = Found(spec=_SPEC, holdings=(Holding(row=row, why="why"),), row={"mode": "standard"})
        assert ("beyond the bounds its rows show the venue's price" in lines(found)) == said


def test_why_a_row_shows_the_venues_price_is_said_of_each_case() -> None:
    stated: dict[str, Any] = {"venue_liquidation_price": "70", "liquidation_known": "price"}
    held = position(**stated)

    def said(promoted: tuple[str, ...], *more: Event) -> str:
        one = engine(promoted=promoted)
        one.turn([instrument(), balance("100"), held, *more], 1_000)
        return why(one.positions[held.id], row_of(one, "positions", held.id), one.book)

    assert said(()) == "okx_cross was not measured, and `models.promoted` does not name it"
    assert said(("okx_cross",)) == "okx_cross is too far from the venue's price"
    unpriced = position("ETH-USDT-SWAP", mark_price=None, venue_maintenance_margin="1", **stated)
    assert said(("okx_cross",), unpriced) == "okx_cross needs what is not known: the pool's equity"
    option = position("BTC-USD-261225-100000-C", kind="option", side="short", venue_value="-3")
    assert said(("okx_cross",), option) == "no model for a cross position that shares pool USDT"


def test_what_is_published_holds_no_secret_no_whole_address_and_no_address_of_a_machine() -> None:
    refused = f"theKey0123 theSecret0123 the phrase {_ADDRESS} Your IP 203.0.113.7 is not included"
    found = Found(spec=_KEYED, hosts=Endpoints("http://127.0.0.1:8080", "", ""), refused=refused)
    text = public(lines(found), [found])
    for secret in ("theKey0123", "theSecret0123", "the phrase", _ADDRESS, "203.0.113.7"):
        assert secret not in text
    assert "0xabab…abab" in text
    assert "http://127.0.0.1:8080" in text, "hosts are what the report is about"


def test_making_asters_links_leaves_the_recursion_limit_as_it_is() -> None:
    """In a process of its own: the library that raises it does so once, when it is first imported."""
    code = (
        "import sys\n"
        "from exchanges.venue import AccountSpec, Credentials, Endpoints\n"
        "from gateway.feeds import private_links\n"
        "key = Credentials('0x' + '11' * 20, '0x' + '22' * 32)\n"
        "spec = AccountSpec(name='a', venue='aster', credentials=key, address='0x' + '33' * 20)\n"
        "before = sys.getrecursionlimit()\n"
        "try: private_links(spec, Endpoints('https://h', 'wss://h', 'wss://h'))\n"
        "except Exception as error: print(type(error).__name__)\n"
        "print('eth_account' in sys.modules, sys.getrecursionlimit() == before)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.split() == ["AuthFailed", "True", "True"]
