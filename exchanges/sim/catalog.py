"""What the simulated venues list: plain tables, exact decimals.

Owns underlyings, fees, and perpetual contracts with their margin tiers. Who trades there is ``roster``, what expires ``dated``.
Contract sizes, ticks and tiers follow the shape of the venues' live tables; prices are invented.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Literal

VenueName = Literal["okx", "bybit", "hyperliquid", "aster"]
Mode = Literal["cross", "isolated"]
Side = Literal["long", "short"]
Kind = Literal["perp", "future", "option"]

VENUES: tuple[VenueName, ...] = ("okx", "bybit", "hyperliquid", "aster")
# How often a venue computes a new mark (OKX mark-price channel, Bybit tickers, Hyperliquid "Robust price indices",
# Aster ``markPrice@1s``).
MARK_EVERY_MS: dict[str, int] = {"okx": 200, "bybit": 100, "hyperliquid": 3_000, "aster": 1_000}
# How often funding is paid, at whole multiples of this since the Unix epoch.
FUNDING_EVERY_MS: dict[str, int] = {
    "okx": 28_800_000,
    "bybit": 28_800_000,
    "hyperliquid": 3_600_000,
    "aster": 28_800_000,
}
# A venue's mark leans this far from the common price, so that no two venues agree.
LEAN_BPS: dict[str, Decimal] = {
    "okx": Decimal("0.8"),
    "bybit": Decimal("-1.1"),
    "hyperliquid": Decimal("2.3"),
    "aster": Decimal("-0.6"),
}
# The finest amount that a venue books: what it tells of an amount is then all of it.
CASH_STEPS: dict[str, Decimal] = {
    "okx": Decimal("0.000000000001"),
    "bybit": Decimal("0.00000001"),
    "hyperliquid": Decimal("0.000000000001"),
    "aster": Decimal("0.00000001"),
}
# The taker fee, which is also what closing a liquidated position is assumed to cost.
TAKER_FEE: dict[str, Decimal] = {
    "okx": Decimal("0.0005"),
    "bybit": Decimal("0.00055"),
    "hyperliquid": Decimal("0.00045"),
    "aster": Decimal("0.00035"),
}
# What a maker pays, unless ``AccountSpec.maker_fee`` says otherwise.
MAKER_FEE: dict[str, Decimal] = {
    "okx": Decimal("0.0002"),
    "bybit": Decimal("0.0002"),
    "hyperliquid": Decimal("0.00015"),
    "aster": Decimal("0.0001"),
}
# Dollar price of coins that are not an underlying.
STABLE_USD: dict[str, Decimal] = {"USDT": Decimal("0.9996"), "USDC": Decimal("1"), "USD": Decimal("1")}


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
    """One listed contract.

    Attributes:
        base: The underlying; the price of one unit is the underlying's times ``multiplier`` (1000PEPE: 1000).
        contract_size: Coins (linear) or dollars (inverse) of one unit of size.
        mark_step: What marks are rounded to; finer than ``tick`` on some venues.
        dex: Hyperliquid's builder dex, ``""`` for the main one.
        isolated_tiers: The brackets of isolated positions, where the venue has others for them (OKX ``tdMode``).
        kind: What it is; options are quoted in their settle currency and have only long positions here.
        expires_at: When it settles, milliseconds since the Unix epoch; None for a perpetual.
        strike, call: Of an option.
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
    isolated_tiers: tuple[Tier, ...] = ()
    kind: Kind = "perp"
    expires_at: int | None = None
    strike: Decimal | None = None
    call: bool = False

    @property
    def purse(self) -> str:
        """The name of the balance that this contract's profit and loss goes to: currency, or dex on Hyperliquid."""
        return self.dex if self.venue == "hyperliquid" else self.settle


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


def tiers_of(*rows: tuple[str, str, str], deducted: bool) -> tuple[Tier, ...]:
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
    """List an OKX swap; ``first`` is where the second tier of cross margin starts, in contracts. OKX tiers have no deduction."""
    base, quote, _ = symbol.split("-")
    inverse = quote == "USD"
    rate, top = Decimal(mmr), Decimal(lever)

    def tiers(first: Decimal) -> tuple[Tier, ...]:
        return tiers_of(
            ("0", mmr, lever),
            (str(first), str(rate + Decimal("0.001")), str(top / 2)),
            (str(first * 4), str(rate * 2 + Decimal("0.002")), str(top / 4)),
            (str(first * 20), str(rate * 6), str(top / 10)),
            deducted=False,
        )

    return Contract(
        venue="okx", symbol=symbol, base=base, quote=quote, settle=base if inverse else quote, inverse=inverse,
        contract_size=Decimal(size), tick=Decimal(tick), mark_step=Decimal(tick), lot=Decimal(lot),
        max_leverage=top, tiers=tiers(Decimal(first)), isolated_tiers=tiers(Decimal(first) / 2),
    )  # fmt: skip


def _bybit(symbol: str, base: str, settle: str, tick: str, lot: str, first: str, *, mmr: str = "0.005", lever: str = "100",
           multiplier: str = "1") -> Contract:  # fmt: skip
    """List a Bybit perpetual, inverse where it settles in its base; ``first`` is the first risk limit, in settle currency."""
    rate, top = Decimal(mmr), Decimal(lever)
    tiers = tiers_of(
        ("0", mmr, lever),
        (first, str(rate * 2), str(top / 2)),
        (str(Decimal(first) * 2), str(rate * 3), str(top / 4)),
        (str(Decimal(first) * 5), str(rate * 5), str(top / 10)),
        deducted=True,
    )
    return Contract(
        venue="bybit", symbol=symbol, base=base, quote="USD" if settle == base else settle, settle=settle,
        inverse=settle == base, contract_size=Decimal(1),
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
        max_leverage=Decimal(levers[0][1]), tiers=tiers_of(*rows, deducted=True), multiplier=Decimal(multiplier), dex=dex,
    )  # fmt: skip


def _aster(symbol: str, base: str, tick: str, lot: str, first: str, *, mmr: str = "0.004", lever: str = "100",
           multiplier: str = "1") -> Contract:  # fmt: skip
    """List an Aster perpetual (settled in USDT, contract size 1); ``first`` is where the second bracket starts, in USDT."""
    rate, top = Decimal(mmr), Decimal(lever)
    tiers = tiers_of(
        ("0", mmr, lever),
        (first, str(rate + Decimal("0.001")), str(top / 2)),
        (str(Decimal(first) * 4), str(rate * 2 + Decimal("0.002")), str(top / 4)),
        (str(Decimal(first) * 20), str(rate * 6), str(top / 10)),
        deducted=True,
    )
    return Contract(
        venue="aster", symbol=symbol, base=base, quote="USDT", settle="USDT", inverse=False, contract_size=Decimal(1),
        tick=Decimal(tick), mark_step=Decimal("0.00000001"), lot=Decimal(lot), max_leverage=top, tiers=tiers,
        multiplier=Decimal(multiplier),
    )  # fmt: skip


# Perpetuals; ``dated.contracts`` adds what expires.
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
    _bybit("BTCUSD", "BTC", "BTC", "0.1", "1", "150"),
    _bybit("ETHUSD", "ETH", "ETH", "0.01", "1", "1500"),
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
    _aster("BTCUSDT", "BTC", "0.1", "0.001", "300000"),
    _aster("ETHUSDT", "ETH", "0.01", "0.001", "250000"),
    _aster("SOLUSDT", "SOL", "0.01", "0.01", "100000", mmr="0.01", lever="50"),
    _aster("XRPUSDT", "XRP", "0.0001", "0.1", "100000", mmr="0.01", lever="50"),
    _aster("DOGEUSDT", "DOGE", "0.00001", "1", "100000", mmr="0.01", lever="50"),
    _aster("1000PEPEUSDT", "PEPE", "0.0000001", "1", "50000", mmr="0.015", lever="25", multiplier="1000"),
)
