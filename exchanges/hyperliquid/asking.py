"""What is asked about one Hyperliquid account, by subscription and by REST, within the venue's weight.

Owns which dexes are of interest and whose turn it is. Pure. Reads no answer: ``private`` does.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from exchanges.hyperliquid import build, tables
from exchanges.hyperliquid.session import Known
from exchanges.venue import HttpRequest


class Asking:
    """The questions of one account.

    Args:
        address: The account's, in lower case.
        known: What its connections learned.
        dexes: The dexes beside the main one that are asked for; None: all of them.

    Attributes:
        active: The dexes that hold something, or are asked for by name.
    """

    def __init__(self, address: str, known: Known, dexes: tuple[str, ...] | None) -> None:
        self._address, self._known, self._dexes = address, known, dexes
        self.active: dict[str, None] = dict.fromkeys(dexes or ())
        self._rounds = 0
        self._sweep = False  # the dexes are being asked for in order to ask each for its state

    def topics(self) -> tuple[str, ...]:
        """Return the state of all dexes, lists of open orders, and everything that happens."""
        return (*(build.topic(kind, user=self._address) for kind in tables.USER_TOPICS), *self._lists())

    def watch(self) -> Mapping[str, float]:
        """Return the topics that come every few seconds, changed or not."""
        states = (build.topic(kind, user=self._address) for kind in tables.USER_TOPICS if kind in tables.PERIODIC)
        return dict.fromkeys((*states, *self._lists()), tables.STATES_WITHIN_S)

    def orders_topic(self, dex: str) -> str:
        """Return the topic of a dex's open orders."""
        return build.topic("openOrders", user=self._address, dex=dex)

    def _lists(self) -> list[str]:
        return [self.orders_topic(dex) for dex in ("", *(self._dexes or ()))]

    def question(self, kind: str, **params: str | int) -> HttpRequest:
        """Return an info request about this account."""
        return build.info(kind, user=self._address, **params)

    def audit(self) -> list[HttpRequest]:
        """Return who the address is, the account's mode, and the dexes there are."""
        return [self.question("userRole"), self.question("userAbstraction"), build.info("allPerpMetas")]

    def state(self, *, mode: bool) -> list[HttpRequest]:
        """Return one round: the mode where it is due, positions of every dex, spot balances and open orders.

        Open orders cost ten times as much: those of the main dex and of one other, in turn, are asked each time.
        """
        self._rounds += 1
        self._sweep = self._dexes is None and self._known.dexes is None
        return [
            *([self.question("userAbstraction")] if mode else ()),
            *(self._contracts() if self._sweep else ()),
            *(self.question("clearinghouseState", dex=dex) for dex in self._interesting()),
            self.question("spotClearinghouseState"),
            *(self.question("frontendOpenOrders", dex=dex) for dex in self._orders_due()),
        ]

    def history(self, since_ms: int) -> list[HttpRequest]:
        """Return fills, slices of TWAP orders, funding and the ledger since then; first what names their currencies."""
        return [*self._contracts(), *(self.question(kind, startTime=since_ms) for kind in tables.HISTORY)]

    def records(self, since_ms: int, until_ms: int) -> list[HttpRequest]:
        """Return the same of a window, its end not in it."""
        window = {"startTime": since_ms, "endTime": until_ms - 1}
        return [*self._contracts(), *(self.question(kind, **window) for kind in tables.HISTORY)]

    def find_order(self, order_id: str) -> list[HttpRequest]:
        """Return the question for one order by the venue's id or, 0x…, the client's; ids are the same for all coins."""
        oid: str | int = int(order_id) if order_id.isdecimal() else order_id
        return [self.question("orderStatus", oid=oid)]

    def note_active(self, dexes: Iterable[str]) -> None:
        """Note that these dexes hold something."""
        if len(self.active) < tables.MAX_DEXES:
            self.active |= dict.fromkeys(dex for dex in dexes if dex)

    def learned(self) -> tuple[list[HttpRequest], list[str]]:
        """Say what follows from the dexes being known now.

        Returns:
            The states that a round could not ask for yet, and those dexes that are asked for by name and do not exist:
            they are asked for no more.
        """
        unknown = sorted(set(self._dexes or ()) - set(self._known.dexes or ()))
        self.active = {dex: None for dex in self.active if dex not in unknown}
        if not self._sweep:
            return [], unknown
        self._sweep = False
        new = (dex for dex in self._chosen() if dex not in self.active)
        return [self.question("clearinghouseState", dex=dex) for dex in new], unknown

    def _contracts(self) -> list[HttpRequest]:
        return [build.info("allPerpMetas")] if self._known.dexes is None else []

    def _interesting(self) -> list[str]:
        """Return the main dex, and those configured (else all), and those that were seen to hold something."""
        return list(dict.fromkeys(("", *self._chosen(), *self.active)))

    def _chosen(self) -> tuple[str, ...]:
        """Return the dexes that are asked without being named: all, or where there are very many, the next ones of them."""
        dexes = (self._known.dexes or ()) if self._dexes is None else ()
        if len(dexes) <= tables.MOST_DEXES:
            return dexes
        start = self._rounds * tables.MOST_DEXES % len(dexes)
        return (dexes + dexes)[start : start + tables.MOST_DEXES]

    def _orders_due(self) -> list[str]:
        """Return the main dex and one that holds something, in turn; every tenth time one of all."""
        quiet = self._rounds % 10 == 0
        dexes = [dex for dex in (self._interesting() if quiet else self.active) if dex]
        turn = self._rounds // 10 if quiet else self._rounds
        return ["", dexes[turn % len(dexes)]] if dexes else [""]
