"""Hyperliquid's two connections: one per account for its state, one per environment for marks and instruments.

Owns what a connection knows of its subject: the account's mode and dexes, the universes of positional feeds. Pure: frames and
answers go in, events and signals come out; the dialect both share is in ``session``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from exchanges.errors import ProtocolViolation
from exchanges.events import AccountMode, BalanceState, PositionsSnapshot
from exchanges.hyperliquid import build, market, parse, tables
from exchanges.hyperliquid.session import Session
from exchanges.venue import HttpRequest, LoginRefused, Malformed, Notice, Output


@dataclass
class Known:
    """What the connections of one account, or of one environment's market, learn one after the other.

    A new connection does not wait for what an earlier one learned: asked anew at each, a few breaks within a minute would
    spend the venue's whole weight, and the account would stay blind while its states already flow. What may change is asked
    again all the same.

    Attributes:
        role: The address is one that can be followed; it stays so, and is not asked again (60 of weight).
        mode: The account's mode as it was last said.
        collateral: Token of each dex.
        metas: The contracts were read.
    """

    role: bool = False
    mode: str | None = None
    collateral: dict[str, int] = field(default_factory=lambda: {"": 0})
    metas: bool = False


class PrivateLink(Session):
    """One account: its positions on every dex, its balances, its mode. Everything by address, nothing signed.

    ``allDexsClearinghouseState`` is the whole state again and again, never a delta: each dex in it becomes a full snapshot.
    A dex that it does not mention is flat only where the list is known to be complete (see ``_unlisted``).
    """

    connection = "private"

    def __init__(self, url: str, account: str, env: str, address: str, known: Known | None = None) -> None:
        self._known = known or Known()
        unknown = {"userRole": not self._known.role, "userAbstraction": self._known.mode is None}
        waiting = [kind for kind, needed in unknown.items() if needed]
        super().__init__(url, ("allDexsClearinghouseState", "spotState", *waiting))
        self._account, self._address = account, address
        self._mode: str | None = None  # as this connection heard it
        # A recording is read without subscribing: then there is no mode to wait for, and no address to compare with.
        self._listening = False
        self._states: dict[str, parse.DexState] = {}  # the last state of each dex
        self._collateral = self._known.collateral
        self._tokens = dict(tables.COLLATERAL.get(env, {}))  # names of tokens

    def topics(self) -> tuple[str, ...]:
        """Return positions of all dexes, and spot balances."""
        return (
            build.topic("allDexsClearinghouseState", user=self._address),
            build.topic("spotState", user=self._address),
        )

    def subscribe(self, topics: Sequence[str]) -> list[str]:
        """Return one frame a topic; from now on what arrives must be about this account's address."""
        self._listening = True
        return super().subscribe(topics)

    def bootstrap(self) -> list[HttpRequest]:
        """Ask who the address is, unless that is known (an agent's own state is empty and valid), and for its mode."""
        role = [] if self._known.role else [build.info("userRole", user=self._address)]
        return [*role, build.info("userAbstraction", user=self._address)]

    def audit(self) -> list[HttpRequest]:
        """Ask who the address is, and for the account's mode."""
        return [build.info("userRole", user=self._address), build.info("userAbstraction", user=self._address)]

    def state(self) -> list[HttpRequest]:
        """Ask for the mode, then positions of the main dex and of every dex that was seen, and spot balances."""
        dexes = ("", *(dex for dex in self._states if dex))
        return [
            build.info("userAbstraction", user=self._address),
            *(build.info("clearinghouseState", user=self._address, dex=dex) for dex in dexes),
            build.info("spotClearinghouseState", user=self._address),
        ]

    def _channel(self, channel: str, data: msgspec.Raw, at: int) -> list[Output]:
        match channel:
            case "allDexsClearinghouseState":
                return self._all_dexs(parse.decode(parse.AllDexsFrame, data, channel), at)
            case "clearinghouseState":
                one = parse.decode(parse.DexFrame, data, channel)
                self._own(one.user)
                return self._state(one.dex or "", one.clearinghouse_state, at)
            case "spotState":
                spot = parse.decode(parse.SpotFrame, data, channel)
                self._own(spot.user)
                self._waiting.discard(channel)
                return self._spot(spot.spot_state, None)
            case "webData3":
                user = parse.decode(parse.WebData3Frame, data, channel).user_state
                self._own(user.user)
                mode = user.abstraction or "default"  # absent is the default mode
                return [] if mode == self._mode else self._set_mode(mode)
        raise parse.violation(f"channel {channel!r} is not one of the private connection")

    def _answer(self, kind: str, asked: dict[str, Any], body: bytes, asked_at: int, at: int) -> list[Output]:
        match kind:
            case "clearinghouseState":
                return self._state(str(asked.get("dex") or ""), body, at, asked_at)
            case "spotClearinghouseState":
                return self._spot(parse.decode(parse.SpotState, body, kind), asked_at)
            case "userAbstraction":
                return self._set_mode(parse.decode(str, body, kind))
            case "userRole":
                return self._role(parse.decode(parse.Role, body, kind))
            case "allPerpMetas":
                for dex, meta in market.by_dex(parse.decode(list[market.Meta], body, kind)):
                    self._collateral[dex] = meta.collateral_token
                return []
        raise parse.violation(f"an answer to {kind!r} is not one of the private connection")

    def _own(self, user: str) -> None:
        if self._listening and user.lower() != self._address:
            raise parse.violation(f"a state of {user[:42]} came on the connection of account {self._account}")

    def _all_dexs(self, frame: parse.AllDexsFrame, at: int) -> list[Output]:
        self._own(frame.user)
        if len(frame.clearinghouse_states) > tables.MAX_DEXES:
            raise parse.violation(f"allDexsClearinghouseState lists more than {tables.MAX_DEXES} dexes")
        outputs: list[Output] = []
        complete = True
        for dex, state in frame.clearinghouse_states:
            try:
                outputs += self._state(dex, state, at)
            except ProtocolViolation as bad:  # the other dexes stand
                outputs.append(Malformed(what=str(bad)))
                complete = False
        if complete:
            self._waiting.discard("allDexsClearinghouseState")
        return outputs + self._unlisted({dex for dex, _ in frame.clearinghouse_states}, at)

    def _state(self, dex: str, data: bytes | msgspec.Raw, at: int, asked_at: int | None = None) -> list[Output]:
        state = parse.parse_state(self._account, dex, self._settle(dex), data, asked_at)
        if dex not in self._states and len(self._states) >= tables.MAX_DEXES:
            raise parse.violation(f"more than {tables.MAX_DEXES} dexes")
        self._states[dex] = state
        unknown = dex not in self._collateral and bool(state.snapshot.positions)
        asks = self._ask(build.info("allPerpMetas"), at) if unknown else []
        return [state.snapshot, self._money(state.balance), *state.notices, *asks]

    def _unlisted(self, listed: set[str], at: int) -> list[Output]:
        """Decide about dexes that the list does not mention.

        In a standard mode the list is complete once it has the main dex: a dex that is gone from it holds nothing any more.
        In every other mode, and while the mode is unknown, lists may be short: absence says nothing, so the venue is asked
        about each dex that was seen with positions, and about the main one.
        """
        if self._mode in tables.STANDARD_MODES and "" in listed:
            fence = self._states[""].snapshot.fence if "" in self._states else ()
            gone = [dex for dex in self._states if dex not in listed]
            return [output for dex in gone for output in self._flat(dex, fence)]
        held = {dex for dex, state in self._states.items() if state.snapshot.positions}
        return [
            output
            for dex in sorted((held | {""}) - listed)
            for output in self._ask(build.info("clearinghouseState", user=self._address, dex=dex), at)
        ]

    def _flat(self, dex: str, fence: tuple[int, ...]) -> list[Output]:
        del self._states[dex]
        scope = parse.scope_of(dex)
        return [
            PositionsSnapshot(account=self._account, scope=scope, positions=(), fence=fence),
            BalanceState(account=self._account, scope=scope, full=True, fence=fence),
        ]

    def _spot(self, state: parse.SpotState, asked_at: int | None) -> list[Output]:
        for row in state.balances:
            if row.token is not None and row.token in self._collateral.values():
                self._tokens[row.token] = row.coin
        return [parse.parse_spot(self._account, state, asked_at)]

    def _settle(self, dex: str) -> str:
        """Return the dex's collateral token: USDC until meta has said otherwise, its number where it has no known name."""
        token = self._collateral.get(dex, 0)
        return self._tokens.get(token, f"token:{token}")

    def _money(self, balance: BalanceState) -> BalanceState:
        mode = self._mode or self._known.mode
        standard = mode in tables.STANDARD_MODES or (mode is None and not self._listening)
        return balance if standard else parse.without_money(balance)

    def _set_mode(self, mode: str) -> list[Output]:
        """Announce the mode, and say again what is known of the pools: the mode decides whether their money means anything."""
        self._mode = self._known.mode = mode
        outputs: list[Output] = [
            AccountMode(account=self._account, mode=mode, computable=mode in tables.STANDARD_MODES),
            # Said again, now, not as the answer to an earlier question: what it covers is ordered by its fence alone.
            *(msgspec.structs.replace(self._money(each.balance), asked_at=None) for each in self._states.values()),
        ]
        if mode not in tables.KNOWN_MODES:
            what = f"account mode {mode!r} is not known: only the venue's own figures are shown for {self._account}"
            outputs.append(Notice(code="unknown_mode", what=parse.clip(what)))
        return outputs

    def _role(self, role: parse.Role) -> list[Output]:
        if role.role == "agent":
            master = role.data.user if role.data and role.data.user else "of its master account"
            return [
                LoginRefused(
                    code="agent",
                    what=f"{self._address} is an agent (API wallet): its own state is always empty",
                    do=f"Configure the address {parse.clip(master, 60)} for account {self._account}",
                )
            ]
        if role.role == "missing":
            what = f"{self._address} was never seen on this chain: check the address and env of account {self._account}"
            return [Notice(code="missing", what=what)]
        if role.role not in tables.ROLES:
            return [Notice(code="unknown_role", what=parse.clip(f"{self._address} has the unknown role {role.role!r}"))]
        self._known.role = True
        return []


class PublicLink(Session):
    """All marks by one topic (``fastAssetCtxs``: every coin first, then changes), instruments and tiers by REST."""

    connection = "public"

    def __init__(self, url: str, env: str, known: Known | None = None) -> None:
        self._known = known or Known()
        super().__init__(url, ("fastAssetCtxs",) if self._known.metas else ("fastAssetCtxs", "allPerpMetas"))
        self._env = env
        self._universes: dict[str, tuple[str, ...]] = {}  # coins of each dex, in the order of positional feeds
        self._tokens = dict(tables.COLLATERAL.get(env, {}))
        self._unnamed: dict[str, market.Meta] = {}  # dexes whose collateral token has no name yet

    def topics(self) -> tuple[str, ...]:
        """Return the one topic that brings every coin's mark."""
        return (build.topic("fastAssetCtxs"),)

    def bootstrap(self) -> list[HttpRequest]:
        """Ask for the contracts and margin tables of all dexes at once."""
        return [build.info("allPerpMetas")]

    def _channel(self, channel: str, data: msgspec.Raw, at: int) -> list[Output]:
        match channel:
            case "fastAssetCtxs":
                marks = market.parse_fast(self._env, parse.decode(str, data, channel))
                self._waiting.discard(channel)
                return [*marks]
            case "activeAssetCtx":
                one = parse.decode(market.ActiveAssetCtx, data, channel)
                return [*market.marks(self._env, {one.coin: one.ctx})]
            case "assetCtxs":
                dex = parse.decode(market.DexCtxs, data, channel)
                return self._positional(dex.dex or "", dex.ctxs, at)
            case "allDexsAssetCtxs":
                dexes = parse.decode(market.AllDexsCtxs, data, channel).ctxs
                return [output for dex, ctxs in dexes for output in self._positional(dex, ctxs, at)]
        raise parse.violation(f"channel {channel!r} is not one of the public connection")

    def _answer(self, kind: str, asked: dict[str, Any], body: bytes, asked_at: int, at: int) -> list[Output]:
        match kind:
            case "allPerpMetas":
                metas = market.by_dex(parse.decode(list[market.Meta], body, kind))
                outputs = [output for dex, meta in metas for output in self._meta(dex, meta, at)]
                self._known.metas = True
                return outputs
            case "meta":
                return self._meta(str(asked.get("dex") or ""), parse.decode(market.Meta, body, kind), at)
            case "metaAndAssetCtxs":
                dex = str(asked.get("dex") or "")
                meta, ctxs = parse.decode(tuple[market.Meta, list[market.AssetCtx]], body, kind)
                return [*self._meta(dex, meta, at), *self._positional(dex, ctxs, at)]
            case "spotMeta":
                self._tokens |= {token.index: token.name for token in parse.decode(market.SpotMeta, body, kind).tokens}
                waiting, self._unnamed = self._unnamed, {}
                return [output for dex, meta in waiting.items() for output in self._meta(dex, meta, at)]
        if kind in tables.PUBLIC_INFO:
            return []  # a recording may hold them; nothing here reads them
        raise parse.violation(f"an answer to {kind!r} is not one of the public connection")

    def _meta(self, dex: str, meta: market.Meta, at: int) -> list[Output]:
        if dex not in self._universes and len(self._universes) >= tables.MAX_DEXES:
            raise parse.violation(f"more than {tables.MAX_DEXES} dexes")
        self._universes[dex] = tuple(asset.name for asset in meta.universe)
        settle = self._tokens.get(meta.collateral_token)
        if settle is None:
            self._unnamed[dex] = meta
            return self._ask(build.info("spotMeta"), at)
        return [*market.parse_meta(self._env, dex, settle, meta)]

    def _positional(self, dex: str, ctxs: list[market.AssetCtx], at: int) -> list[Output]:
        """Translate contexts that name no coin. Where they do not fit the universe, none is used and meta is asked again."""
        coins = self._universes.get(dex)
        if coins is not None and len(coins) == len(ctxs):
            return [*market.marks(self._env, dict(zip(coins, ctxs, strict=True)))]
        known = "no universe is known" if coins is None else f"the universe known has {len(coins)}"
        what = f"{len(ctxs)} marks of dex {dex!r} are ignored: they go by position, and {known}"
        return [Notice(code="universe_unknown", what=what), *self._ask(build.info("meta", dex=dex), at)]
