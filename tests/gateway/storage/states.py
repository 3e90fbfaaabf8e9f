"""Records for the storage tests: one of each kind, with figures whose digits a careless store would change."""

from __future__ import annotations

from exchanges.events import (
    BalanceState,
    CoinBalance,
    CollateralTier,
    CollateralTiers,
    Instrument,
    MarginTier,
    MarginTiers,
    PoolState,
    PositionState,
    position_id,
)


def position(
    symbol: str = "BTC-USDT-SWAP", account: str = "main", size: str = "1.50", **fields: object
) -> PositionState:
    known: dict[str, object] = {
        "entry_price": "64000.10",
        "mark_price": "64000.00000000000000000001",
        "venue_unrealized_pnl": "-0.0",
        "leverage": "1E+1",
        "fence": (1763683200123, 9007199254740993),  # the second is not a float
        "venue_at": 1763683200123,
        "take_profit": 'Ä "quoted" \\ \'; --',
    }
    return PositionState(
        account=account,
        id=position_id(account, symbol),
        scope="SWAP",
        symbol=symbol,
        side="long",
        size=size,
        margin_mode="cross",
        pool="USDT",
        **(known | fields),  # type: ignore[arg-type]
    )


def instrument(symbol: str = "BTC-USDT-SWAP", tiers_key: str | None = "BTC-USDT") -> Instrument:
    return Instrument(
        venue="okx",
        env="live",
        symbol=symbol,
        unified_symbol="BTC/USDT:USDT",
        base="BTC",
        quote="USDT",
        settle="USDT",
        kind="perp",
        contract_type="linear",
        contract_size="0.0100",
        contract_ccy="BTC",
        tick_size="0.10",
        min_price="0.10",
        max_price="1999999.80",
        tiers_key=tiers_key,
    )


def tiers(rate: str = "0.0040", key: str = "BTC-USDT") -> MarginTiers:
    return MarginTiers(
        venue="okx",
        env="live",
        key=key,
        unit="contracts",
        tiers=(MarginTier(lower="0", rate=rate, max_leverage="100"), MarginTier(lower="1000", rate="0.0065")),
    )


def collateral(rate: str = "0.950", ccy: str = "BTC") -> CollateralTiers:
    steps = (CollateralTier(lower="0", rate=rate), CollateralTier(lower="20.0", rate="0"))
    return CollateralTiers(venue="okx", env="live", ccy=ccy, tiers=steps)


def balance(total: str = "1000.10", ccy: str = "USDT", *, full: bool = True) -> BalanceState:
    return BalanceState(
        account="main",
        scope="trading",
        full=full,
        coins=(CoinBalance(ccy=ccy, total=total, available="12.0"),),
        pools=(PoolState(pool=ccy, ccy=ccy, cash=total),),
        available="900.00",
        venue_at=1763683200123,
    )
