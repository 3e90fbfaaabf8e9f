"""From OKX's public rows to events: contracts, position tiers, discount rates, mark prices. Keeps no state.

Source: OKX v5 docs, public data.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from decimal import Context, Decimal

from exchanges.events import (
    CollateralTier,
    CollateralTiers,
    ContractType,
    FundingRate,
    Instrument,
    MarginMode,
    MarginTier,
    MarginTiers,
    Price,
    known,
)
from exchanges.okx import tables
from exchanges.okx.wire import DiscountRow, FundingRow, InstrumentRow, MarkRow, TierRow

# Wide enough for the exact product of any two figures that the wire schema lets through.
_EXACT = Context(prec=200)
_FOLDED = re.compile(r"^(10{3,6})(?=[A-Z])")


def tiers_key(inst_type: str, family: str) -> str:
    """Return the key of a family's tiers; swaps and expiry futures of one family have tiers of their own."""
    return f"{inst_type}:{family}"


def parse_instrument(row: InstrumentRow, env: str) -> Instrument | None:
    """Translate a contract; None where the row lacks what makes it one (markets before their opening).

    A contract's size is ``ctVal * ctMult`` of ``ctValCcy``: a coin for linear contracts, dollars for inverse ones.
    """
    pair = known(row.uly) or known(row.inst_family) or row.inst_id
    base_id, _, quote = pair.partition("-")
    settle, ccy = known(row.settle_ccy), known(row.ct_val_ccy)
    contract_type = _contract_type(row.ct_type)
    if not (row.ct_val and settle and ccy and quote and contract_type):
        return None
    base, multiplier = fold_base(base_id)
    family = known(row.inst_family) or known(row.uly)
    return Instrument(
        venue=tables.NAME,
        env=env,
        symbol=row.inst_id,
        unified_symbol=_unified(row, f"{base_id}/{quote}:{settle}"),
        base=base,
        base_multiplier=multiplier,
        quote=quote,
        settle=settle,
        kind=tables.KINDS[row.inst_type],
        contract_type=contract_type,
        contract_size=_product(row.ct_val, row.ct_mult),
        contract_ccy=ccy,
        tick_size=known(row.tick_sz),
        max_leverage=known(row.lever),
        tiers_key=tiers_key(row.inst_type, family) if family else None,
        status=row.state or "unknown",
        expires_at=int(row.exp_time) if row.exp_time else None,
        rebased=row.rule_type == "rebase_contract",
    )


def fold_base(base: str) -> tuple[str, str]:
    """Split a bundled base into the coin and how many of it make one: ``1000PEPE`` is 1000 PEPE; ``1INCH`` is a coin."""
    bundle = _FOLDED.match(base)
    return (base[bundle.end() :], bundle[1]) if bundle else (base, "1")


def _contract_type(text: str | None) -> ContractType | None:
    return "linear" if text == "linear" else "inverse" if text == "inverse" else None


def _unified(row: InstrumentRow, pair: str) -> str:
    """Return the ccxt form: expiry futures carry their day, which OKX writes last in the instrument's name."""
    return pair if row.inst_type == "SWAP" else f"{pair}-{row.inst_id.rsplit('-', 1)[-1]}"


def _product(value: str, multiplier: str | None) -> str:
    if not multiplier or Decimal(multiplier) == 1:
        return value
    return format(_EXACT.multiply(Decimal(value), Decimal(multiplier)), "f")


def parse_tiers(
    rows: Iterable[TierRow], inst_type: str, env: str, margin_mode: MarginMode | None = None
) -> list[MarginTiers]:
    """Translate position tiers, one record per family, ascending.

    The flat rate of the tier that a position's size falls into applies to the whole notional: there is no deduction.

    Args:
        rows: Of any number of families.
        inst_type: SWAP or FUTURES.
        env: The environment that events are labelled with.
        margin_mode: The ``tdMode`` that was asked for: rows do not say it, and the two can differ.
    """
    families: dict[str, list[TierRow]] = {}
    for row in rows:
        families.setdefault(known(row.inst_family) or known(row.inst_id) or "", []).append(row)
    return [
        MarginTiers(
            venue=tables.NAME,
            env=env,
            key=tiers_key(inst_type, family),
            unit="contracts",
            tiers=tuple(
                MarginTier(lower=row.min_sz, rate=row.mmr, max_leverage=known(row.max_lever))
                for row in sorted(of_family, key=lambda row: Decimal(row.min_sz))
            ),
            margin_mode=margin_mode,
        )
        for family, of_family in families.items()
    ]


def parse_discount(row: DiscountRow, env: str) -> CollateralTiers | None:
    """Translate the discount rates of one currency; None where it has none.

    Each rate counts for the part of the amount within its tier: OKX's example values 11,000,000 USDT at 1, 0.975 and 0.95 as
    5,000,000 + 4,875,000 + 950,000, and ``disCcyEq`` is the sum up to a tier's end. Beyond the last tier it is ``minDiscountRate``.
    Source: Get discount rate and interest-free quota (``details``; the older ``discountInfo`` counts dollars and is not read);
    help centre, "Multi-currency margin mode: cross margin trading". ``colRes`` restricts new orders alone.
    """
    tiers = sorted(row.details, key=lambda tier: Decimal(tier.min_amt))
    if not tiers:
        return None
    found = [CollateralTier(lower=tier.min_amt, rate=tier.discount_rate) for tier in tiers]
    if tiers[-1].max_amt:
        found.append(CollateralTier(lower=tiers[-1].max_amt, rate=row.min_discount_rate or "0"))
    return CollateralTiers(venue=tables.NAME, env=env, ccy=row.ccy, tiers=tuple(found))


def parse_mark(row: MarkRow, env: str) -> Price:
    """Translate a mark price."""
    at = int(row.ts) if row.ts else None
    return Price(venue=tables.NAME, env=env, symbol=row.inst_id, value=row.mark_px, at=at)


def parse_funding_rate(row: FundingRow, env: str) -> FundingRate:
    """Translate a funding rate: + means that longs pay, as everywhere here."""
    return FundingRate(
        venue=tables.NAME,
        env=env,
        symbol=row.inst_id,
        rate=row.funding_rate,
        next_at=int(row.funding_time) if row.funding_time else None,
        at=int(row.ts) if row.ts else None,
    )
