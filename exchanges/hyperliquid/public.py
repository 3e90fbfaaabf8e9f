"""Hyperliquid's markets: marks of all coins, contexts of those that are held, prices of tokens, contracts and margin tables.

Owns what a connection knows of the market: the universes of positional feeds, names of tokens. Pure: frames and answers go in,
events and signals come out; the dialect is in ``session``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import islice
from typing import Any

import msgspec

from exchanges.events import Price
from exchanges.hyperliquid import build, market, tables, wire
from exchanges.hyperliquid.session import Known, Session
from exchanges.venue import HttpRequest, Notice, Output


class PublicLink(Session):
    """All marks by one topic (``fastAssetCtxs``: every coin first, then changes), instruments and tiers by REST."""

    connection = "public"

    def __init__(self, url: str, env: str, known: Known | None = None) -> None:
        self._known = known or Known()
        super().__init__(url, ("fastAssetCtxs", "allPerpMetas") if self._known.dexes is None else ("fastAssetCtxs",))
        self._env = env
        self._universes: dict[str, tuple[str, ...]] = {}  # coins of each dex, in the order of positional feeds
        self._tokens = dict(tables.COLLATERAL.get(env, {}))
        self._unnamed: dict[str, market.Meta] = {}  # dexes whose collateral token has no name yet
        self._strange: set[str] = set()  # coins with a mark and no contract, for which the contracts were asked again

    def topics(self) -> tuple[str, ...]:
        """Return the one topic that brings every coin's mark: the whole first, then what changed."""
        return (build.topic("fastAssetCtxs"),)

    def price_topics(self, symbols: Iterable[str], currencies: Iterable[str] = ()) -> tuple[str, ...]:
        """Return the contexts of those coins (funding, oracle price) and of the spot markets of those tokens, once known.

        Marks need none: one topic brings them all. Beyond ``tables.MAX_CONTEXTS`` a coin has its mark alone.
        """
        coins = [symbol for symbol in symbols if symbol in self._known.coins]
        markets = [self._known.pairs[ccy] for ccy in currencies if ccy in self._known.pairs]
        wanted = islice(dict.fromkeys((*markets, *coins)), tables.MAX_CONTEXTS)
        return tuple(build.topic("activeAssetCtx", coin=coin) for coin in wanted)

    def watch(self) -> Mapping[str, float]:
        """Return the marks: of several hundred coins some change every few seconds."""
        return dict.fromkeys(self.topics(), tables.MARKS_WITHIN_S)

    def bootstrap(self) -> list[HttpRequest]:
        """Ask for the contracts and margin tables of all dexes at once, and for the spot markets that price tokens."""
        return [build.info("allPerpMetas"), build.info("spotMeta")]

    def _channel(self, channel: str, data: msgspec.Raw, at: int) -> list[Output]:
        match channel:
            case "fastAssetCtxs":
                marks = market.parse_fast(self._env, wire.decode(str, data, channel))
                self._waiting.discard(channel)
                return [*marks, *self._heard(build.topic(channel)), *self._newly_listed(marks, at)]
            case "activeAssetCtx":
                one = wire.decode(market.ActiveAssetCtx, data, channel)
                return [*market.contexts(self._env, {one.coin: one.ctx}, at)]
            case "activeSpotAssetCtx":
                spot = wire.decode(market.ActiveAssetCtx, data, channel)
                tokens = [ccy for ccy, coin in self._known.pairs.items() if coin == spot.coin]
                return [price for ccy in tokens for price in market.currency_price(self._env, ccy, spot.ctx)]
            case "assetCtxs":
                dex = wire.decode(market.DexCtxs, data, channel)
                return self._positional(dex.dex or "", dex.ctxs, at)
            case "allDexsAssetCtxs":
                dexes = wire.decode(market.AllDexsCtxs, data, channel).ctxs
                return [output for dex, ctxs in dexes for output in self._positional(dex, ctxs, at)]
        raise wire.violation(f"channel {channel!r} is not one of the public connection")

    def _newly_listed(self, marks: Iterable[object], at: int) -> list[Output]:
        """Ask for the contracts again where a coin has a mark and no contract: once for each such coin."""
        coins = {mark.symbol for mark in marks if isinstance(mark, Price)} - self._known.coins - self._strange
        if not coins or self._known.dexes is None or len(self._strange) >= tables.MAX_STRANGE:
            return []
        asks = self._ask(build.info("allPerpMetas"), at)
        if asks:
            self._strange |= coins
        return asks

    def _answer(self, kind: str, asked: dict[str, Any], body: bytes, asked_at: int, at: int) -> list[Output]:
        match kind:
            case "allPerpMetas":
                metas = market.by_dex(wire.decode(list[market.Meta], body, kind))
                outputs = [output for dex, meta in metas for output in self._meta(dex, meta, at)]
                self._known.learn((dex, meta.collateral_token) for dex, meta in metas)
                return outputs
            case "meta":
                return self._meta(str(asked.get("dex") or ""), wire.decode(market.Meta, body, kind), at)
            case "metaAndAssetCtxs":
                dex = str(asked.get("dex") or "")
                meta, ctxs = wire.decode(tuple[market.Meta, list[market.AssetCtx]], body, kind)
                return [*self._meta(dex, meta, at), *self._positional(dex, ctxs, at)]
            case "spotMeta":
                spot = wire.decode(market.SpotMeta, body, kind)
                self._tokens |= {token.index: token.name for token in spot.tokens}
                self._known.pairs = market.pairs(spot)
                waiting, self._unnamed = self._unnamed, {}
                return [output for dex, meta in waiting.items() for output in self._meta(dex, meta, at)]
        if kind in tables.PUBLIC_INFO:
            return []  # a recording may hold them; nothing here reads them
        raise wire.violation(f"an answer to {kind!r} is not one of the public connection")

    def _meta(self, dex: str, meta: market.Meta, at: int) -> list[Output]:
        if dex not in self._universes and len(self._universes) >= tables.MAX_DEXES:
            raise wire.violation(f"more than {tables.MAX_DEXES} dexes")
        self._universes[dex] = tuple(asset.name for asset in meta.universe)
        self._known.coins.update(self._universes[dex])
        settle = self._tokens.get(meta.collateral_token)
        if settle is None:
            self._unnamed[dex] = meta
            return self._ask(build.info("spotMeta"), at)
        return [*market.parse_meta(self._env, dex, settle, meta)]

    def _positional(self, dex: str, ctxs: list[market.AssetCtx], at: int) -> list[Output]:
        """Translate contexts that name no coin. Where they do not fit the universe, none is used and meta is asked again."""
        coins = self._universes.get(dex)
        if coins is not None and len(coins) == len(ctxs):
            return [*market.contexts(self._env, dict(zip(coins, ctxs, strict=True)), at)]
        known = "no universe is known" if coins is None else f"the universe known has {len(coins)}"
        what = f"{len(ctxs)} marks of dex {dex!r} are ignored: they go by position, and {known}"
        return [Notice(code="universe_unknown", what=what), *self._ask(build.info("meta", dex=dex), at)]
