"""Every margin model by name: what it covers, by which formula, on what evidence, and whether its figure may be shown.

Evidence, strongest first: ``measured`` (captured rows that hold a venue figure and every input agree with it), ``published`` (an
official worked example is reproduced), ``derived`` (follows from the venue's formulas and margin rules; nobody has compared it).
Pure.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Literal, NamedTuple

Evidence = Literal["measured", "published", "derived"]


class Model(NamedTuple):
    """One model.

    Attributes:
        name: As users see it: venue and mode.
        mode: What it covers, in words.
        formula: Where the published definition places the price; ``s`` is +1 for a long and -1 for a short, ``Q`` size in contract
            currency, ``A`` entry, ``M`` mark. Amounts are in the pool's currency where nothing else is said.
        source: The venue page, example or capture that the evidence rests on.
    """

    name: str
    venue: str
    mode: str
    evidence: Evidence
    formula: str
    source: str


_MODELS = (
    Model(
        "okx_isolated",
        "okx",
        "isolated, linear",
        "measured",
        "(s·A·Q - margin) / (Q·(s - r)), then one tick towards the mark; r = maintenance rate + liquidation fee rate",
        "captured longs; OKX help center, Isolated margin mode. The tick is inferred; a short is the same line mirrored",
    ),
    Model(
        "okx_isolated_inverse",
        "okx",
        "isolated, inverse",
        "published",
        "Q·(s + r) / (margin + s·Q/A), then one tick towards the mark",
        "the sample of the positions channel in OKX's API documentation: 2352.8496681818233",
    ),
    Model(
        "okx_cross",
        "okx",
        "cross in futures mode, per currency, linear and inverse",
        "published",
        "equity of the currency = sum of (maintenance + liquidation fee) of its positions, hedge legs gross; all else at its mark",
        "OKX help center, Futures mode: cross margin trading (maintenance margin ratio per currency)",
    ),
    Model(
        "okx_multi",
        "okx",
        "cross in multi-currency mode, one pool in US dollars",
        "derived",
        "sum of (equity of a currency · discount by tiers · US dollars) - order holds = sum of (maintenance + liquidation fee)",
        "OKX help center, Multi-currency margin mode: cross margin trading (adjusted equity); no example of a liquidation",
    ),
    Model(
        "bybit_isolated",
        "bybit",
        "isolated, linear",
        "published",
        "(A·Q - s·(A·Q/leverage + added/(1 - s·fee) + deduction)) / (Q·(1 - s·rate)), rate of the tier there; down to the tick",
        "Bybit help center, Trading Rules: Liquidation Process (UTA), August 2026: 36,380.25",
    ),
    Model(
        "bybit_isolated_inverse",
        "bybit",
        "isolated, inverse",
        "published",
        "Q·(1 + s·rate) / (Q/A + s·(Q/A/leverage + added/(1 + s·fee) + deduction)), rate of the tier there; down to the tick",
        "Bybit help center, the same page: 66,333.33; Liquidation Price Calculation under Isolated Mode (UTA), May 2026",
    ),
    Model(
        "bybit_cross_single",
        "bybit",
        "unified cross, one linear position on one collateral",
        "measured",
        "M - s·(margin balance - maintenance margin)/Q, dollars unconverted, maintenance held at its present value",
        "captured rows (2e-9)",
    ),
    Model(
        "bybit_cross",
        "bybit",
        "unified cross, linear, several positions or collaterals",
        "derived",
        "M - s·(margin balance - maintenance margin)/Q, dollars unconverted, maintenance held",
        "the formula of a lone position with everything else held; no captured row",
    ),
    Model(
        "bybit_cross_inverse",
        "bybit",
        "unified cross, inverse contracts in the pool in US dollars",
        "derived",
        "1 / (1/M + s·spare/Q), spare = (margin balance - maintenance margin) in the coin",
        "the formula of a lone position in the coin; no captured row",
    ),
    Model(
        "hyperliquid_cross",
        "hyperliquid",
        "cross per dex, standard modes, with margin tiers",
        "measured",
        "M - s·(equity - maintenance)/Q/(1 - s·l), l = 1/(2·maxLeverage) of the row, of the tier at that price",
        "captured states (1.3e-9); Hyperliquid docs, Liquidations and Margin tiers",
    ),
    Model(
        "hyperliquid_isolated",
        "hyperliquid",
        "isolated, with margin tiers",
        "measured",
        "the same on rawUsd + s·Q·M",
        "captured states (1.3e-9); Hyperliquid docs, Liquidations",
    ),
    Model(
        "hyperliquid_unified",
        "hyperliquid",
        "unified account, per collateral token over all dexes",
        "derived",
        "spot total - margins of isolated positions = sum of the dexes' cross maintenance; the rate as in cross",
        "Hyperliquid docs, Account abstraction modes (code of the unified account ratio); no example",
    ),
    Model(
        "aster_isolated",
        "aster",
        "isolated",
        "published",
        "(wallet + cum - s·Q·A) / (Q·rate - s·Q), rate and cum of the bracket at that price",
        "both legs of the sample in Aster's API documentation: 5930.78 and 7189.95",
    ),
    Model(
        "aster_cross",
        "aster",
        "cross in single-asset mode, per margin asset",
        "published",
        "(wallet - other maintenance + other unrealised PnL + cum - s·Q·A) / (Q·rate - s·Q)",
        "Binance FAQ, How to Calculate Liquidation Price of USDⓈ-M Futures Contracts (26,316.89 and 1,153.26): Aster's system",
    ),
    Model(
        "aster_hedge",
        "aster",
        "cross, long and short leg of one symbol",
        "derived",
        "(wallet - other maintenance + other PnL + cum of both - L·A_l + S·A_s) / (L·rate_l + S·rate_s - L + S), of both legs",
        "the same page: both legs of a symbol share one price under cross margin; no example of a hedge",
    ),
    Model(
        "aster_multi",
        "aster",
        "cross in multi-assets mode, one pool in US dollars",
        "derived",
        "sum of (asset · price · collateral ratio) + unrealised PnL = sum of maintenance, each leg as in single-asset mode",
        "Aster docs, Single-asset mode and multi-asset mode (collateral value ratios); no worked example",
    ),
)

CATALOG: dict[str, Model] = {model.name: model for model in _MODELS}


def trusted(name: str, promoted: Collection[str] = ()) -> bool:
    """Say whether a model's figure may be shown as ours: it is measured, or the operator promoted it.

    Raises:
        KeyError: There is no model of that name.
    """
    return CATALOG[name].evidence == "measured" or name in promoted
