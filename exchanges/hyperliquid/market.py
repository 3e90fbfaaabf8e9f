"""What Hyperliquid says about its markets, as events: instruments, margin tiers and mark prices.

Owns the wire shapes of the public side. Pure: bytes in, frozen events out. Raises only ``ProtocolViolation``.
"""

from __future__ import annotations

import base64
import re
import zlib
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from itertools import pairwise

import msgspec

from exchanges.events import CurrencyPrice, FundingRate, Instrument, MarginTier, MarginTiers, Price
from exchanges.hyperliquid import tables
from exchanges.hyperliquid.wire import DIGITS, Name, Wire, clip, computed, decode, dex_of, exact, is_perp, violation
from exchanges.venue import Malformed

_HOUR_MS = 3_600_000
_RATE = re.compile(r"-?\d{1,20}(\.\d{1,40})?")
_PRICE = re.compile(r"\d{1,40}(\.\d{1,40})?")
# kPEPE is a thousand PEPE. The prefix is case-sensitive: KAS is no thousand of AS.
_THOUSANDS = re.compile(r"k(?=[A-Z0-9])")


class Asset(Wire):
    """One coin of a universe. Its maximum leverage may differ from a position's own, which is what drives maintenance."""

    name: Name
    max_leverage: Decimal | None = None
    margin_table_id: int | None = None
    is_delisted: bool | None = None


class Tier(Wire):
    """From this notional on, this maximum leverage."""

    lower_bound: Decimal
    max_leverage: Decimal


class MarginTable(Wire):
    """Tiers, ascending; the first begins at 0."""

    margin_tiers: list[Tier]


class Meta(Wire):
    """One dex: its coins in the order that positional feeds use, its margin tables and its collateral token."""

    universe: list[Asset]
    margin_tables: list[tuple[int, MarginTable]] = msgspec.field(default_factory=list)
    collateral_token: int = 0


class AssetCtx(msgspec.Struct, rename="camel"):
    """The part of an asset context that is read: texts of numbers (JSON strings, rarely numbers, or null).

    ``funding`` is the hourly rate. Spot coins have neither it nor an oracle price.
    """

    mark_px: msgspec.Raw = msgspec.Raw(b"null")
    mid_px: msgspec.Raw = msgspec.Raw(b"null")
    oracle_px: msgspec.Raw = msgspec.Raw(b"null")
    funding: msgspec.Raw = msgspec.Raw(b"null")


class ActiveAssetCtx(Wire):
    """Data of ``activeAssetCtx``."""

    coin: Name
    ctx: AssetCtx


class DexCtxs(Wire):
    """Data of ``assetCtxs``: contexts by position in the dex's universe."""

    ctxs: list[AssetCtx]
    dex: str | None = None


class AllDexsCtxs(Wire):
    """Data of ``allDexsAssetCtxs``."""

    ctxs: list[tuple[str, list[AssetCtx]]]


class Token(Wire):
    """One spot token; positions in the list are not its index."""

    name: Name
    index: int


class SpotPair(Wire):
    """One spot market: base and quote token by index; its name is PURR/USDC or @107."""

    name: Name
    tokens: list[int]


class SpotMeta(Wire):
    """Answer to ``spotMeta``: read for the names of tokens, and for the markets that price them."""

    tokens: list[Token]
    universe: list[SpotPair] = msgspec.field(default_factory=list)


def parse_meta(env: str, dex: str, settle: str, meta: Meta) -> list[Instrument | MarginTiers | Malformed]:
    """Translate one dex's meta into its margin tiers, then its instruments.

    A coin whose table is nowhere defined has no ``tiers_key``, and a ``Malformed`` says so.

    Raises:
        ProtocolViolation: A margin table is not ascending from 0, or has a leverage that is not positive.
    """
    listed = {number: table.margin_tiers for number, table in meta.margin_tables}
    used = {asset.margin_table_id for asset in meta.universe if asset.margin_table_id is not None}
    implicit = {
        number: [Tier(lower_bound=Decimal(0), max_leverage=Decimal(number))]
        for number in used - listed.keys()
        if 0 < number < tables.IMPLICIT_TABLES_BELOW
    }
    known = implicit | listed
    tiers = [margin_tiers(env, tiers_key(dex, number), known[number]) for number in sorted(known)]
    instruments = [_instrument(env, dex, settle, asset, known.keys()) for asset in meta.universe]
    undefined = sorted(used - known.keys())
    problem = Malformed(
        what=clip(f"{tables.NAME}: meta of dex {dex!r} uses margin tables it does not list: {undefined}")
    )
    return [*tiers, *instruments, *([problem] if undefined else [])]


def tiers_key(dex: str, table: int) -> str:
    """Return the key of a margin table: their ids are per dex."""
    return f"{dex}:{table}"


def margin_tiers(env: str, key: str, table: Sequence[Tier]) -> MarginTiers:
    """Compute maintenance rates and deductions of a table.

    rate_n = 1 / (2 * maxLeverage_n); deduction_0 = 0; deduction_n = deduction_{n-1} + lower_n * (rate_n - rate_{n-1}).
    Source: Hyperliquid docs, margin tiers.

    Raises:
        ProtocolViolation: The table is empty, does not begin at 0, is not ascending, or has a leverage of 0 or less.
    """
    lowers = [tier.lower_bound for tier in table]
    ascending = all(lower < upper for lower, upper in pairwise(lowers))
    if not lowers or lowers[0] != 0 or not ascending or any(tier.max_leverage <= 0 for tier in table):
        raise violation(f"margin table {key} is not a list of tiers ascending from 0")
    rates = [DIGITS.divide(Decimal(1), 2 * tier.max_leverage) for tier in table]
    deductions = [Decimal(0)]
    for lower, (below, rate) in zip(lowers[1:], pairwise(rates), strict=True):
        deductions.append(DIGITS.add(deductions[-1], DIGITS.multiply(lower, DIGITS.subtract(rate, below))))
    return MarginTiers(
        venue=tables.NAME,
        env=env,
        key=key,
        unit="notional",
        tiers=tuple(
            MarginTier(
                lower=exact(tier.lower_bound),
                rate=computed(rate),
                deduction=computed(deduction),
                max_leverage=exact(tier.max_leverage),
            )
            for tier, rate, deduction in zip(table, rates, deductions, strict=True)
        ),
    )


def _instrument(env: str, dex: str, settle: str, asset: Asset, known: Iterable[int]) -> Instrument:
    # ccxt writes KPEPE/USDC:USDC and, for HIP-3 dexes, XYZ-XYZ100/USDC:USDC. The base of a HIP-3 coin keeps its dex: who
    # deploys a dex chooses its names and oracles, so that xyz:GOLD and another dex's GOLD need not be one asset.
    ccxt_base = asset.name.replace(":", "-").upper()
    thousands = not dex and _THOUSANDS.match(asset.name) is not None
    base = asset.name[1:] if thousands else ccxt_base if dex else asset.name
    number = asset.margin_table_id
    return Instrument(
        venue=tables.NAME,
        env=env,
        symbol=asset.name,
        unified_symbol=f"{ccxt_base}/{settle}:{settle}",
        base=base,
        base_multiplier="1000" if thousands else "1",
        quote=settle,
        settle=settle,
        kind="perp",
        contract_type="linear",
        contract_size="1",
        contract_ccy=base,
        max_leverage=None if asset.max_leverage is None else exact(asset.max_leverage),
        tiers_key=tiers_key(dex, number) if number is not None and number in known else None,
        status="delisted" if asset.is_delisted else "live",
    )


def inflate(text: str) -> bytes:
    """Undo ``fastAssetCtxs``: base64 of raw DEFLATE without a zlib header.

    Raises:
        ProtocolViolation: It is not that, it is cut off, or it inflates beyond ``tables.MAX_INFLATED_BYTES``.
    """
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        found = inflater.decompress(base64.b64decode(text, validate=True), tables.MAX_INFLATED_BYTES)
    except (ValueError, zlib.error) as bad:
        raise violation(f"fastAssetCtxs is no base64 of raw DEFLATE: {bad}") from None
    if not inflater.eof:
        raise violation(f"fastAssetCtxs is cut off, or inflates to more than {tables.MAX_INFLATED_BYTES} bytes")
    return found


def parse_fast(env: str, text: str) -> list[Price | Malformed]:
    """Translate ``fastAssetCtxs``: the coins whose context changed, each with the keys that changed."""
    ctxs = decode(dict[str, AssetCtx], inflate(text), "fastAssetCtxs")
    return marks(env, ctxs)


def marks(env: str, ctxs: Mapping[str, AssetCtx]) -> list[Price | Malformed]:
    """Return the mark of each perpetual that has one; the venue sends no time with them.

    A price that cannot be read costs that coin alone: all of them together are one ``Malformed``.
    """
    prices: list[Price | Malformed] = []
    bad: list[str] = []
    for coin, ctx in ctxs.items():
        value = _text(ctx.mark_px)
        if value == "null" or not is_perp(coin):
            continue
        if _is_price(value):
            prices.append(Price(venue=tables.NAME, env=env, symbol=coin, value=value))
        else:
            bad.append(f"{coin} {value}")
    if bad:
        prices.append(Malformed(what=clip(f"{tables.NAME}: {len(bad)} marks are no prices: {', '.join(bad[:5])}")))
    return prices


def contexts(env: str, ctxs: Mapping[str, AssetCtx], at: int) -> list[Price | FundingRate | Malformed]:
    """Return marks, oracle prices (index) and funding rates of perpetuals.

    The rate is that of one hour; it is paid at every full hour. Source: Hyperliquid docs, funding.

    Args:
        env: The environment.
        ctxs: Context of each coin.
        at: When they were received (ms since the epoch): the next payment is at the full hour after it.
    """
    found: list[Price | FundingRate | Malformed] = [*marks(env, ctxs)]
    due = at // _HOUR_MS * _HOUR_MS + _HOUR_MS
    for coin, ctx in ctxs.items():
        oracle, rate = _text(ctx.oracle_px), _text(ctx.funding)
        if not is_perp(coin):
            continue
        if _is_price(oracle):
            found.append(Price(venue=tables.NAME, env=env, symbol=coin, value=oracle, kind="index"))
        if _RATE.fullmatch(rate):
            found.append(FundingRate(venue=tables.NAME, env=env, symbol=coin, rate=rate, next_at=due, paid_on="index"))
    return found


def currency_price(env: str, ccy: str, ctx: AssetCtx) -> list[CurrencyPrice]:
    """Return a token's price from its market against USDC: the mid, or the mark where there is no book.

    The venue's dollar is USDC: it has no price of USDC itself.
    """
    usd = next((value for value in (_text(ctx.mid_px), _text(ctx.mark_px)) if _is_price(value)), None)
    return [] if usd is None else [CurrencyPrice(venue=tables.NAME, env=env, ccy=ccy, usd=usd, quote="USDC")]


def pairs(meta: SpotMeta) -> dict[str, str]:
    """Return the market of each token against USDC; the first one where there are several."""
    names = {token.index: token.name for token in meta.tokens}
    found: dict[str, str] = {}
    for pair in meta.universe:
        if len(pair.tokens) == 2 and pair.tokens[1] == tables.DOLLAR_TOKEN and pair.tokens[0] in names:
            found.setdefault(names[pair.tokens[0]], pair.name)
    return found


def _text(value: msgspec.Raw) -> str:
    return bytes(value).decode(errors="replace").strip('"')


def _is_price(value: str) -> bool:
    return _PRICE.fullmatch(value) is not None and bool(value.strip("0."))


def by_dex(metas: Sequence[Meta]) -> list[tuple[str, Meta]]:
    """Name the dexes of ``allPerpMetas``: the first is the main one, the others' coins carry their dex; empty ones have none."""
    return [("" if at == 0 else dex_of(meta.universe[0].name), meta) for at, meta in enumerate(metas) if meta.universe]
