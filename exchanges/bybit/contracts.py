"""Bybit's contract tables to normalized events: instruments, margin tiers, collateral value ratios. Pure.

Source: Bybit v5 documentation, "Get Instruments Info", "Get Risk Limit" and "Get Tiered Collateral Ratio".
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal

from exchanges.bybit import tables
from exchanges.bybit.parse import Bounds, nonzero, text
from exchanges.bybit.wire import InstrumentRow, Page, RatioRow, TierRow, decode, millis
from exchanges.errors import ProtocolViolation
from exchanges.events import CollateralTier, CollateralTiers, Instrument, MarginTier, MarginTiers, known
from exchanges.venue import Malformed, Output

# 1000PEPE, 10000LADYS, SHIB1000: one unit of the contract's coin is that many of the real one.
_MULTIPLIED = re.compile(r"\A(?:(?P<before>10{3,})(?P<coin>[A-Z].*)|(?P<name>[A-Z]+)(?P<after>10{3,}))\Z")


def parse_instrument(row: InstrumentRow, env: str) -> Instrument:
    """Translate one contract. Sizes are in ``baseCoin`` (linear) or in US dollars (inverse): contract size 1 either way.

    Raises:
        ProtocolViolation: The contract type is none of those known.
    """
    if row.options_type:
        return _option(row, env)
    if row.contract_type not in tables.CONTRACT_TYPES:
        raise ProtocolViolation("bybit", f"{row.symbol}: unknown contract type {row.contract_type!r}")
    kind, contract_type = tables.CONTRACT_TYPES[row.contract_type]
    expires_at = millis(row.delivery_time) if kind == "future" else None  # perpetuals carry meaningless delivery times
    base, multiplier = unfold(row.base_coin)
    return Instrument(
        venue=tables.NAME,
        env=env,
        symbol=row.symbol,
        unified_symbol=unified_symbol(row, expires_at),
        base=base,
        base_multiplier=multiplier,
        quote=row.quote_coin,
        settle=row.settle_coin,
        kind=kind,
        contract_type=contract_type,
        contract_size="1",
        contract_ccy=row.quote_coin if contract_type == "inverse" else row.base_coin,
        tick_size=known(row.price_filter.tick_size),
        min_price=nonzero(row.price_filter.min_price),
        max_price=nonzero(row.price_filter.max_price),
        max_leverage=known(row.leverage_filter.max_leverage),
        tiers_key=row.symbol,
        status=tables.INSTRUMENT_STATUSES.get(row.status, row.status.lower() or "unknown"),
        expires_at=expires_at,
    )


def _option(row: InstrumentRow, env: str) -> Instrument:
    """Translate an option: sizes are in base coin, prices in the settle coin; symbols are BTC-27MAR26-70000-P(-USDT)."""
    parts, expires_at = row.symbol.split("-"), millis(row.delivery_time)
    if len(parts) < 4 or expires_at is None:
        raise ProtocolViolation("bybit", f"{row.symbol}: an option without strike or delivery time")
    base, multiplier = unfold(row.base_coin)
    return Instrument(
        venue=tables.NAME,
        env=env,
        symbol=row.symbol,
        unified_symbol=f"{unified_symbol(row, expires_at)}-{parts[2]}-{parts[3]}",
        base=base,
        base_multiplier=multiplier,
        quote=row.quote_coin,
        settle=row.settle_coin,
        kind="option",
        contract_type="linear",
        contract_size="1",
        contract_ccy=row.base_coin,
        tick_size=known(row.price_filter.tick_size),
        min_price=nonzero(row.price_filter.min_price),
        max_price=nonzero(row.price_filter.max_price),
        status=tables.INSTRUMENT_STATUSES.get(row.status, row.status.lower() or "unknown"),
        expires_at=expires_at,
    )


def unfold(coin: str) -> tuple[str, str]:
    """Return the real coin and how many of it one unit of the contract's coin is: 1000PEPE is ("PEPE", "1000")."""
    found = _MULTIPLIED.match(coin)
    if found is None:
        return coin, "1"
    return (found["coin"], found["before"]) if found["before"] else (found["name"], found["after"])


def unified_symbol(row: InstrumentRow, expires_at: int | None) -> str:
    """Return the symbol in ccxt's form: BTC/USDT:USDT, dated BTC/USDT:USDT-251226 (which keeps 1000PEPE as it is)."""
    name = f"{row.base_coin}/{row.quote_coin}:{row.settle_coin}"
    if expires_at is None:
        return name
    return f"{name}-{datetime.fromtimestamp(expires_at / 1000, UTC):%y%m%d}"


def price_bounds(row: InstrumentRow) -> Bounds | None:
    """Return the lowest and highest price of a contract; liquidation prices outside are sentinels."""
    low, high = known(row.price_filter.min_price), known(row.price_filter.max_price)
    return (Decimal(low), Decimal(high)) if low and high else None


def parse_tiers(rows: Sequence[TierRow], env: str) -> MarginTiers:
    """Translate the tiers of one symbol. ``riskLimitValue`` is a tier's *upper* notional, so a tier starts where one ends.

    Raises:
        ProtocolViolation: The rates are of neither unit.
    """
    tiers: list[MarginTier] = []
    lower = "0"
    for row in sorted(rows, key=lambda row: Decimal(row.risk_limit_value)):
        rate = _maintenance_rate(row)
        deduction = _deduction(row, rate, lower, tiers)
        tiers.append(MarginTier(lower=lower, rate=rate, deduction=deduction, max_leverage=row.max_leverage))
        lower = row.risk_limit_value
    return MarginTiers(venue=tables.NAME, env=env, key=rows[0].symbol, unit="notional", tiers=tuple(tiers))


def _deduction(row: TierRow, rate: str, lower: str, below: Sequence[MarginTier]) -> str:
    """Return the deduction: as sent ("" is documented as 0); where the field is missing, what keeps maintenance continuous."""
    if row.mm_deduction is not None:
        return row.mm_deduction or "0"
    if not below:
        return "0"
    step = Decimal(lower) * (Decimal(rate) - Decimal(below[-1].rate))
    return text(Decimal(below[-1].deduction) + step)


def _maintenance_rate(row: TierRow) -> str:
    """Return the rate as a fraction.

    The documentation's sample shows percent ("1" at 100x), live answers are fractions ("0.01" at 100x): the product of
    initial margin and leverage, which is 1 by definition, tells which.
    """
    product = Decimal(row.initial_margin) * Decimal(row.max_leverage)
    if Decimal("0.5") <= product <= 2:
        return row.maintenance_margin
    if 50 <= product <= 200:
        return f"{Decimal(row.maintenance_margin).scaleb(-2):f}"
    raise ProtocolViolation(
        "bybit", f"{row.symbol}: initial margin {row.initial_margin} does not go with leverage {row.max_leverage}"
    )


def parse_ratios(row: RatioRow, env: str) -> CollateralTiers | None:
    """Translate the collateral value ratios of one coin; None where it has none.

    Each ratio counts for the part of the balance within its tier ("0 - 10", ">10 - 20" …, help centre, "Understanding Collateral
    Value Ratios in Unified Trading Account"); that it is not the whole balance's is how Bybit reads its tiers of maintenance
    margin too, no captured account reached a second tier. A negative balance has no haircut. Beyond the last tier nothing counts.
    """
    tiers = sorted(row.collateral_ratio_list, key=lambda tier: Decimal(tier.min_qty))
    if not tiers:
        return None
    found = [CollateralTier(lower=tier.min_qty, rate=tier.collateral_ratio) for tier in tiers]
    if tiers[-1].max_qty:
        found.append(CollateralTier(lower=tiers[-1].max_qty, rate="0"))
    return CollateralTiers(venue=tables.NAME, env=env, ccy=row.currency, tiers=tuple(found))


def collateral(page: Page, env: str) -> tuple[list[CollateralTiers], list[Output]]:
    """Return the ratios of each coin of a page, and ``Malformed`` for a row that cannot be understood."""
    found: list[CollateralTiers] = []
    notes: list[Output] = []
    for raw in page.rows:
        try:
            tiers = parse_ratios(decode(raw, RatioRow, "a coin's collateral ratios"), env)
        except ProtocolViolation as error:
            notes.append(Malformed(what=str(error)))
            continue
        found += [tiers] if tiers else []
    return found, notes


def instruments(page: Page, env: str) -> list[Output]:
    """Return the contracts of a page, and ``Malformed`` for a row that cannot be understood; its neighbours stand."""
    output: list[Output] = []
    for raw in page.rows:
        try:
            output.append(parse_instrument(decode(raw, InstrumentRow, "a contract"), env))
        except ProtocolViolation as error:
            output.append(Malformed(what=str(error)))
    return output


def bounds(page: Page) -> dict[str, Bounds]:
    """Return the price ranges of the contracts of a page."""
    rows = [decode(raw, InstrumentRow, "a contract") for raw in page.rows]
    found = {row.symbol: price_bounds(row) for row in rows}
    return {symbol: limits for symbol, limits in found.items() if limits is not None}


def margin_tiers(rows: Sequence[TierRow], env: str) -> list[Output]:
    """Return the tiers of each symbol among the rows, ``Malformed`` where a symbol's cannot be understood."""
    by_symbol: dict[str, list[TierRow]] = {}
    for row in rows:
        by_symbol.setdefault(row.symbol, []).append(row)
    output: list[Output] = []
    for of_symbol in by_symbol.values():
        try:
            output.append(parse_tiers(of_symbol, env))
        except ProtocolViolation as error:
            output.append(Malformed(what=str(error)))
    return output
