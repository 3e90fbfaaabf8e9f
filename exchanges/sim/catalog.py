"""What the simulated venues list and who trades there: plain tables, exact decimals.

Owns underlyings, contracts with their margin tiers, and the accounts with their opening positions. Never computes.
Contract sizes, ticks and tiers follow the shape of the venues' live tables; prices are invented.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Literal

VenueName = Literal["okx", "bybit", "hyperliquid", "aster"]
Mode = Literal["cross", "isolated"]
Side = Literal["long", "short"]

VENUES: tuple[VenueName, ...] = ("okx", "bybit", "hyperliquid")
# How often a venue computes a new mark (OKX mark-price channel, Bybit tickers, Hyperliquid "Robust price indices").
MARK_EVERY_MS: dict[str, int] = {"okx": 200, "bybit": 100, "hyperliquid": 3_000}
# A venue's mark leans this far from the common price, so that no two venues agree.
LEAN_BPS: dict[str, Decimal] = {"okx": Decimal("0.8"), "bybit": Decimal("-1.1"), "hyperliquid": Decimal("2.3")}
# The taker fee, which is also what closing a liquidated position is assumed to cost.
TAKER_FEE: dict[str, Decimal] = {
    "okx": Decimal("0.0005"),
    "bybit": Decimal("0.00055"),
    "hyperliquid": Decimal("0.00045"),
}
# Dollar price of coins that are not an underlying.
STABLE_USD: dict[str, Decimal] = {"USDT": Decimal("0.9996"), "USDC": Decimal("1"), "USD": Decimal("1")}
# The share of a coin's value that counts as collateral where several coins back one pool.
COLLATERAL_RATE: dict[str, Decimal] = {"BTC": Decimal("0.98"), "ETH": Decimal("0.975")}


@dataclass(frozen=True)
class Underlying:
    """One thing that has a price: where it starts, in dollars, and how far it strays (standard deviation, fraction)."""

    name: str
    price: Decimal
    stray: float


@dataclass(frozen=True)
class Tier:
    """One margin bracket, from ``lower`` on (contracts on OKX, notional in settle currency elsewhere)."""

    lower: Decimal
    rate: Decimal
    deduction: Decimal
    max_leverage: Decimal


@dataclass(frozen=True)
class Contract:
    """One listed perpetual.

    Attributes:
        base: The underlying; the price of one unit is the underlying's times ``multiplier`` (1000PEPE: 1000).
        contract_size: Coins (linear) or dollars (inverse) of one unit of size.
        mark_step: What marks are rounded to; finer than ``tick`` on some venues.
        dex: Hyperliquid's builder dex, ``""`` for the main one.
    """

    venue: VenueName
    symbol: str
    base: str
    quote: str
    settle: str
    inverse: bool
    contract_size: Decimal
    tick: Decimal
    mark_step: Decimal
    lot: Decimal
    max_leverage: Decimal
    tiers: tuple[Tier, ...]
    multiplier: Decimal = Decimal(1)
    dex: str = ""

    @property
    def purse(self) -> str:
        """The name of the balance that this contract's profit and loss goes to: currency, or dex on Hyperliquid."""
        return self.dex if self.venue == "hyperliquid" else self.settle


@dataclass(frozen=True)
class Opening:
    """A position that an account starts with; ``comes_and_goes`` ones are closed and opened again by themselves."""

    symbol: str
    side: Side
    mode: Mode
    size: Decimal
    leverage: Decimal
    comes_and_goes: bool = False


@dataclass(frozen=True)
class AccountSpec:
    """An account before it has secrets.

    Attributes:
        mode: ``futures`` (OKX, a pool per currency), ``multi`` (OKX, one pool in dollars), ``cross`` or ``isolated``
            (Bybit, account-wide), ``standard`` (Hyperliquid, a pool per dex).
        hedge: Long and short legs are separate positions.
        cash: Mark-independent money by purse (currency; dex on Hyperliquid), isolated margins included.
        spot: Hyperliquid's separate spot balances.
    """

    name: str
    venue: VenueName
    mode: str
    hedge: bool
    cash: dict[str, Decimal]
    openings: tuple[Opening, ...]
    spot: dict[str, Decimal]


UNDERLYINGS: tuple[Underlying, ...] = (
    Underlying("BTC", Decimal("86120"), 0.0035),
    Underlying("ETH", Decimal("2856.4"), 0.0045),
    Underlying("SOL", Decimal("131.27"), 0.005),
    Underlying("XRP", Decimal("1.9483"), 0.005),
    Underlying("DOGE", Decimal("0.14126"), 0.005),
    Underlying("PEPE", Decimal("0.0000043215"), 0.006),
    Underlying("LINK", Decimal("12.431"), 0.005),
    Underlying("AVAX", Decimal("13.224"), 0.005),
    Underlying("LTC", Decimal("83.37"), 0.0035),
    Underlying("HYPE", Decimal("32.584"), 0.006),
    Underlying("XYZ100", Decimal("24912"), 0.002),
    Underlying("NVDA", Decimal("178.43"), 0.003),
    Underlying("GOLD", Decimal("4081.5"), 0.0015),
)


def _tiers(*rows: tuple[str, str, str], deducted: bool) -> tuple[Tier, ...]:
    """Build brackets from (lower, rate, max_leverage); with ``deducted``, maintenance is continuous across a boundary."""
    tiers: list[Tier] = []
    deduction, before = Decimal(0), Decimal(0)
    for lower, rate, leverage in rows:
        if deducted and tiers:
            deduction += Decimal(lower) * (Decimal(rate) - before)
        before = Decimal(rate)
        tiers.append(Tier(Decimal(lower), Decimal(rate), deduction, Decimal(leverage)))
    return tuple(tiers)


def _okx(
    symbol: str, size: str, tick: str, first: str, *, lot: str = "0.01", mmr: str = "0.004", lever: str = "100"
) -> Contract:
    """List an OKX swap; ``first`` is where the second tier starts, in contracts. OKX tiers have no deduction."""
    base, quote, _ = symbol.split("-")
    inverse = quote == "USD"
    rate, top = Decimal(mmr), Decimal(lever)
    tiers = _tiers(
        ("0", mmr, lever),
        (first, str(rate + Decimal("0.001")), str(top / 2)),
        (str(Decimal(first) * 4), str(rate * 2 + Decimal("0.002")), str(top / 4)),
        (str(Decimal(first) * 20), str(rate * 6), str(top / 10)),
        deducted=False,
    )
    return Contract(
        venue="okx", symbol=symbol, base=base, quote=quote, settle=base if inverse else quote, inverse=inverse,
        contract_size=Decimal(size), tick=Decimal(tick), mark_step=Decimal(tick), lot=Decimal(lot),
        max_leverage=top, tiers=tiers,
    )  # fmt: skip


def _bybit(symbol: str, base: str, settle: str, tick: str, lot: str, first: str, *, mmr: str = "0.005", lever: str = "100",
           multiplier: str = "1") -> Contract:  # fmt: skip
    """List a Bybit linear perpetual; ``first`` is the first risk limit, in settle currency."""
    rate, top = Decimal(mmr), Decimal(lever)
    tiers = _tiers(
        ("0", mmr, lever),
        (first, str(rate * 2), str(top / 2)),
        (str(Decimal(first) * 2), str(rate * 3), str(top / 4)),
        (str(Decimal(first) * 5), str(rate * 5), str(top / 10)),
        deducted=True,
    )
    return Contract(
        venue="bybit", symbol=symbol, base=base, quote=settle, settle=settle, inverse=False, contract_size=Decimal(1),
        tick=Decimal(tick), mark_step=Decimal(tick) / 10, lot=Decimal(lot), max_leverage=top, tiers=tiers,
        multiplier=Decimal(multiplier),
    )  # fmt: skip


def _hyperliquid(symbol: str, tick: str, lot: str, *levers: tuple[str, str], multiplier: str = "1") -> Contract:
    """List a Hyperliquid perpetual; ``levers`` are (lower notional, max leverage), maintenance is half the initial margin."""
    dex, _, coin = symbol.rpartition(":")
    base = coin[1:] if multiplier != "1" else coin
    rows = [(lower, str(1 / (2 * Decimal(lever))), lever) for lower, lever in levers]
    return Contract(
        venue="hyperliquid", symbol=symbol, base=base, quote="USDC", settle="USDC", inverse=False,
        contract_size=Decimal(1), tick=Decimal(tick), mark_step=Decimal(tick), lot=Decimal(lot),
        max_leverage=Decimal(levers[0][1]), tiers=_tiers(*rows, deducted=True), multiplier=Decimal(multiplier), dex=dex,
    )  # fmt: skip


CONTRACTS: tuple[Contract, ...] = (
    _okx("BTC-USDT-SWAP", "0.01", "0.1", "5000"),
    _okx("ETH-USDT-SWAP", "0.1", "0.01", "9000"),
    _okx("SOL-USDT-SWAP", "1", "0.01", "12000", mmr="0.0065", lever="50"),
    _okx("XRP-USDT-SWAP", "100", "0.0001", "6000", mmr="0.0065", lever="50"),
    _okx("DOGE-USDT-SWAP", "1000", "0.00001", "7000", mmr="0.0065", lever="50"),
    _okx("PEPE-USDT-SWAP", "10000000", "0.000000001", "4000", mmr="0.01", lever="50", lot="0.1"),
    _okx("LTC-USDT-SWAP", "1", "0.01", "8000", mmr="0.0065", lever="50"),
    _okx("LINK-USDT-SWAP", "1", "0.001", "20000", mmr="0.0065", lever="50", lot="0.1"),
    _okx("BTC-USDC-SWAP", "0.0001", "0.1", "300000", lot="1"),
    _okx("BTC-USD-SWAP", "100", "0.1", "20000", lot="1"),
    _okx("ETH-USD-SWAP", "10", "0.01", "60000", lot="1"),
    _bybit("BTCUSDT", "BTC", "USDT", "0.1", "0.001", "2000000"),
    _bybit("ETHUSDT", "ETH", "USDT", "0.01", "0.01", "900000"),
    _bybit("SOLUSDT", "SOL", "USDT", "0.01", "0.1", "500000", mmr="0.01", lever="50"),
    _bybit("XRPUSDT", "XRP", "USDT", "0.0001", "0.1", "400000", mmr="0.01", lever="50"),
    _bybit("DOGEUSDT", "DOGE", "USDT", "0.00001", "1", "300000", mmr="0.01", lever="50"),
    _bybit("1000PEPEUSDT", "PEPE", "USDT", "0.0000001", "100", "100000", mmr="0.01", lever="25", multiplier="1000"),
    _bybit("LINKUSDT", "LINK", "USDT", "0.001", "0.1", "200000", mmr="0.01", lever="50"),
    _bybit("AVAXUSDT", "AVAX", "USDT", "0.001", "0.1", "200000", mmr="0.01", lever="50"),
    _bybit("BTCPERP", "BTC", "USDC", "0.1", "0.001", "1000000"),
    _bybit("ETHPERP", "ETH", "USDC", "0.01", "0.01", "500000"),
    _hyperliquid("BTC", "1", "0.00001", ("0", "40"), ("150000000", "20")),
    _hyperliquid("ETH", "0.1", "0.0001", ("0", "25"), ("100000000", "15")),
    _hyperliquid("SOL", "0.01", "0.01", ("0", "20"), ("70000000", "10")),
    _hyperliquid("XRP", "0.0001", "1", ("0", "20"), ("40000000", "10")),
    _hyperliquid("DOGE", "0.00001", "1", ("0", "10")),
    _hyperliquid("kPEPE", "0.000001", "1", ("0", "10"), multiplier="1000"),
    _hyperliquid("LINK", "0.001", "0.1", ("0", "10")),
    _hyperliquid("AVAX", "0.001", "0.01", ("0", "10")),
    _hyperliquid("HYPE", "0.001", "0.01", ("0", "10")),
    _hyperliquid("xyz:XYZ100", "1", "0.0001", ("0", "20")),
    _hyperliquid("xyz:NVDA", "0.01", "0.001", ("0", "10")),
    _hyperliquid("xyz:GOLD", "0.1", "0.0001", ("0", "20")),
)


def _open(symbol: str, side: Side, mode: Mode, size: str, leverage: str, *, comes_and_goes: bool = False) -> Opening:
    return Opening(symbol, side, mode, Decimal(size), Decimal(leverage), comes_and_goes)


def _money(**amounts: str) -> dict[str, Decimal]:
    return {name: Decimal(amount) for name, amount in amounts.items()}


ACCOUNTS: tuple[AccountSpec, ...] = (
    AccountSpec(
        "okx-main", "okx", "futures", False, _money(USDT="61250.4437", USDC="8040.12", BTC="0.91340027"),
        (
            _open("BTC-USDT-SWAP", "long", "cross", "120", "10"),
            _open("ETH-USDT-SWAP", "short", "cross", "150", "10"),
            _open("SOL-USDT-SWAP", "long", "cross", "300", "5"),
            _open("XRP-USDT-SWAP", "short", "cross", "100", "5"),
            _open("DOGE-USDT-SWAP", "long", "cross", "60", "3", comes_and_goes=True),
            _open("BTC-USD-SWAP", "long", "cross", "600", "5"),
            _open("BTC-USDC-SWAP", "short", "isolated", "1500", "6"),
        ),
        {},
    ),
    AccountSpec(
        "okx-isolated", "okx", "futures", False, _money(USDT="18400.52", ETH="3.2002"),
        (
            _open("BTC-USDT-SWAP", "long", "isolated", "35", "25"),
            _open("LTC-USDT-SWAP", "long", "isolated", "140", "20"),
            _open("ETH-USDT-SWAP", "short", "isolated", "42", "10"),
            _open("PEPE-USDT-SWAP", "long", "isolated", "90", "3", comes_and_goes=True),
            _open("ETH-USD-SWAP", "short", "isolated", "400", "4"),
        ),
        {},
    ),
    AccountSpec(
        "okx-hedge", "okx", "multi", True, _money(USDT="24100.9", BTC="0.2108"),
        (
            _open("BTC-USDT-SWAP", "long", "cross", "40", "10"),
            _open("BTC-USDT-SWAP", "short", "cross", "25", "10"),
            _open("SOL-USDT-SWAP", "long", "isolated", "120", "8"),
            _open("SOL-USDT-SWAP", "short", "isolated", "60", "12", comes_and_goes=True),
        ),
        {},
    ),
    AccountSpec(
        "bybit-main", "bybit", "cross", False, _money(USDT="41020.18", USDC="5200", BTC="0.104"),
        (
            _open("BTCUSDT", "long", "cross", "0.8", "10"),
            _open("ETHUSDT", "short", "cross", "12", "10"),
            _open("SOLUSDT", "long", "cross", "200", "5"),
            _open("XRPUSDT", "short", "cross", "8000", "5", comes_and_goes=True),
            _open("BTCPERP", "short", "cross", "0.1", "5"),
        ),
        {},
    ),
    AccountSpec(
        "bybit-isolated", "bybit", "isolated", False, _money(USDT="9870.33"),
        (
            _open("ETHUSDT", "long", "isolated", "4", "10"),
            _open("1000PEPEUSDT", "short", "isolated", "900000", "5"),
            _open("LINKUSDT", "long", "isolated", "700", "15", comes_and_goes=True),
            _open("DOGEUSDT", "short", "isolated", "40000", "8"),
        ),
        {},
    ),
    AccountSpec(
        "bybit-hedge", "bybit", "cross", True, _money(USDT="15333.07"),
        (
            _open("BTCUSDT", "long", "cross", "0.3", "10"),
            _open("BTCUSDT", "short", "cross", "0.2", "10"),
            _open("AVAXUSDT", "long", "cross", "600", "5", comes_and_goes=True),
        ),
        {},
    ),
    AccountSpec(
        "hl-main", "hyperliquid", "standard", False, {"": Decimal("38220.154302")},
        (
            _open("BTC", "long", "cross", "0.6", "20"),
            _open("ETH", "short", "cross", "9", "10"),
            _open("SOL", "long", "cross", "150", "10"),
            _open("kPEPE", "short", "cross", "1500000", "5"),
            _open("DOGE", "long", "cross", "50000", "3", comes_and_goes=True),
            _open("LINK", "long", "isolated", "400", "8"),
        ),
        _money(USDC="1204.55", HYPE="42.1"),
    ),
    AccountSpec(
        "hl-single", "hyperliquid", "standard", False, {"": Decimal("6120.4471")},
        (_open("HYPE", "short", "cross", "420", "5"),),
        {},
    ),
    AccountSpec(
        "hl-dex", "hyperliquid", "standard", False, {"": Decimal("5210.02"), "xyz": Decimal("9443.81")},
        (
            _open("AVAX", "long", "cross", "800", "5"),
            _open("xyz:XYZ100", "long", "cross", "0.8", "10"),
            _open("xyz:NVDA", "short", "cross", "40", "5", comes_and_goes=True),
            _open("xyz:GOLD", "long", "isolated", "2", "10"),
        ),
        _money(USDC="300"),
    ),
)  # fmt: skip
