"""The public connection of OKX: prices, funding rates, contracts, position tiers and discount rates of one environment.

Owns protocol state only. Pure: no I/O, no clock. Source: OKX v5 docs, public data.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from urllib.parse import parse_qs, urlsplit

import msgspec

from exchanges.collateral import Haircuts
from exchanges.errors import ProtocolViolation
from exchanges.events import MarginMode
from exchanges.okx import build, contracts, tables, wire
from exchanges.okx.currencies import Currencies
from exchanges.okx.session import Session, decode_all, decode_some
from exchanges.venue import Ask, Data, Heard, HttpRequest, Notice, Output, SubscribeRefused

_INSTRUMENT = msgspec.json.Decoder(wire.InstrumentRow)
_TIER = msgspec.json.Decoder(wire.TierRow)
_DISCOUNT = msgspec.json.Decoder(wire.DiscountRow)
_MARK = msgspec.json.Decoder(wire.MarkRow)
_INDEX = msgspec.json.Decoder(wire.IndexRow)
_FUNDING = msgspec.json.Decoder(wire.FundingRow)

_MARGIN_MODES: dict[str, MarginMode] = {"cross": "cross", "isolated": "isolated"}
_EXPIRY = re.compile(r"-[0-9]{6}$")


class PublicLink(Session):
    """Prices, funding rates and contracts of one environment.

    Contracts come first by REST, their changes by the stream. A symbol that is not among them (listed later, renamed) has
    them asked again, once; the position tiers of a family are asked when a symbol of it is first wanted. Both as ``Ask``
    out of the next ``receive`` or ``answer``, of which the marks themselves bring several a second. Tiers and discount rates
    are asked again every few hours.
    """

    connection = "public"

    def __init__(self, url: str, env: str) -> None:
        super().__init__(url, demo=env == "demo")
        self._env = env
        self._loaded: set[str] = set()  # types whose contracts have arrived
        self._families: dict[str, tuple[str, str]] = {}  # symbol → type and family
        self._wanted: set[str] = set()
        self._unserved: set[str] = set()  # wanted symbols that may still need a question
        self._asked_again: set[str] = set()  # unknown symbols
        self._tiers_asked: set[tuple[str, str]] = set()
        self._xperps: set[str] = set()  # futures that pay funding as swaps do
        self._resting: set[str] = set()  # symbols that are not traded now: their marks may stop
        self._currencies = Currencies(env)
        self._haircuts = Haircuts(build.discounts_request(), tables.TABLES_EVERY_MS)
        self._at = 0  # the latest receive time
        self._tiers_since: int | None = None  # when the tiers began to be asked that are known
        self._priced: tuple[str, ...] = ()  # the topics that were said to bring prices

    @property
    def ready(self) -> bool:
        """True when the contracts of every modelled type have arrived."""
        return self._loaded.issuperset(tables.MODELLED)

    def topics(self) -> tuple[str, ...]:
        """Return one mark that is always wanted: the venue closes a connection without a subscription."""
        return (build.mark_topic(tables.ALWAYS_SYMBOL),)

    def price_topics(self, symbols: Iterable[str], currencies: Iterable[str] = ()) -> tuple[str, ...]:
        """Return the topics of marks, funding rates, currencies and changes of contracts.

        Remembers to ask for the tiers of symbols that are new.
        """
        named = tuple(symbols)
        self._unserved.update(set(named) - self._wanted)
        self._wanted.update(named)
        wanted = tuple(currencies)
        self._haircuts.want(wanted)
        self._priced = (
            *(build.mark_topic(symbol) for symbol in named),
            *(build.funding_topic(symbol) for symbol in named if symbol.endswith("-SWAP") or symbol in self._xperps),
            *self._currencies.topics(wanted),
            *(build.instruments_topic(inst_type) for inst_type in tables.MODELLED),
        )
        return self._priced

    def watch(self) -> Mapping[str, float]:
        """Return the prices that the venue repeats when they do not change."""
        every = {
            build.MARK_PRICE: tables.MARK_SILENT_S,
            build.INDEX: tables.INDEX_SILENT_S,
            build.FUNDING_RATE: tables.FUNDING_SILENT_S,
        }
        watched = {}
        for topic in (*self.topics(), *self._priced):
            channel, _, symbol = topic.partition(":")
            if channel in every and symbol not in self._resting:
                watched[topic] = every[channel]
        return watched

    def unsubscribe(self, topics: Sequence[str]) -> list[str]:
        """Return the frames that unsubscribe those topics, but never the one that keeps the connection open."""
        marks = (topic.partition(":") for topic in topics)
        self._wanted.difference_update(symbol for channel, _, symbol in marks if channel == build.MARK_PRICE)
        return super().unsubscribe([topic for topic in topics if topic not in self.topics()])

    def bootstrap(self) -> list[HttpRequest]:
        """Ask for the contracts of every modelled type."""
        return [build.instruments_request(inst_type) for inst_type in tables.MODELLED]

    def receive(self, data: Data, at: int) -> list[Output]:
        """Translate one frame; never raises on bad input."""
        self._at = max(self._at, at)
        return super().receive(data, at)

    def answer(self, request: HttpRequest, body: bytes, asked_at: int, at: int) -> list[Output]:
        """Translate a REST answer. Raises ProtocolViolation where it is not what the venue documents."""
        self._at = max(self._at, at)
        return super().answer(request, body, asked_at, at)

    def _data(self, arg: wire.Arg, frame: wire.Frame, rows: list[msgspec.Raw]) -> list[Output]:
        if arg.channel == build.MARK_PRICE:
            good, notes, _ = decode_some(rows, _MARK, "mark-price")
            return [*notes, *(contracts.parse_mark(row, self._env) for row in good), self._heard(arg)]
        if arg.channel == build.INDEX:
            indices, notes, _ = decode_some(rows, _INDEX, "index-tickers")
            return [*notes, *(price for row in indices for price in self._currencies.prices(row)), self._heard(arg)]
        if arg.channel == build.FUNDING_RATE:
            rates, notes, _ = decode_some(rows, _FUNDING, "funding-rate")
            return [*notes, *(contracts.parse_funding_rate(row, self._env) for row in rates), self._heard(arg)]
        if arg.channel == build.INSTRUMENTS:
            instruments, notes, _ = decode_some(rows, _INSTRUMENT, "instruments")
            return notes + self._instruments(instruments)
        return super()._data(arg, frame, rows)

    def _heard(self, arg: wire.Arg) -> Heard:
        return Heard(topics=(f"{arg.channel}:{arg.inst_id}",))

    def _error(self, frame: wire.Frame, code: str, said: str) -> list[Output]:
        """Translate an error; an index that does not exist has its currency told by another one.

        That one's present value is asked, too: with its answer the feed looks again which topics are wanted.
        """
        out = super()._error(frame, code, said)
        gone = [topic for one in out if isinstance(one, SubscribeRefused) and one.permanent for topic in one.topics]
        return [*out, *(Ask(request=build.index_request(pair)) for pair in self._currencies.refused(gone))]

    def _answered(self, request: HttpRequest, rows: list[msgspec.Raw], asked_at: int) -> list[Output]:
        target = urlsplit(request.path)
        query = parse_qs(target.query)
        inst_type = query.get("instType", [""])[0]
        if target.path == tables.INSTRUMENTS_PATH:
            instruments, notes, _ = decode_some(rows, _INSTRUMENT, request.path)
            if rows and not instruments:
                raise ProtocolViolation(f"{tables.NAME} {request.path}", "no row can be read")
            self._loaded.add(inst_type)
            return notes + self._instruments(instruments)
        if target.path == tables.TIERS_PATH:
            margin_mode = _MARGIN_MODES.get(query.get("tdMode", [""])[0])
            return [*contracts.parse_tiers(decode_all(rows, _TIER, request.path), inst_type, self._env, margin_mode)]
        if target.path == tables.DISCOUNTS_PATH:
            discounts, notes, _ = decode_some(rows, _DISCOUNT, request.path)
            if rows and not discounts:
                raise ProtocolViolation(f"{tables.NAME} {request.path}", "no row can be read")
            table = (contracts.parse_discount(row, self._env) for row in discounts)
            self._haircuts.take(tiers for tiers in table if tiers is not None)
            return notes
        if target.path == tables.MARK_PRICE_PATH:
            marks, notes, _ = decode_some(rows, _MARK, request.path)
            return [*notes, *(contracts.parse_mark(row, self._env) for row in marks)]
        if target.path == tables.INDEX_PATH:
            indices = decode_all(rows, _INDEX, request.path)
            return [price for row in indices for price in self._currencies.prices(row)]
        return super()._answered(request, rows, asked_at)

    def _instruments(self, rows: Iterable[wire.InstrumentRow]) -> list[Output]:
        out: list[Output] = []
        left: list[str] = []
        for row in rows:
            self._note(row)
            instrument = contracts.parse_instrument(row, self._env) if row.inst_type in tables.MODELLED else None
            if instrument is None:
                # Before its opening a market has no contract yet, and nobody a position in it.
                if row.state not in ("preopen", "test"):
                    left.append(row.inst_id)
                continue
            if instrument.tiers_key is not None:
                inst_type, _, family = instrument.tiers_key.partition(":")
                self._families[row.inst_id] = inst_type, family
            out.append(instrument)
        self._unserved.update(self._wanted)
        if left:
            named = ", ".join(left[:5])
            out.append(
                Notice(
                    code="instruments", what=f"{len(left)} without the size of a contract or of a type without: {named}"
                )
            )
        return out

    def _note(self, row: wire.InstrumentRow) -> None:
        """Remember what decides the topics of a symbol and how long they can be quiet."""
        (self._xperps.add if row.rule_type == "xperp" else self._xperps.discard)(row.inst_id)
        (self._resting.discard if row.state in (None, "live") else self._resting.add)(row.inst_id)

    def _due(self) -> list[Output]:
        """Return the questions that wanted symbols and currencies need now."""
        return [*self._haircuts.due(self._at), *self._tiers_due()]

    def _tiers_due(self) -> list[Output]:
        if not self.ready:
            return []
        if self._tiers_since is None or self._at - self._tiers_since >= tables.TABLES_EVERY_MS:
            self._tiers_since = self._at
            self._tiers_asked.clear()
            self._unserved.update(self._wanted)
        if not self._unserved:
            return []
        families: dict[str, list[str]] = {}
        again: set[str] = set()
        for symbol in sorted(self._unserved):
            known = self._families.get(symbol)
            if known is None:
                again.update(self._unknown(symbol))
            elif known not in self._tiers_asked:
                self._tiers_asked.add(known)
                families.setdefault(known[0], []).append(known[1])
        self._unserved.clear()
        requests = [build.instruments_request(inst_type) for inst_type in sorted(again)]
        for inst_type, of_type in families.items():
            requests += build.tiers_requests(inst_type, of_type)
        return [Ask(request=request) for request in requests]

    def _unknown(self, symbol: str) -> tuple[str, ...]:
        """Return the type whose contracts should hold a symbol, the first time it is missing among them."""
        if symbol in self._asked_again:
            return ()
        self._asked_again.add(symbol)
        if symbol.endswith("-SWAP"):
            return ("SWAP",)
        return ("FUTURES",) if _EXPIRY.search(symbol) else ()
