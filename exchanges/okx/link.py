"""The private connection of OKX: positions and balances of one account. (``public`` holds the other one.)

Owns protocol state only; orders, executions and bills are ``activity``'s. Pure: no I/O, no clock. Source: OKX v5 docs,
positions, account and balance_and_position channels.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from urllib.parse import parse_qs, urlsplit

import msgspec

from exchanges.errors import ProtocolViolation
from exchanges.events import PositionsSnapshot
from exchanges.okx import activity, brief, build, parse, tables, usable, wire
from exchanges.okx.activity import Activity
from exchanges.okx.pages import Book
from exchanges.okx.session import Session, decode_all, decode_some
from exchanges.venue import Ask, Credentials, Heard, HttpRequest, Malformed, Notice, Output, Refresh

_ACCOUNT = msgspec.json.Decoder(wire.AccountRow)
_COIN = msgspec.json.Decoder(wire.CoinRow)
_BRIEF = msgspec.json.Decoder(wire.BriefRow)
_BRIEF_POSITION = msgspec.json.Decoder(wire.BriefPosition)
_CONFIG = msgspec.json.Decoder(wire.ConfigRow)

_ANY = "ANY"
_KEPT_ANSWERS = 8


class PrivateLink(Session):
    """Positions and balances of one account.

    The pool of a cross position depends on the account's mode, which REST alone states: what the stream brings before
    that answer is gathered, and emitted right after it. A link that never subscribed anything (a replay of recordings)
    awaits no answer: it infers the mode from what it sees, and says everything again once it knows better.
    """

    connection = "private"
    needs_login = True

    def __init__(self, url: str, account: str, credentials: Credentials, demo: bool) -> None:
        super().__init__(url, demo, credentials)
        self._account = account
        self._mode: parse.Mode | None = None
        self._awaits_config = False
        self._questioned: parse.Mode | None = None  # the evidence against the mode that was asked about last
        # By what a subscription covers: ours covers any type, a recording may hold others.
        self._books = {of: Book(parse.row_key, parse.row_order, tables.MAX_ROWS) for of in (_ANY, *tables.KINDS)}
        self._coins = Book(parse.coin_key, parse.coin_order, tables.MAX_ROWS)
        self._header: wire.AccountRow | None = None
        self._answers: dict[str, tuple[HttpRequest, list[msgspec.Raw], int]] = {}  # newest by path, while inferring
        self._asks: list[Output] = []
        self._activity = Activity(account)

    @property
    def ready(self) -> bool:
        """True when the mode is known and both first snapshots were complete."""
        return self._certain and self._books[_ANY].complete and self._coins.complete

    @property
    def _certain(self) -> bool:
        return self._mode is not None and not self._mode.inferred

    @property
    def _held(self) -> bool:
        return self._awaits_config and not self._certain

    def topics(self) -> tuple[str, ...]:
        """Return the account's channels.

        Not ``fills``: the venue opens it to high fee tiers alone (64003), and the orders channel brings every execution.
        """
        return (build.POSITIONS, build.ACCOUNT, build.ORDERS, build.BRIEF)

    def price_topics(self, symbols: Iterable[str], currencies: Iterable[str] = ()) -> tuple[str, ...]:
        """Return no price, but the channel that is wanted and not needed: a refusal of it must not hold the feed back."""
        return (build.WARNINGS,)

    def watch(self) -> Mapping[str, float]:
        """Return the channels whose whole state the venue repeats."""
        return {build.POSITIONS: tables.STATE_SILENT_S, build.ACCOUNT: tables.STATE_SILENT_S}

    def subscribe(self, topics: Sequence[str]) -> list[str]:
        """Return the frames that subscribe those topics; from now on the configuration is awaited."""
        self._awaits_config = True
        return super().subscribe(topics)

    def bootstrap(self) -> list[HttpRequest]:
        """Ask for the mode; positions and balances come as snapshots of the stream."""
        return [build.config_request()]

    def sign(self, request: HttpRequest, now_ms: int) -> HttpRequest:
        """Return the request with the headers it needs."""
        self._activity.now_ms = now_ms
        return super().sign(request, now_ms)

    def audit(self) -> list[HttpRequest]:
        """Ask for the configuration, which holds what the key may do."""
        return [build.config_request()]

    def state(self) -> list[HttpRequest]:
        """Ask for the mode, which decides the pools, then for positions, balances and open orders."""
        return [
            build.config_request(),
            build.positions_request(),
            build.balance_request(),
            build.open_orders_request(),
        ]

    def history(self, since_ms: int, symbols: Sequence[str]) -> list[HttpRequest]:
        """Ask for executions and bills of all symbols. The venue keeps three months, newest first."""
        return self._activity.history(since_ms)

    def records(self, since_ms: int, until_ms: int, symbols: Sequence[str]) -> list[HttpRequest]:
        """Ask for executions, bills and closed positions of all symbols."""
        return self._activity.records(since_ms, until_ms)

    def find_order(self, symbol: str, order_id: str) -> list[HttpRequest]:
        """Ask for one order; unfilled ones that were cancelled are forgotten by the venue after two hours."""
        return [build.order_request(symbol, order_id)]

    # --- stream --------------------------------------------------------------------------------------------------

    def _data(self, arg: wire.Arg, frame: wire.Frame, rows: list[msgspec.Raw]) -> list[Output]:
        if arg.channel == build.POSITIONS:
            return [*self._position_rows(arg, frame, rows), Heard(topics=(build.POSITIONS,))]
        if arg.channel == build.ACCOUNT:
            # Whether a regular push comes of positions that are none is not documented: the account's speaks for both then.
            flat = self._books[_ANY].complete and not self._books[_ANY].rows
            heard = (build.ACCOUNT, build.POSITIONS) if flat else (build.ACCOUNT,)
            return [*self._account_rows(frame, rows), Heard(topics=heard)]
        if arg.channel == build.BRIEF:
            return self._brief_rows(rows)
        if arg.channel in activity.CHANNELS:
            return self._activity.frame(arg.channel, rows)
        return super()._data(arg, frame, rows)

    def _position_rows(self, arg: wire.Arg, frame: wire.Frame, rows: list[msgspec.Raw]) -> list[Output]:
        good, notes, damaged = usable.read_some(rows, "positions")
        placed = self._activity.learn(good)
        out = [*([] if self._held else self._infer(self._mode or parse.DEFAULT_MODE)), *notes, *placed]
        covers = arg.inst_type or _ANY
        book = self._books.get(covers)
        if book is None:
            out.append(Notice(code="positions", what=f"unknown type of instrument {covers[:50]!r}"))
        if book is None or arg.inst_id or arg.inst_family:  # a part of a type: absence from it proves nothing
            return [*out, *self._each(good)]
        if _is_event(frame):
            if not book.update(good):
                return [*out, Refresh(why=f"positions: more than {tables.MAX_ROWS} rows")]
            return out if self._held else [*out, *self._each(good)]
        progress = book.snapshot(frame.cur_page or 1, frame.last_page is not False, good, damaged)
        if progress == "lost":
            return [*out, Refresh(why=f"positions: page {frame.cur_page} came without the pages before it")]
        return [*out, *self._all_positions(covers)] if progress == "complete" else out

    def _account_rows(self, frame: wire.Frame, rows: list[msgspec.Raw]) -> list[Output]:
        good, out, bad = decode_some(rows, _ACCOUNT, "account")
        if bad or (not good and frame.event_type is None):
            return out or [Malformed(what="okx account: a frame without an account")]
        coins, unread, damaged = decode_some((coin for row in good for coin in row.details), _COIN, "account")
        out += unread
        if good:
            self._header = good[-1]
            out += self._weigh(self._header)
        if _is_event(frame):
            if not self._coins.update(coins):
                return [*out, Refresh(why=f"account: more than {tables.MAX_ROWS} currencies")]
            return [*out, *self._balance(coins, full=False)]
        progress = self._coins.snapshot(
            frame.cur_page or 1, frame.last_page is not False, coins, ("currency",) if damaged else ()
        )
        if progress == "lost":
            return [*out, Refresh(why=f"account: page {frame.cur_page} came without the pages before it")]
        return [*out, *self._all_balances()] if progress == "complete" else out

    def _brief_rows(self, rows: list[msgspec.Raw]) -> list[Output]:
        """Translate events; of the first snapshot nothing is read, the positions channel says it all."""
        events, out, _ = decode_some(rows, _BRIEF, "balance_and_position")
        for event in events:
            if event.event_type == brief.SNAPSHOT:
                continue
            if not brief.is_known(event.event_type):
                out.append(Notice(code="balance_and_position", what=f"unknown event type {event.event_type[:50]!r}"))
            found, notes, _ = decode_some(event.pos_data, _BRIEF_POSITION, "balance_and_position")
            out += notes
            for strange in sorted({one.inst_type for one in found} - tables.INSTRUMENT_TYPES):
                out.append(Notice(code="balance_and_position", what=f"unknown type of instrument {strange[:50]!r}"))
            out += self._activity.learn(found)
            out += brief.evidence(event, found, self._account)
            out += self._moved(found)
            self._activity.seek(event.event_type, int(event.p_time))
        return out

    def _moved(self, positions: Iterable[wire.BriefPosition]) -> list[Output]:
        """Tell of sizes and entries that the positions channel has not told yet."""
        book = self._books[_ANY]
        if not book.complete:
            return []
        rows = [
            row
            for one in positions
            if one.inst_type in tables.KINDS
            and (row := brief.newer(one, book.get((one.inst_id, one.pos_side, one.mgn_mode, one.ccy)))) is not None
            and parse.side_is_known(row)
        ]
        if not book.update(rows):
            return [Refresh(why=f"positions: more than {tables.MAX_ROWS} rows")]
        return [] if self._held else self._each(rows)

    def _each(self, rows: Iterable[wire.PositionRow]) -> list[Output]:
        mode = self._mode or parse.DEFAULT_MODE
        return [parse.parse_position(row, self._account, mode) for row in rows]

    def _all_positions(self, covers: str) -> list[Output]:
        """Return the newest snapshot, one record a type.

        Of a type with a row that could not be read only the others' presence is known: nothing may be closed by it.
        """
        book = self._books[covers]
        if self._held or not book.complete:
            return []
        rows = [row for row in book.rows if not parse.is_zero(row)]
        fence = parse.snapshot_fence(rows)
        return [
            out
            for inst_type in _types(covers)
            for out in self._of_type(inst_type, rows, fence, inst_type in book.damaged)
        ]

    def _all_balances(self) -> list[Output]:
        """Return the newest balances; a currency that could not be read is not one that is gone."""
        if not self._coins.complete:
            return []
        return self._balance(self._coins.rows, full=not self._coins.damaged)

    def _of_type(
        self,
        inst_type: str,
        rows: list[wire.PositionRow],
        fence: tuple[int, ...],
        damaged: bool,
        asked_at: int | None = None,
    ) -> list[Output]:
        mode = self._mode or parse.DEFAULT_MODE
        states = tuple(parse.parse_position(row, self._account, mode) for row in rows if row.inst_type == inst_type)
        if damaged:
            return list(states)
        scope = parse.position_scope(inst_type)
        return [PositionsSnapshot(account=self._account, scope=scope, positions=states, asked_at=asked_at, fence=fence)]

    def _balance(self, coins: Iterable[wire.CoinRow], full: bool) -> list[Output]:
        if self._held:
            return []
        header = self._header or wire.AccountRow(details=[])
        return [parse.parse_balance(header, coins, self._account, self._mode or parse.DEFAULT_MODE, full)]

    # --- mode ----------------------------------------------------------------------------------------------------

    def _configured(self, config: wire.ConfigRow) -> list[Output]:
        """Take the configuration: the mode and what it changes, and what the key may do."""
        self._activity.hedge = hedge = parse.parse_hedge(config)
        mode = parse.Mode(config.acct_lv)
        key = parse.parse_key(config, self._account)
        unsaid = Malformed(what=f"{tables.NAME} {tables.CONFIG_PATH}: it does not say what the key may do (perm)")
        out: list[Output] = [parse.account_mode(self._account, mode, hedge), key or unsaid, *self._take(mode)]
        if hedge is None and config.pos_mode:
            out.append(Notice(code="config", what=f"unknown position mode {config.pos_mode[:50]!r}"))
        self._answers.clear()
        return out

    def _infer(self, mode: parse.Mode) -> list[Output]:
        """Take a mode that is only inferred, unless it is known for certain."""
        if self._certain or mode == self._mode:
            return []
        return [parse.account_mode(self._account, mode), *self._take(mode)]

    def _take(self, mode: parse.Mode) -> list[Output]:
        """Take a mode; where it changes the pools, say again what was said under the former one."""
        before, was_held = self._mode, self._held
        self._mode = mode
        if mode == before or (not was_held and (before is None or before.level == mode.level)):
            return []
        out: list[Output] = []
        for request, rows, asked_at in self._answers.values():
            out += self._translated(request, rows, asked_at)
        for covers in self._books:
            out += self._all_positions(covers)
        return out + self._all_balances()

    def _weigh(self, header: wire.AccountRow) -> list[Output]:
        """Infer the mode from an account row, or hold the row against the mode that is known."""
        evidence = parse.infer_mode(header)
        return self._contradiction(evidence) if self._held or self._certain else self._infer(evidence)

    def _contradiction(self, evidence: parse.Mode) -> list[Output]:
        """Ask for the mode again when an account row looks like another one (the user may switch it at any time)."""
        if self._mode is None or evidence.per_currency == self._mode.per_currency:
            self._questioned = None
        elif evidence != self._questioned:
            self._questioned = evidence
            self._asks.append(Ask(request=build.config_request()))
        return []

    # --- answers -------------------------------------------------------------------------------------------------

    def _answered(self, request: HttpRequest, rows: list[msgspec.Raw], asked_at: int) -> list[Output]:
        path = urlsplit(request.path).path
        out: list[Output] = []
        if path in activity.PATHS:
            return self._activity.answer(request, rows, asked_at)
        if path == tables.CONFIG_PATH:
            configs = decode_all(rows, _CONFIG, request.path)
            if not configs:
                raise ProtocolViolation(f"{tables.NAME} {request.path}", "an empty answer where the account's mode is")
            return self._configured(configs[0])
        if path == tables.BALANCE_PATH:
            out = [one for row in decode_all(rows[:1], _ACCOUNT, request.path) for one in self._weigh(row)]
        elif path == tables.POSITIONS_PATH and not self._held:
            out = self._infer(self._mode or parse.DEFAULT_MODE)
        out += self._translated(request, rows, asked_at)
        if not self._certain:
            self._answers.pop(request.path, None)
            self._answers[request.path] = (request, rows, asked_at)
            while len(self._answers) > _KEPT_ANSWERS:
                del self._answers[next(iter(self._answers))]
        return out

    def _translated(self, request: HttpRequest, rows: list[msgspec.Raw], asked_at: int) -> list[Output]:
        """Translate an answer under the present mode."""
        target = urlsplit(request.path)
        query = parse_qs(target.query)
        if target.path == tables.POSITIONS_PATH:
            return self._positions_answer(request, rows, query, asked_at)
        if target.path == tables.BALANCE_PATH:
            return self._balance_answer(request, rows, "ccy" not in query, asked_at)
        return super()._answered(request, rows, asked_at)

    def _positions_answer(
        self, request: HttpRequest, raw: list[msgspec.Raw], query: dict[str, list[str]], asked_at: int
    ) -> list[Output]:
        """Translate positions: all, or all of a type, is a snapshot; of named instruments or ids it is single rows."""
        rows, notes = usable.read_all(raw, request.path)
        if "instId" in query or "posId" in query:
            return [*notes, *self._each(rows)]
        rows = [row for row in rows if not parse.is_zero(row)]
        types = _types(query.get("instType", [_ANY])[0])
        return notes + [one for of in types for one in self._of_type(of, rows, (), False, asked_at)]

    def _balance_answer(self, request: HttpRequest, raw: list[msgspec.Raw], full: bool, asked_at: int) -> list[Output]:
        rows = decode_all(raw, _ACCOUNT, request.path)
        if not rows:
            raise ProtocolViolation(f"{tables.NAME} {request.path}", "an answer without an account")
        coins = decode_all(rows[0].details, _COIN, request.path)
        mode = self._mode or parse.DEFAULT_MODE
        return [parse.parse_balance(rows[0], coins, self._account, mode, full, asked_at)]

    def _due(self) -> list[Output]:
        asks, self._asks = self._asks, []
        return asks + self._activity.due()


def _types(covers: str) -> tuple[str, ...]:
    return tuple(tables.KINDS) if covers == _ANY else (covers,)


def _is_event(frame: wire.Frame) -> bool:
    """Say whether a frame is about single rows; frames from before March 2025 lack the word and are snapshots."""
    return frame.event_type not in (None, "snapshot")
