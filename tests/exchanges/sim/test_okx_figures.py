"""OKX's own figures: checked against rows that the real venue published, and against full revaluation of the world."""

from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from exchanges.sim import okx_figures as figures
from exchanges.sim import okx_market as market
from exchanges.sim import revalue
from exchanges.sim.catalog import Mode, Side
from exchanges.sim.revalue import Key, Position
from exchanges.sim.world import World

BEGIN = 1_763_683_200_000
NEAR = Decimal("1e-9")


def near(left: str | Decimal, right: str | Decimal) -> bool:
    return abs(Decimal(left) - Decimal(right)) <= NEAR * max(1, abs(Decimal(right)))


def alone(world: World, symbol: str, **fields: Any) -> Position:
    """Return an isolated position that some world would hold."""
    side: Side = fields.pop("side")
    return Position(
        id=1, account="okx-isolated", venue="okx", symbol=symbol, leg="net", mode="isolated", side=side,
        leverage=Decimal(10), opened_at=0, updated_at=0, trade_id=1, **fields,
    )  # fmt: skip


def test_the_isolated_inverse_liquidation_price_of_the_documentation() -> None:
    """The sample's margin ratio implies a maintenance rate of 0.008; its liquidation price comes one tick early."""
    world = World(1, BEGIN)
    contract = world.contract("okx", "ETH-USD-SWAP")
    units = Decimal(10)  # one contract of 10 USD
    margin, entry, rate = Decimal("0.0003896645377994"), Decimal("2566.31"), Decimal("0.008") + Decimal("0.0005")
    position = alone(world, contract.symbol, side="long", size=Decimal(1), entry_price=entry, margin=margin)
    tier = contract.tiers[0]
    tiers = (replace(tier, rate=rate - Decimal("0.0005")),)
    world.contracts["okx", contract.symbol] = replace(contract, tiers=tiers, isolated_tiers=tiers)
    account = world.account("okx-isolated")
    account.positions[position.key] = position
    price = figures.liquidation_price(world, account, position, figures.pool_of(world, account, position))
    assert price is not None
    assert units * (1 + rate) / (margin + units / entry) + contract.tick == price
    assert near(price, "2352.8496681818233")


@pytest.mark.parametrize(("account", "symbol"), [
    ("okx-isolated", "BTC-USDT-SWAP"), ("okx-isolated", "ETH-USDT-SWAP"), ("okx-isolated", "ETH-USD-SWAP"),
    ("okx-main", "BTC-USDT-SWAP"), ("okx-main", "XRP-USDT-SWAP"), ("okx-main", "BTC-USD-SWAP"), ("okx-hedge", "BTC-USDT-SWAP"),
])  # fmt: skip
def test_at_the_reported_price_the_pool_is_spent_exactly(account: str, symbol: str) -> None:
    """Full revaluation with this position's mark moved to liqPx (less the tick) leaves equity equal to the requirement."""
    world = World(5, BEGIN)
    owner = world.account(account)
    position = next(p for p in reversed(world.positions(account)) if p.symbol == symbol)
    row = figures.position_row(world, owner, position, BEGIN)
    contract = world.contract("okx", symbol)
    tick = position.sign * contract.tick if position.mode == "isolated" else Decimal(0)
    others = [p for p in world.positions(account) if p.symbol == symbol and p != position]
    for other in others:  # the venue's estimate holds every other position where it is, the other leg too
        owner.positions.pop(other.key)
        row = figures.position_row(world, owner, position, BEGIN)
    world._marks["okx", symbol] = Decimal(row["liqPx"]) - tick
    pool = figures.pool_of(world, owner, position)
    assert abs(pool.equity - pool.requirement) < Decimal("1e-6") * max(abs(pool.requirement), Decimal(1))


def test_a_price_that_does_not_exist_is_empty() -> None:
    world = World(1, BEGIN)
    rows = {
        p.symbol: figures.position_row(world, world.account("okx-main"), p, BEGIN) for p in world.positions("okx-main")
    }
    assert rows["SOL-USDT-SWAP"]["liqPx"] == ""
    assert rows["BTC-USDT-SWAP"]["liqPx"] != ""


def test_a_row_agrees_with_itself() -> None:
    world = World(2, BEGIN)
    world.step(BEGIN + 9_000)
    for account in world.accounts_of("okx"):
        for position in world.positions(account.name):
            row = figures.position_row(world, account, position, BEGIN)
            contract = world.contract("okx", position.symbol)
            entry, mark, size = (Decimal(row[name]) for name in ("avgPx", "markPx", "pos"))
            sign = 1 if (row["posSide"] == "long" or (row["posSide"] == "net" and size > 0)) else -1
            units = abs(size) * contract.contract_size
            upl = sign * units * ((1 / entry - 1 / mark) if contract.inverse else (mark - entry))
            notional = units / mark if contract.inverse else units * mark
            if contract.kind == "option":
                assert near(row["optVal"], notional)
                assert (row["lever"], row["liqPx"], row["imr"]) == ("", "", "0")
                continue
            assert near(row["upl"], upl)
            assert near(row["mmr"], notional * contract.tiers[0].rate)
            assert near(row["notionalUsd"], notional * Decimal(row["usdPx"]))
            if row["mgnMode"] == "isolated":
                ratio = (Decimal(row["margin"]) + upl) / (notional * (contract.tiers[0].rate + Decimal("0.0005")))
                assert near(row["mgnRatio"], ratio)
                assert row["imr"] == ""
            else:
                assert near(row["imr"], notional / Decimal(row["lever"]))
                assert row["margin"] == ""


def test_balances_follow_the_identity_of_a_live_answer() -> None:
    """eq = cashBal + cross upl + isoEq + options, isoEq = margins + isoUpl, upl of all but options (as a captured answer)."""
    world = World(4, BEGIN)
    world.step(BEGIN + 9_000)
    for account in world.accounts_of("okx"):
        positions = world.positions(account.name)
        row = figures.account_row(world, account)
        for coin in row["details"]:
            mine = [p for p in positions if world.contract("okx", p.symbol).settle == coin["ccy"]]
            isolated = [p for p in mine if p.margin is not None]
            iso_upl = sum((world.unrealized_pnl(p) for p in isolated), Decimal(0))
            options = [p for p in mine if world.contract("okx", p.symbol).kind == "option"]
            upl = sum((world.unrealized_pnl(p) for p in mine if p not in options), Decimal(0))
            worth = sum((world.worth(p) for p in options), Decimal(0))
            iso_eq = sum((p.margin for p in isolated if p.margin), Decimal(0)) + iso_upl
            assert near(coin["isoUpl"], iso_upl)
            assert near(coin["isoEq"], iso_eq)
            assert near(coin["upl"], upl)
            assert near(coin["eq"], Decimal(coin["cashBal"]) + (upl - iso_upl) + iso_eq + worth)
            assert near(Decimal(coin["cashBal"]) + iso_eq - iso_upl, account.cash[coin["ccy"]])
        total = sum(Decimal(coin["eqUsd"]) for coin in row["details"])
        assert near(row["totalEq"], total)


def test_which_figures_are_filled_depends_on_the_mode() -> None:
    world = World(1, BEGIN)
    futures = figures.account_row(world, world.account("okx-main"))
    multi = figures.account_row(world, world.account("okx-hedge"))
    assert {futures[name] for name in ("adjEq", "imr", "mmr", "mgnRatio", "notionalUsd", "upl")} == {""}
    assert all(multi[name] for name in ("adjEq", "imr", "mmr", "mgnRatio", "notionalUsd", "upl"))
    by_coin = {coin["ccy"]: coin for coin in futures["details"]}
    assert by_coin["USDT"]["mgnRatio"]
    assert by_coin["USDC"]["mgnRatio"] == ""  # holds an isolated position only
    assert {coin["mgnRatio"] for coin in multi["details"]} == {""}


def test_portfolio_margin_has_neither_leverage_nor_liquidation_price() -> None:
    world = World(1, BEGIN)
    world.modes.switch_account("okx-main", "portfolio")
    owner = world.account("okx-main")
    rows = [figures.position_row(world, owner, p, BEGIN) for p in world.positions("okx-main")]
    assert {(row["lever"], row["liqPx"]) for row in rows if row["mgnMode"] == "cross"} == {("", "")}
    assert {row["lever"] for row in rows if row["mgnMode"] == "isolated"} == {"6", "10"}
    assert figures.config_row(owner, "read_only")["acctLv"] == "4"
    assert figures.account_row(world, owner)["mgnRatio"]


def test_figures_have_sixteen_decimals_at_most_and_no_exponent() -> None:
    assert figures.figure(Decimal(1) / 3) == "0.3333333333333333"
    assert figures.figure(Decimal("6E+4")) == "60000"
    assert figures.figure(Decimal("-0.000")) == "0"
    assert figures.figure(Decimal("0.0240")) == "0.024"


def test_tiers_are_contiguous_and_in_contracts() -> None:
    world = World(1, BEGIN)
    rows = market.tier_rows(world.contract("okx", "BTC-USDT-SWAP"))
    assert [row["tier"] for row in rows] == ["1", "2", "3", "4"]
    assert [row["maxSz"] for row in rows[:-1]] == [row["minSz"] for row in rows[1:]]
    assert (rows[0]["minSz"], rows[0]["mmr"], rows[0]["imr"], rows[0]["maxLever"]) == ("0", "0.004", "0.01", "100")


def test_isolated_positions_have_tiers_of_their_own() -> None:
    world = World(1, BEGIN)
    contract = world.contract("okx", "BTC-USDT-SWAP")
    cross, isolated = market.tier_rows(contract), market.tier_rows(contract, "isolated")
    assert [row["minSz"] for row in isolated[1:]] == [str(int(row["minSz"]) // 2) for row in cross[1:]]
    modes: tuple[Mode, ...] = ("cross", "isolated")
    size = Decimal(isolated[1]["minSz"]) + 1
    rates = [revalue.tier_of(contract, size, Decimal(1), mode).rate for mode in modes]
    assert rates == [Decimal(cross[0]["mmr"]), Decimal(isolated[1]["mmr"])]


def test_hedge_rows_are_positive_and_name_their_leg() -> None:
    world = World(1, BEGIN)
    owner = world.account("okx-hedge")
    short = owner.positions[Key("BTC-USDT-SWAP", "short", "cross")]
    row = figures.position_row(world, owner, short, BEGIN)
    assert (row["pos"], row["posSide"], row["availPos"]) == ("25", "short", "25")
