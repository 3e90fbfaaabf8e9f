"""One Hyperliquid account: its positions on every dex, its balances, mode, orders, fills and payments.

Owns what a connection knows of its account: the last state of each dex, the mode, the dexes of interest. Pure: frames and answers
go in, events and signals come out; the dialect is in ``session``. Without a stream the same link serves verification.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from exchanges.errors import ProtocolViolation
from exchanges.events import AccountMode, BalanceState, Fill, PositionsSnapshot
from exchanges.hyperliquid import build, identity, ledger, market, modes, orders, parse, records, tables, wire
from exchanges.hyperliquid.asking import Asking
from exchanges.hyperliquid.reach import Reach
from exchanges.hyperliquid.session import Known, Session
from exchanges.venue import Ask, HttpRequest, Malformed, Notice, Output


class PrivateLink(Session):
    """One account. Everything by address, nothing signed.

    ``allDexsClearinghouseState`` is the whole state again and again, never a delta: each dex in it becomes a full snapshot.
    A dex that it does not mention is flat only where the list is known to be complete (see ``_unlisted``).

    Args:
        url: Where the stream is.
        account, env, address: Whose state it is; the address in lower case.
        known: What earlier connections of the account learned.
        dexes: The dexes beside the main one that are asked for; None: all of them.
    """

    connection = "private"

    def __init__(
        self,
        url: str,
        account: str,
        env: str,
        address: str,
        known: Known | None = None,
        dexes: tuple[str, ...] | None = None,
    ) -> None:
        self._known = known or Known()
        super().__init__(url, tables.INITIAL)
        self._account, self._address = account, address
        self._asking = Asking(address, self._known, dexes)
        self._reach = Reach(self._asking.question)
        self._mode: str | None = None  # as this connection heard it
        self._mode_at = self._latest = 0  # when the mode was last said, and the latest receive time
        # A recording is read without subscribing: then there is no mode to wait for, and no address to compare with.
        self._listening = False
        self._states: dict[str, parse.DexState] = {}  # the last state of each dex, as the venue sent it
        self._spot_state: parse.SpotState | None = None
        self._states_at: dict[str, int] = {}  # when each of them arrived, and when that one did
        self._spot_at = 0
        self._tokens = dict(tables.COLLATERAL.get(env, {}))  # names of tokens
        self._fundings: list[msgspec.Raw] = []  # payments whose currency is not known yet

    # --- What is asked ---------------------------------------------------------------------------------------------

    def topics(self) -> tuple[str, ...]:
        """Return the state of all dexes, open orders of the main dex and of those configured, and everything that happens."""
        return self._asking.topics()

    def watch(self) -> Mapping[str, float]:
        """Return the states that come every few seconds, changed or not."""
        return self._asking.watch()

    def subscribe(self, topics: Sequence[str]) -> list[str]:
        """Return one frame a topic; from now on what arrives must be about this account's address."""
        self._listening = True
        return super().subscribe(topics)

    def bootstrap(self) -> list[HttpRequest]:
        """Return nothing: the stream brings the mode too, so that many connections in a minute spend no weight.

        Whether the address can be followed at all, ``audit`` says: an agent's own state is empty and valid.
        """
        return []

    def audit(self) -> list[HttpRequest]:
        """Ask who the address is, for the account's mode, and for the dexes there are."""
        return self._asking.audit()

    def state(self) -> list[HttpRequest]:
        """Ask for the mode where it may have changed, for positions of every dex, spot balances and open orders."""
        return self._asking.state(mode=self._mode is None or self._latest - self._mode_at >= tables.MODE_EVERY_MS)

    def history(self, since_ms: int, symbols: Sequence[str]) -> list[HttpRequest]:
        """Ask for fills, slices of TWAP orders, funding and the ledger since then; by user, whatever the symbols."""
        return self._asking.history(since_ms)

    def records(self, since_ms: int, until_ms: int, symbols: Sequence[str]) -> list[HttpRequest]:
        """Ask for the same of a window, and first whether the venue still knows its fills."""
        return [*self._reach.questions(since_ms), *self._asking.records(since_ms, until_ms)]

    def find_order(self, symbol: str, order_id: str) -> list[HttpRequest]:
        """Ask for one order by the venue's id or the client's."""
        return self._asking.find_order(order_id)

    # --- What arrives ----------------------------------------------------------------------------------------------

    def _channel(self, channel: str, data: msgspec.Raw, at: int) -> list[Output]:
        self._latest = max(self._latest, at)
        outputs = self._event(channel, data, at)
        if channel in tables.PERIODIC and channel != "openOrders":
            outputs += self._heard(build.topic(channel, user=self._address))
        return outputs

    def _event(self, channel: str, data: msgspec.Raw, at: int) -> list[Output]:
        match channel:
            case "allDexsClearinghouseState":
                return self._all_dexs(wire.decode(parse.AllDexsFrame, data, channel), at)
            case "clearinghouseState":
                one = wire.decode(parse.DexFrame, data, channel)
                self._own(one.user)
                dex = one.dex or ""
                return self._state(dex, one.clearinghouse_state, at, routine=dex in self._states) + self._shared()
            case "spotState":
                spot = wire.decode(parse.SpotFrame, data, channel)
                self._own(spot.user)
                self._waiting.discard(channel)
                return self._spot(spot.spot_state, None, at)
            case "webData3":
                user = wire.decode(parse.WebData3Frame, data, channel).user_state
                self._own(user.user)
                self._waiting.discard(channel)
                return self._mode_pushed(user, at)
            case "userFills":
                fills = wire.decode(records.FillsFrame, data, channel)
                self._own(fills.user)
                return self._fills(fills.fills)
            case "userTwapSliceFills":
                slices = wire.decode(records.SlicesFrame, data, channel)
                self._own(slices.user)
                return self._fills(slices.twap_slice_fills)
            case "userFundings":
                fundings = wire.decode(records.FundingsFrame, data, channel)
                self._own(fundings.user)
                return self._funding(fundings.fundings, at)
            case "userNonFundingLedgerUpdates":
                updates = wire.decode(ledger.LedgerFrame, data, channel)
                self._own(updates.user)
                return ledger.parse_ledger(self._account, self._address, updates.non_funding_ledger_updates)
            case "user":
                return self._user_events(wire.decode(dict[str, msgspec.Raw], data, channel), at)
            case "orderUpdates":
                updated = wire.decode(list[orders.OrderUpdate], data, channel)
                self._asking.note_active(wire.dex_of(each.order.coin) for each in updated)
                return [orders.parse_update(self._account, each) for each in updated]
            case "openOrders":
                listed = wire.decode(orders.OpenOrdersFrame, data, channel)
                self._own(listed.user)
                dex = listed.dex or ""
                return [
                    orders.parse_open(self._account, dex, listed.orders),
                    *self._heard(self._asking.orders_topic(dex)),
                ]
        raise wire.violation(f"channel {channel!r} is not one of the private connection")

    def _answer(self, kind: str, asked: dict[str, Any], body: bytes, asked_at: int, at: int) -> list[Output]:
        self._latest = max(self._latest, at)
        dex = str(asked.get("dex") or "")
        match kind:
            case "clearinghouseState":
                return self._state(dex, body, at, asked_at) + self._shared()
            case "spotClearinghouseState":
                return self._spot(wire.decode(parse.SpotState, body, kind), asked_at, at)
            case "openOrders" | "frontendOpenOrders":
                return [orders.parse_open(self._account, dex, wire.decode(list[orders.OrderRow], body, kind), asked_at)]
            case "orderStatus":
                return [*orders.parse_status(self._account, wire.decode(orders.OrderStatus, body, kind))]
            case "userAbstraction":
                return self._set_mode(wire.decode(str, body, kind), at)
            case "userRole":
                return identity.parse_role(wire.decode(identity.Role, body, kind), self._account, self._address)
            case "allPerpMetas":
                return self._metas(wire.decode(list[market.Meta], body, kind), at)
            case "spotMeta":
                self._tokens |= {token.index: token.name for token in wire.decode(market.SpotMeta, body, kind).tokens}
                return self._paid(at)
        rows = wire.decode(list[msgspec.Raw], body, kind)
        if self._reach.is_ours(asked):
            return self._reach.answer(asked, rows)
        return self._records(kind, rows, at, books="endTime" in asked) + self._more(asked, rows)

    def _records(self, kind: str, rows: list[msgspec.Raw], at: int, *, books: bool) -> list[Output]:
        match kind:
            case "userFills" | "userFillsByTime" | "userTwapSliceFills" | "userTwapSliceFillsByTime":
                outputs = self._fills(rows)
                closed = (records.closed_pnl(each, self._paid_in) for each in outputs if isinstance(each, Fill))
                return [*outputs, *(each for each in closed if each is not None)] if books else outputs
            case "userFunding":
                return self._funding(rows, at)
            case "userNonFundingLedgerUpdates":
                return ledger.parse_ledger(self._account, self._address, rows)
        raise wire.violation(f"an answer to {kind!r} is not one of the private connection")

    def _more(self, asked: dict[str, Any], rows: list[msgspec.Raw]) -> list[Output]:
        """Ask for the page that follows; a question without a start has no pages."""
        if "startTime" not in asked:
            return []
        latest = max((records.time_of(row) or 0 for row in rows), default=0)
        outputs: list[Output] = []
        if build.crowded(asked, len(rows), latest):
            what = f"{asked['type']}: {len(rows)} records within the millisecond {latest}: what is beyond them cannot be had"
            outputs.append(Malformed(what=f"{tables.NAME}: {what}"))
        page = build.next_page(asked, len(rows), latest)
        return outputs if page is None else [*outputs, Ask(request=page)]

    def _own(self, user: str) -> None:
        if self._listening and user.lower() != self._address:
            raise wire.violation(f"a state of {user[:42]} came on the connection of account {self._account}")

    # --- Positions and balances ------------------------------------------------------------------------------------

    def _all_dexs(self, frame: parse.AllDexsFrame, at: int) -> list[Output]:
        self._own(frame.user)
        if len(frame.clearinghouse_states) > tables.MAX_DEXES:
            raise wire.violation(f"allDexsClearinghouseState lists more than {tables.MAX_DEXES} dexes")
        outputs: list[Output] = []
        complete = True
        later = "allDexsClearinghouseState" not in self._waiting
        for dex, state in frame.clearinghouse_states:
            try:
                outputs += self._state(dex, state, at, routine=later or dex in self._states)
            except ProtocolViolation as bad:  # the other dexes stand
                outputs.append(Malformed(what=str(bad)))
                complete = False
        if complete:
            self._waiting.discard("allDexsClearinghouseState")
        listed = {dex for dex, _ in frame.clearinghouse_states}
        return outputs + self._shared() + self._unlisted(listed, at, routine=later)

    def _state(
        self, dex: str, data: bytes | msgspec.Raw, at: int, asked_at: int | None = None, *, routine: bool = False
    ) -> list[Output]:
        settle = self._settle(dex)
        pool = modes.pool(self._said_mode, dex, settle)
        state = parse.parse_state(self._account, dex, settle, data, asked_at, pool=pool, routine=routine)
        if dex not in self._states and len(self._states) >= tables.MAX_DEXES:
            raise wire.violation(f"more than {tables.MAX_DEXES} dexes")
        self._states[dex] = state
        self._states_at[dex] = at
        asks: list[Output] = []
        if state.snapshot.positions:
            asks = [*self._name_collateral(dex, at), *self._ask_orders(dex, at)]
            self._asking.note_active([dex])
        return [state.snapshot, self._money(state.balance), *state.notices, *asks]

    def _ask_orders(self, dex: str, at: int) -> list[Output]:
        """Ask for a dex's open orders when it is first seen to hold something: no list of them is streamed."""
        if not self._listening or not dex or dex in self._asking.active:
            return []
        return self._ask(self._asking.question("frontendOpenOrders", dex=dex), at)

    def _name_collateral(self, dex: str, at: int) -> list[Output]:
        if dex not in self._known.collateral:
            return self._ask(build.info("allPerpMetas"), at)
        return [] if self._known.collateral[dex] in self._tokens else self._ask(build.info("spotMeta"), at)

    def _unlisted(self, listed: set[str], at: int, *, routine: bool) -> list[Output]:
        """Decide about dexes that the list does not mention.

        In a standard mode the list is complete once it has the main dex: a dex that is gone from it holds nothing any more.
        In every other mode, and while the mode is unknown, lists may be short: absence says nothing, so the venue is asked
        about each dex that was seen with positions, and about the main one.
        """
        if self._mode in tables.STANDARD_MODES and "" in listed:
            fence = self._states[""].snapshot.fence if "" in self._states else ()
            gone = [dex for dex in self._states if dex not in listed]
            return [output for dex in gone for output in self._flat(dex, fence, routine)]
        held = {dex for dex, state in self._states.items() if state.snapshot.positions}
        return [
            output
            for dex in sorted((held | {""}) - listed)
            for output in self._ask(self._asking.question("clearinghouseState", dex=dex), at)
        ]

    def _flat(self, dex: str, fence: tuple[int, ...], routine: bool) -> list[Output]:
        del self._states[dex]
        scope = parse.scope_of(dex)
        flat = PositionsSnapshot(
            account=self._account, scope=scope, positions=(), fence=fence, routine=routine, repeats=True
        )
        return [
            flat,
            BalanceState(account=self._account, scope=scope, full=True, fence=fence),
        ]

    def _spot(self, state: parse.SpotState, asked_at: int | None, at: int) -> list[Output]:
        self._spot_state, self._spot_at = state, at
        for row in state.balances:
            if row.token is not None and row.token in self._known.collateral.values():
                self._tokens[row.token] = row.coin
        return [parse.parse_spot(self._account, state, asked_at), *self._shared()]

    def _settle(self, dex: str) -> str:
        """Return the dex's collateral token: USDC until meta has said otherwise, its number where it has no known name."""
        token = self._known.collateral.get(dex, tables.DOLLAR_TOKEN)
        return self._tokens.get(token, f"token:{token}")

    # --- The mode --------------------------------------------------------------------------------------------------

    @property
    def _said_mode(self) -> str | None:
        """The mode as it was last said, here or on an earlier connection; a recording has none and is read as standard."""
        return self._mode or self._known.mode or (None if self._listening else "default")

    def _money(self, balance: BalanceState) -> BalanceState:
        return modes.money(self._said_mode, balance)

    def _shared(self) -> list[Output]:
        held = (self._states_at.get(dex, 0) for dex, state in self._states.items() if state.snapshot.positions)
        together = all(abs(self._spot_at - at) <= tables.TOGETHER_MS for at in held)
        found = modes.shared(
            self._account,
            self._said_mode,
            self._states,
            self._settle,
            self._spot_state,
            self._known.settled,
            together=together,
        )
        return [] if found is None else [found]

    def _mode_pushed(self, user: parse.UserState, at: int) -> list[Output]:
        """Take the mode from a push, which leaves out the standard ones and may leave out a legacy one: REST says which."""
        mode = user.abstraction or ("dexAbstraction" if user.dex_abstraction_enabled else None)
        if mode is None:
            said = self._said_mode
            mode = said if said is not None and said not in tables.SHARED_MODES else "default"
        return [] if mode == self._mode else self._set_mode(mode, at)

    def _set_mode(self, mode: str, at: int) -> list[Output]:
        """Announce the mode; a new one decides anew which pools there are and whether their money means anything."""
        was, news = self._said_mode, mode != self._mode
        self._mode = self._known.mode = mode
        self._mode_at = at
        outputs: list[Output] = [
            AccountMode(account=self._account, mode=mode, computable=mode in tables.COMPUTABLE_MODES, hedge=False)
        ]
        if news:
            outputs += self._again()
        if was in tables.SHARED_MODES and mode not in tables.SHARED_MODES:
            outputs.append(BalanceState(account=self._account, scope=modes.SCOPE, full=True))
        if mode not in tables.KNOWN_MODES:
            what = f"account mode {mode!r} is not known: only the venue's own figures are shown for {self._account}"
            outputs.append(Notice(code="unknown_mode", what=wire.clip(what)))
        return outputs

    def _again(self) -> list[Output]:
        """Say again what is known, in this mode's pools: now, not as the answer to an earlier question."""
        outputs: list[Output] = []
        for dex, state in self._states.items():
            moved = modes.moved(state, modes.pool(self._said_mode, dex, self._settle(dex)))
            if moved.snapshot.positions != state.snapshot.positions:
                self._states[dex] = moved
                outputs.append(moved.snapshot)
            outputs.append(msgspec.structs.replace(self._money(state.balance), asked_at=None))
        return outputs + self._shared()

    # --- What happened ---------------------------------------------------------------------------------------------

    def _metas(self, metas: list[market.Meta], at: int) -> list[Output]:
        self._known.learn((dex, meta.collateral_token) for dex, meta in market.by_dex(metas))
        outputs = self._paid(at)
        states, unknown = self._asking.learned()
        if unknown:
            what = f"account {self._account} names dexes that do not exist: {', '.join(unknown)}"
            outputs.append(Notice(code="unknown_dex", what=wire.clip(what)))
        return [*outputs, *(Ask(request=request) for request in states)]

    def _fills(self, rows: Sequence[msgspec.Raw]) -> list[Output]:
        return records.parse_fills(self._account, self._address, rows)

    def _funding(self, rows: Sequence[msgspec.Raw], at: int) -> list[Output]:
        """Translate payments; those of a dex whose collateral has no name yet wait until it has."""
        outputs, waiting = records.parse_fundings(self._account, self._paid_in, rows)
        for dex, later in waiting.items():
            self._fundings += later[: tables.MAX_WAITING - len(self._fundings)]
            outputs += self._name_collateral(dex, at)
        return outputs

    def _paid_in(self, dex: str) -> str | None:
        token = self._known.collateral.get(dex)
        return None if token is None else self._tokens.get(token)

    def _paid(self, at: int) -> list[Output]:
        """Translate the payments that waited."""
        waiting, self._fundings = self._fundings, []
        return self._funding(waiting, at)

    def _user_events(self, events: dict[str, msgspec.Raw], at: int) -> list[Output]:
        """Translate channel ``user``: the same fills and payments once more, should one subscription be lost, and liquidations."""
        outputs: list[Output] = []
        for kind, data in events.items():
            match kind:
                case "fills" | "twapSliceFills":
                    outputs += self._fills(wire.decode(list[msgspec.Raw], data, kind))
                case "funding":
                    outputs += self._funding([data], at)
                case "liquidation":
                    event = wire.decode(records.UserLiquidation, data, kind)
                    outputs += records.parse_liquidation(self._account, self._address, event, at)
                case "nonUserCancel" | "twapHistory":  # orderUpdates says it too, with its reason
                    pass
                case _:
                    outputs.append(
                        Malformed(what=wire.clip(f"{tables.NAME}: userEvents brought {kind!r}, which is unknown"))
                    )
        return outputs
