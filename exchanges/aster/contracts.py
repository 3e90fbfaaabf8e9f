"""Aster's contract table and margin brackets to normalized events. Pure.

Source: api-docs, "Exchange Information" and "Notional and Leverage Brackets".
"""

from __future__ import annotations

import re

from msgspec import Raw

from exchanges.aster import tables
from exchanges.aster.wire import Brackets, ExchangeInfo, SymbolRow, decode, plain
from exchanges.errors import ProtocolViolation
from exchanges.events import Instrument, MarginTier, MarginTiers, known
from exchanges.venue import Malformed, Output

# 1000PEPE, 1MBABYDOGE: one unit of the contract's coin is that many of the real one.
_THOUSANDS = re.compile(r"\A(10{3,})([A-Z].*)\Z")
_STATUSES = {"TRADING": "live"}  # any other is passed on in the venue's own word, lower case


def unfold(coin: str) -> tuple[str, str]:
    """Return the real coin and how many of it one unit of the contract's coin is."""
    found = _THOUSANDS.match(coin)
    return (found[2], found[1]) if found else (coin, "1")


def instrument(row: SymbolRow, env: str) -> Instrument:
    """Translate one contract: always linear, sizes in base coin. ``pricePrecision`` is documented as no tick size.

    Raises:
        ProtocolViolation: The contract type is none of those known.
    """
    if row.contract_type != "PERPETUAL":
        raise ProtocolViolation("aster", f"{row.symbol}: unknown contract type {row.contract_type!r}")
    base, multiplier = unfold(row.base_asset)
    ticks = [rule.tick_size for rule in row.filters if rule.filter_type == "PRICE_FILTER"]
    return Instrument(
        venue=tables.NAME,
        env=env,
        symbol=row.symbol,
        unified_symbol=f"{row.base_asset}/{row.quote_asset}:{row.margin_asset}",
        base=base,
        base_multiplier=multiplier,
        quote=row.quote_asset,
        settle=row.margin_asset,
        kind="perp",
        contract_type="linear",
        contract_size="1",
        contract_ccy=row.base_asset,
        tick_size=known(ticks[0]) if ticks else None,
        tiers_key=row.symbol,
        status=_STATUSES.get(row.status, row.status.lower() or "unknown"),
    )


def instruments(body: bytes, env: str) -> list[Output]:
    """Return every contract, and ``Malformed`` for a row that cannot be understood; its neighbours stand."""
    output: list[Output] = []
    for raw in decode(body, ExchangeInfo, "the contract table").symbols:
        try:
            output.append(instrument(decode(raw, SymbolRow, "a contract"), env))
        except ProtocolViolation as error:
            output.append(Malformed(what=str(error)))
    return output


def brackets(body: bytes, env: str, account: str) -> list[Output]:
    """Return the brackets of every symbol (one object where one was asked), ``Malformed`` for those that cannot be read.

    The venue shows them to accounts alone, and they can differ from one to the other: they are that account's.
    """
    single = body.lstrip()[:1] == b"{"
    output: list[Output] = []
    for raw in [Raw(body)] if single else decode(body, list[Raw], "the margin brackets"):
        try:
            output.append(tiers(decode(raw, Brackets, "a symbol's margin brackets"), env, account))
        except ProtocolViolation as error:
            output.append(Malformed(what=str(error)))
    return output


def tiers(row: Brackets, env: str, account: str) -> MarginTiers:
    """Translate the brackets of one symbol: maintenance = notional * ratio - cum. Raises ProtocolViolation."""
    found = [
        MarginTier(
            lower=plain(each.notional_floor, f"{row.symbol}: notionalFloor"),
            rate=plain(each.maint_margin_ratio, f"{row.symbol}: maintMarginRatio"),
            deduction=plain(each.cum, f"{row.symbol}: cum"),
            max_leverage=plain(each.initial_leverage, f"{row.symbol}: initialLeverage"),
        )
        for each in row.brackets
    ]
    if not found:
        raise ProtocolViolation("aster", f"{row.symbol}: no margin bracket")
    ordered = tuple(sorted(found, key=lambda tier: float(tier.lower)))
    return MarginTiers(venue=tables.NAME, env=env, key=row.symbol, unit="notional", tiers=ordered, account=account)
