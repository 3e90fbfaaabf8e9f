"""Who trades at the simulated venues: accounts with their money and their opening positions. Plain tables, never computes."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from exchanges.sim.catalog import Mode, Side, VenueName


@dataclass(frozen=True)
class Opening:
    """A position that an account starts with; ``comes_and_goes`` ones are closed and opened again by themselves.

    ``symbol`` may hold the places of an expiry that ``dated.accounts`` fills in.
    """

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
            (Bybit, account-wide), ``standard`` (Hyperliquid, a pool per dex), ``single`` (Aster, a pool per asset); Aster's
            multi-assets mode is ``multi`` too. An account can be switched to ``portfolio`` (OKX, Bybit: one pool in dollars).
        hedge: Long and short legs are separate positions.
        cash: Mark-independent money by purse (currency; dex on Hyperliquid), isolated margins included.
        spot: Hyperliquid's separate spot balances.
        maker_fee: Instead of the venue's usual one; negative: a rebate.
    """

    name: str
    venue: VenueName
    mode: str
    hedge: bool
    cash: dict[str, Decimal]
    openings: tuple[Opening, ...]
    spot: dict[str, Decimal]
    maker_fee: Decimal | None = None


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
            _open("ETH-USDT-SWAP", "long", "isolated", "20", "10"),
            _open("BTC-USDT-{yymmdd}", "short", "cross", "30", "5"),
            _open("BTC-USD-{yymmdd}", "long", "cross", "100", "5"),
            _open("BTC-USD-{yymmdd}-100000-C", "long", "cross", "40", "1"),
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
        Decimal("-0.00005"),
    ),
    AccountSpec(
        "bybit-main", "bybit", "cross", False, _money(USDT="41020.18", USDC="5200", BTC="0.104"),
        (
            _open("BTCUSDT", "long", "cross", "0.8", "10"),
            _open("ETHUSDT", "short", "cross", "12", "10"),
            _open("SOLUSDT", "long", "cross", "200", "5"),
            _open("XRPUSDT", "short", "cross", "8000", "5", comes_and_goes=True),
            _open("BTCPERP", "short", "cross", "0.1", "5"),
            _open("BTCUSD", "long", "cross", "2400", "5"),
            _open("BTCUSDT-{ddmmmyy}", "long", "cross", "0.05", "5"),
            _open("BTCUSD{quarter}", "short", "cross", "900", "5"),
            _open("BTC-{ddmmmyy}-100000-C-USDT", "long", "cross", "0.5", "1"),
        ),
        {},
        Decimal("-0.00005"),
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
        Decimal("-0.00003"),
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
    AccountSpec(
        "aster-main", "aster", "single", False, _money(USDT="28450.11842907"),
        (
            _open("BTCUSDT", "long", "cross", "0.45", "10"),
            _open("ETHUSDT", "short", "cross", "8", "10"),
            _open("SOLUSDT", "long", "isolated", "60", "8"),
            _open("1000PEPEUSDT", "short", "cross", "400000", "5", comes_and_goes=True),
        ),
        {},
    ),
    AccountSpec(
        "aster-hedge", "aster", "single", True, _money(USDT="14120.5503"),
        (
            _open("BTCUSDT", "long", "cross", "0.2", "10"),
            _open("BTCUSDT", "short", "cross", "0.12", "10"),
            _open("XRPUSDT", "long", "isolated", "3000", "6", comes_and_goes=True),
        ),
        {},
        Decimal("-0.00005"),
    ),
    AccountSpec(
        "aster-multi", "aster", "multi", False, _money(USDT="6230.04", BTC="0.12"),
        (
            _open("ETHUSDT", "long", "cross", "3", "10"),
            _open("SOLUSDT", "short", "cross", "50", "5"),
            _open("DOGEUSDT", "long", "cross", "20000", "5", comes_and_goes=True),
        ),
        {},
    ),
)  # fmt: skip
