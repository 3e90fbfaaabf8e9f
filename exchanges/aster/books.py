"""What an account is asked, and what its answers mean: positions, balances, orders, fills, books, modes, brackets, permissions.

Owns the questions of one account and the order in which they make sense; works without any stream, again and again. Pure.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeVar

from msgspec import Raw

from exchanges.aster import build, contracts, parse, tables, trades, wire
from exchanges.aster.memory import Memory
from exchanges.aster.sign import Signer
from exchanges.aster.wire import decode
from exchanges.errors import AuthFailed, ProtocolViolation
from exchanges.events import AccountMode, KeyInfo, OpenOrders, PositionsSnapshot
from exchanges.venue import AccountSpec, Ask, HttpRequest, Malformed, Output

Row = TypeVar("Row")


class Past(NamedTuple):
    """What is being asked of the past: since when, up to when (None: now), and the symbols whose fills are asked."""

    since: int
    until: int | None
    symbols: set[str]

    @property
    def last(self) -> int | None:
        """The last millisecond of it."""
        return None if self.until is None else self.until - 1


Answered = Callable[[bytes, dict[str, str], int], list[Output]]


class Books:
    """The questions of one account and their answers.

    Args:
        account: Whose they are.
        signer: Tells the style of the paths.
        memory: What all links of the account know.
    """

    def __init__(self, account: AccountSpec, signer: Signer, memory: Memory) -> None:
        self.answered: set[tables.Name] = set()
        self._account, self._signer, self._memory = account, signer, memory
        self._now_ms = 0  # the wall clock, as of the last signature: bounds how far a history is read
        self._past: Past | None = None
        self._readers: dict[tables.Name, Answered] = {
            "account": self._state_of_account,
            "positions": self._positions,
            "dual": self._dual,
            "multi": self._multi,
            "brackets": self._brackets,
            "trades": self._trades,
            "income": self._income,
            "margins": self._margins,
            "forced": self._forced,
            "orders": self._orders,
            "order": self._order,
            "agents": self._agents,
        }

    def sign(self, request: HttpRequest, now_ms: int) -> HttpRequest:
        """Return the request signed."""
        self._now_ms = max(self._now_ms, now_ms)
        return self._signer.sign(request, now_ms)

    # --- Questions --------------------------------------------------------------------------------------------------

    def audit(self) -> list[HttpRequest]:
        """Ask what the key may do, and both modes."""
        powers: tables.Name = "agents" if self._signer.style == "v3" else "account"
        return [self.ask(powers), self.ask("multi"), self.ask("dual")]

    def state(self) -> list[HttpRequest]:
        """Ask for everything: the mode first, which says what pools there are; margins before the rows that they belong to.

        The mode weighs as much as all the rest but the orders and changes once in years: it is asked now and then.
        """
        memory, names = self._memory, list[tables.Name](("account", "positions", "orders"))
        if memory.multi is None or memory.multi_at is None or self._now_ms - memory.multi_at >= tables.MODE_MS:
            memory.multi_at = self._now_ms
            names.insert(0, "multi")
        return [self.ask(name) for name in names]

    def figures(self) -> list[HttpRequest]:
        """Ask for what pushes never say: margins, leverage, liquidation prices, what is available."""
        return [self.ask("account"), self.ask("positions")]

    def booked(self, since_ms: int, last_ms: int | None = None) -> HttpRequest:
        """Ask for funding and transfers since then, up to a moment or to now."""
        end = {} if last_ms is None else {"endTime": last_ms}
        return self.ask("income", startTime=since_ms, **end, limit=tables.INCOME_PAGE)

    def history(self, since_ms: int, symbols: Sequence[str]) -> list[HttpRequest]:
        """Ask for forced orders first (they say why their fills happened), the books, fills and margins of each symbol.

        The books name further symbols that were traded: their fills are asked for then.
        """
        self._past = Past(since_ms, None, set(symbols))
        return [
            self._window("forced", since_ms, limit=tables.FORCED_PAGE),
            self.booked(since_ms),
            *(self.ask("margins", symbol=symbol, startTime=since_ms, limit=tables.MARGINS_PAGE) for symbol in symbols),
            *(self._trades_from(symbol, since_ms) for symbol in symbols),
        ]

    def records(self, since_ms: int, until_ms: int, symbols: Sequence[str]) -> list[HttpRequest]:
        """Ask for forced orders, the books, and fills of each symbol in a window; what the books name is asked too."""
        self._past = Past(since_ms, until_ms, set(symbols))
        return [
            self._window("forced", since_ms, limit=tables.FORCED_PAGE),
            self.booked(since_ms, until_ms - 1),
            *(self._trades_from(symbol, since_ms) for symbol in symbols),
        ]

    def find_order(self, symbol: str, order_id: str) -> list[HttpRequest]:
        """Ask for one order."""
        return [self.ask("order", symbol=symbol, orderId=order_id)]

    def brackets(self) -> HttpRequest:
        """Ask for the margin brackets of every symbol: the venue shows them to accounts alone."""
        return self.ask("brackets")

    def ask(self, name: tables.Name, **parameters: str | int) -> HttpRequest:
        """Build a question in this account's style."""
        return build.question(self._signer.style, name, **parameters)

    def _trades_from(self, symbol: str, start_ms: int) -> HttpRequest:
        return self._window("trades", start_ms, symbol=symbol, limit=tables.TRADES_PAGE)

    def _window(self, name: tables.Name, start_ms: int, **parameters: str | int) -> HttpRequest:
        """Ask from a moment on, for as long as one question may cover."""
        end_ms, last = start_ms + tables.WINDOW_MS, self._past.last if self._past else None
        end_ms = end_ms if last is None else min(end_ms, last)
        return self.ask(name, **parameters, startTime=start_ms, endTime=end_ms)

    # --- Answers ----------------------------------------------------------------------------------------------------

    def answer(self, request: HttpRequest, body: bytes, asked_at: int) -> list[Output]:
        """Translate an answer. Raises ProtocolViolation, or AuthFailed where only the operator can help."""
        name, parameters = build.asked(request)
        reader = self._readers.get(name) if name else None
        if name is None or reader is None:
            raise ProtocolViolation("aster", f"an answer to {request.path.partition('?')[0]}, which no account asks")
        outputs = reader(body, parameters, asked_at)
        self.answered.add(name)
        return outputs

    def mode(self) -> list[Output]:
        """Return the account's mode, where it is known."""
        multi, hedge = self._memory.multi, self._memory.hedge
        if multi is None:
            return []
        name = "multi-assets" if multi else "single-asset"
        return [AccountMode(account=self._account.name, mode=name, hedge=hedge)]

    def _multi(self, body: bytes, parameters: dict[str, str], asked_at: int) -> list[Output]:
        self._memory.multi = decode(body, wire.Multi, "the multi-assets mode").multi_assets_margin
        return self.mode()

    def _dual(self, body: bytes, parameters: dict[str, str], asked_at: int) -> list[Output]:
        self._memory.hedge = decode(body, wire.Dual, "the position mode").dual_side_position
        return self.mode()

    def _state_of_account(self, body: bytes, parameters: dict[str, str], asked_at: int) -> list[Output]:
        answer = decode(body, wire.Account, "the account")
        memory = self._memory
        memory.learn_margins(answer)
        balance = parse.balance(self._account.name, answer, bool(memory.multi), asked_at)
        memory.coins = {coin.ccy: coin for coin in balance.coins}
        memory.pools = {pool.pool: pool for pool in balance.pools}
        return [balance, *self._key_powers(answer)]

    def _key_powers(self, answer: wire.Account) -> list[Output]:
        """Return what an API key may do. An API wallet's powers are its own, not these of the account."""
        if self._signer.style == "v3" or answer.can_trade is None or answer.can_withdraw is None:
            return []
        powers = (("trade", answer.can_trade), ("withdraw", answer.can_withdraw))
        return [KeyInfo(account=self._account.name, powers=tuple(name for name, may in powers if may))]

    def _positions(self, body: bytes, parameters: dict[str, str], asked_at: int) -> list[Output]:
        memory, held, notes = self._memory, [], list[Output]()
        rows = decode(body, list[wire.PositionRow], "the positions")
        for row in rows:
            settle = parse.settle_of(row.symbol, memory.settles)
            state = parse.position(self._account.name, row, settle, memory.multi)
            state = memory.answer(state, row, asked_at)
            if state.side is not None:
                held.append(state)
                if settle is None:
                    notes.append(Malformed(what=f"aster: {row.symbol}: its margin asset is not known"))
        if "symbol" in parameters:
            return [*held, *notes]
        present = {state.id for state in held}
        memory.rows = {row_id: state for row_id, state in memory.rows.items() if row_id in present}
        snapshot = PositionsSnapshot(
            account=self._account.name, scope=tables.SCOPE, positions=tuple(held), asked_at=asked_at
        )
        return [*self._learn_hedge(rows), *notes, snapshot]

    def _learn_hedge(self, rows: Sequence[wire.PositionRow]) -> list[Output]:
        """Learn the position mode from the legs that exist: BOTH, or LONG and SHORT; flat symbols are listed too."""
        if not rows or self._memory.hedge == (hedge := any(row.position_side != "BOTH" for row in rows)):
            return []
        self._memory.hedge = hedge
        return self.mode()

    def _orders(self, body: bytes, parameters: dict[str, str], asked_at: int) -> list[Output]:
        rows = decode(body, list[wire.OrderRow], "the open orders")
        orders = tuple(trades.order(self._account.name, row) for row in rows)
        return [OpenOrders(account=self._account.name, scope=tables.SCOPE, orders=orders, asked_at=asked_at)]

    def _order(self, body: bytes, parameters: dict[str, str], asked_at: int) -> list[Output]:
        return [trades.order(self._account.name, decode(body, wire.OrderRow, "an order"))]

    def _forced(self, body: bytes, parameters: dict[str, str], asked_at: int) -> list[Output]:
        rows, outputs = _each(body, wire.OrderRow, "a forced order")
        for row in rows:
            try:
                evidence = trades.forced(self._account.name, row)
            except ProtocolViolation as error:
                outputs.append(Malformed(what=str(error)))
                continue
            self._memory.learn_cause(row.symbol, str(row.order_id), (evidence.cause, evidence.what))
            outputs.append(evidence)
        return [*outputs, *self._further_forced(len(rows), parameters)]

    def _further_forced(self, count: int, parameters: dict[str, str]) -> list[Output]:
        """Return the question that follows: where the page was full half of its window, else the next window of time.

        Whether a page that is full holds the oldest or the newest of its window is not documented.
        """
        start_ms, end_ms = int(parameters.get("startTime", 0)), int(parameters.get("endTime", 0))
        if count >= tables.FORCED_PAGE and end_ms > start_ms:
            half = {"startTime": start_ms, "endTime": (start_ms + end_ms) // 2}
            return [Ask(request=self.ask("forced", **half, limit=tables.FORCED_PAGE))]
        notes = [_crowded("forced orders", count, start_ms)] if count >= tables.FORCED_PAGE else []
        if not self._goes_on(end_ms):
            return notes
        return [*notes, Ask(request=self._window("forced", end_ms + 1, limit=tables.FORCED_PAGE))]

    def _goes_on(self, end_ms: int) -> bool:
        """Say whether another window follows one that ends then."""
        last = self._past.last if self._past else None
        return 0 < end_ms < (self._now_ms if last is None else last)

    def _trades(self, body: bytes, parameters: dict[str, str], asked_at: int) -> list[Output]:
        rows, outputs = _each(body, wire.TradeRow, "a fill")
        last = self._past.last if self._past else None
        for row in rows:
            if last is not None and int(row.time) > last:
                continue  # pages by id know no end
            cause = self._memory.causes.get((row.symbol, str(row.order_id)), ("trade", ""))
            try:
                outputs.append(trades.fill(self._account.name, row, cause))
            except ProtocolViolation as error:
                outputs.append(Malformed(what=str(error)))
        further = self._further_trades(rows, parameters)
        return outputs if further is None else [*outputs, Ask(request=further)]

    def _further_trades(self, rows: Sequence[wire.TradeRow], parameters: dict[str, str]) -> HttpRequest | None:
        """Return the next page: by id where this one was full (times cannot go with ids), else the next window of time."""
        symbol, last = parameters["symbol"], self._past.last if self._past else None
        if last is not None and any(int(row.time) > last for row in rows):
            return None
        if len(rows) >= tables.TRADES_PAGE:
            newest = max(int(row.id) for row in rows)
            return self.ask("trades", symbol=symbol, fromId=newest + 1, limit=tables.TRADES_PAGE)
        end_ms = int(parameters.get("endTime", 0))
        return self._trades_from(symbol, end_ms) if self._goes_on(end_ms) else None

    def _income(self, body: bytes, parameters: dict[str, str], asked_at: int) -> list[Output]:
        rows, outputs = _each(body, wire.IncomeRow, "a line of the books")
        past, last = self._past, int(parameters["endTime"]) if "endTime" in parameters else None
        for row in rows:
            outputs += trades.income(self._account.name, row, self._memory.hedge)
            closed = trades.closed_pnl(self._account.name, row, self._memory.hedge) if last is not None else None
            outputs += [] if closed is None else [closed]
            # A fill without profit and fee has no line: in the books of a window every symbol that is named was held.
            traded = row.income_type in tables.TRADE_INCOME or last is not None
            if past and traded and row.symbol not in past.symbols | {""}:
                past.symbols.add(row.symbol)
                outputs.append(Ask(request=self._trades_from(row.symbol, past.since)))
        return [*outputs, *self._further_income(rows, int(parameters.get("startTime", 0)), last)]

    def _further_income(self, rows: Sequence[wire.IncomeRow], start_ms: int, last: int | None) -> list[Output]:
        """Return the next page: from the last line's moment on, since others of that moment may have been cut off."""
        if len(rows) < tables.INCOME_PAGE:
            return []
        newest = max(int(row.time) for row in rows)
        notes = [_crowded("lines of the books", len(rows), newest)] if newest <= start_ms else []
        following = max(newest, start_ms + 1)
        if last is not None and following > last:
            return notes
        return [*notes, Ask(request=self.booked(following, last))]

    def _margins(self, body: bytes, parameters: dict[str, str], asked_at: int) -> list[Output]:
        rows, outputs = _each(body, wire.MarginChange, "a change of margin")
        return [*outputs, *(trades.margin(self._account.name, row) for row in rows)]

    def _brackets(self, body: bytes, parameters: dict[str, str], asked_at: int) -> list[Output]:
        return contracts.brackets(body, self._account.env, self._account.name)

    def _agents(self, body: bytes, parameters: dict[str, str], asked_at: int) -> list[Output]:
        wallet = self._signer.wallet
        where = f"account {self._account.name} (aster)"
        agents = decode(body, list[wire.Agent], "the list of API wallets")
        agent = next((found for found in agents if found.agent_address.lower() == wallet), None)
        if agent is None:
            raise AuthFailed(where, f"the API wallet {wallet} is not approved for this account", do=tables.WALLET_DO)
        if not agent.can_read:
            raise AuthFailed(where, f"the API wallet {wallet} may not read", do=tables.READ_ONLY)
        powers = (
            ("spot trade", agent.can_spot_trade),
            ("perp trade", agent.can_perp_trade),
            ("withdraw", agent.can_withdraw),
        )
        info = KeyInfo(
            account=self._account.name,
            powers=tuple(name for name, may in powers if may),
            owner=(self._account.address or "").lower() or None,
            label=agent.agent_name or None,
            expires_at=wire.millis(agent.expired),
            ip_bound=None if agent.ip_whitelist is None else bool(agent.ip_whitelist.strip()),
        )
        return [info]


def _crowded(what: str, count: int, at: int) -> Output:
    return Malformed(what=f"aster: {count} {what} within the millisecond {at}: what is beyond them cannot be had")


def _each(body: bytes, shape: type[Row], what: str) -> tuple[list[Row], list[Output]]:
    """Decode the rows of a list that is no snapshot: one that cannot be read becomes ``Malformed``, its neighbours stand."""
    rows, notes = list[Row](), list[Output]()
    for raw in decode(body, list[Raw], f"a list, each {what}"):
        try:
            rows.append(decode(raw, shape, what))
        except ProtocolViolation as error:
            notes.append(Malformed(what=str(error)))
    return rows, notes
