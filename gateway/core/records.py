"""What the gateway itself puts on record: corrections of its tables, and open → close cycles; and where durable state goes.

Owns their form. Records travel like events: a restart gives them back to the engine as they were put.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, Protocol

import msgspec

from exchanges.events import (
    AccountMode,
    BalanceState,
    CollateralTiers,
    Event,
    Fill,
    FundingPayment,
    Instrument,
    MarginTiers,
    PositionState,
    Side,
    Transfer,
)
from gateway.core.alerts.records import AlertRecord, EquitySample, Silence

CorrectionClass = Literal[
    "missed_event",  # it happened while the private stream was live: the stream should have told
    "closed_on_venue",  # these four: while we were not listening, or found first by asking
    "opened_on_venue",
    "size",
    "entry",
    "margin",
    "liquidated",
    "adl",
    "settled",
    "adjusted",  # split, rebase, rename
    "mode_leftover",  # rows of another position or margin mode went away, or came, with the account's mode
    "allocation",  # the account holds less than it was given
    "unknown",  # no evidence
]
Trigger = Literal["start", "reconnect", "timer", "demand", "stream"]
CloseReason = Literal["trade", "liquidated", "adl", "settled", "reconciled"]


class Correction(Event, frozen=True, kw_only=True, rename={"cls": "class"}):
    """One difference between a table and the venue, which was right.

    Attributes:
        cls: None while evidence is being asked (``pending``).
        before, after: The venue-sent fields that differ, digits unchanged; a side that is not there has size "0".
        evidence: Ids and the venue's words.
        found_at: Our clock. ``since``: what happened after this moment may explain it.
        mode: The account's mode changed in that time: from and to what, in the venue's words.
    """

    id: str
    account: str
    position: str | None = None
    symbol: str | None = None
    cls: CorrectionClass | None = None
    before: Mapping[str, str]
    after: Mapping[str, str]
    evidence: tuple[str, ...] = ()
    found_at: int
    since: int
    trigger: Trigger
    mode: str | None = None

    @property
    def pending(self) -> bool:
        """True while evidence is being asked."""
        return self.cls is None


class ClosedCycle(Event, frozen=True, kw_only=True):
    """One position from open to close.

    Attributes:
        id: The position's id, "@", and when it was opened; or "c" and when it was closed, where the venue does not say.
        size: The largest held, in the venue's unit; of what was seen by this process.
        reason: None until evidence tells.
        since: What happened after this moment may be the reason of the close.
        exit_price, realized_pnl … realized_net: As its fills have them; None where not all of them are known.
    """

    id: str
    account: str
    position: str
    symbol: str
    side: Side | None
    size: str
    status: Literal["closed", "liquidated"] = "closed"
    reason: CloseReason | None = None
    entry_price: str | None = None
    opened_at: int | None = None
    closed_at: int
    since: int
    exit_price: str | None = None
    realized_pnl: str | None = None
    fees: str | None = None
    funding: str | None = None
    liquidation_fee: str | None = None
    realized_net: str | None = None


class Covered(Event, frozen=True, kw_only=True):
    """Since when an account's fills and payments are whole (the venue's time). ``until`` None: up to the last write.

    One record an account, ``id`` its name: it is put again where it changes.
    """

    id: str
    account: str
    since: int
    until: int | None = None
    at: int


class PositionChange(Event, frozen=True, kw_only=True):
    """What the venue says of a position changed: the names of the fields, and the whole state that it became.

    Attributes:
        id: A place of its own among those of the journal (``Places``), ":", and the position.
        state: None: it is gone.
        journal: The raw entry that it came by.
    """

    id: str
    account: str
    position: str
    symbol: str
    at: int
    changed: tuple[str, ...]
    state: PositionState | None
    journal: int | None = None


class PastPosition(Event, frozen=True, kw_only=True):
    """One position from open to close, worked out from its fills and payments; amounts in ``settle``, digits exact.

    Attributes:
        id: The position, "@", and the id of the fill that opened it (a flip opens the next one by the same fill).
        size: The largest held, in the venue's unit. ``entry_price``, ``exit_price``: averages by size (inverse: harmonic).
        realized_pnl: Of the price alone, the venue's figure where it sends one. ``realized_net``: the sum of the five amounts.
        own_pnl: The same by the prices and sizes of the fills alone; None where they do not tell.
        other_fees: Fees in currencies other than ``settle``, by currency: in no sum.
        partial_closes: Fills that made it smaller and did not end it.
        complete: Its first fill is known to have opened it, and no fill is missing. Else amounts are of what is known.
        differs: What the venue's own record of it says otherwise: field → the venue's figure.
    """

    id: str
    account: str
    position: str
    symbol: str
    side: Side
    settle: str | None = None
    size: str
    entry_price: str | None = None
    exit_price: str | None = None
    status: Literal["closed", "liquidated"] = "closed"
    reason: CloseReason
    realized_pnl: str | None = None
    fees: str | None = None
    funding: str | None = None
    liquidation_fee: str | None = None
    realized_net: str | None = None
    own_pnl: str | None = None
    other_fees: Mapping[str, str] = {}
    opened_at: int
    closed_at: int
    fills: int
    partial_closes: int = 0
    complete: bool = True
    differs: Mapping[str, str] = {}

    @property
    def at(self) -> int:
        """When it was closed."""
        return self.closed_at


class OpenCycle(Event, frozen=True, kw_only=True):
    """The cycles that are under way in one symbol of an account, as they are stored: a chain (``gateway.core.chains``) as JSON.

    ``at``: of the last record in it.
    """

    id: str
    account: str
    symbol: str
    at: int
    chain: msgspec.Raw


class Backfill(Event, frozen=True, kw_only=True):
    """How far the past of an account was read, from ``since`` to ``until`` (ms): everything before ``done`` was."""

    id: str
    account: str
    at: int
    since: int
    until: int
    done: int
    records: int = 0
    error: str | None = None


VerificationClass = Literal[
    "rounding", "before_history", "fee_currency", "settlement", "liquidation_fee", "rebate", "unexplained"
]


class Finding(msgspec.Struct, frozen=True, kw_only=True, rename={"cls": "class"}, gc=False):
    """One difference between what fills come to and the venue's own records, or a day's books, and what explains it.

    Attributes:
        what: Which trade, order, position or payment.
        since, at: What it spans (the venue's time).
        differences: Field → the venue's figure less ours, in ``ccy``.
        effect: What the stored rows of the account would have to bring besides, for them to be the venue's; "": only the balance
            of the day tells.
        fills, payments, records: Ids of the stored rows that it is about.
    """

    cls: VerificationClass
    what: str
    symbol: str | None = None
    position: str | None = None
    since: int
    at: int
    ccy: str | None = None
    differences: Mapping[str, str] = {}
    effect: str = "0"
    fills: tuple[str, ...] = ()
    payments: tuple[str, ...] = ()
    records: tuple[str, ...] = ()


class Balance(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What moved an account's equity in one currency (``ccy`` "USD": all of it in US dollars) from one sample to another.

    ``equity = realized + unrealized + transfers + interest + revaluation + findings + unexplained``. ``findings``: what the lines
    of the same days say is wrong in the stored rows; where one does not know what it comes to, that is what is left. ``bound``:
    what rounding may come to in ``unexplained``.
    """

    ccy: str
    equity: str
    realized: str
    unrealized: str
    transfers: str
    interest: str
    revaluation: str
    findings: str
    unexplained: str
    bound: str


class Verification(Event, frozen=True, kw_only=True, rename={"cls": "class"}):
    """Our sums against the venue's books: of one account, symbol and UTC day; or, without ``symbol``, the balance of that day.

    Attributes:
        day, at: Its beginning (ms). ``worked_at``: when it was worked out.
        cls: The worst of the findings' classes; None: everything is equal to the last digit, or nothing could be compared.
        compared: How many records and trades were; ``equal``: to the last digit.
        ours, venue: Sums of what was compared, by field.
        balance: By currency, and in US dollars. ``since``, ``until``: of which moments the two samples of equity are.
        note: Why nothing could be compared, or what lies between the samples and the ends of the day.
    """

    id: str
    account: str
    symbol: str | None = None
    day: int
    at: int
    worked_at: int
    cls: VerificationClass | None = None
    compared: int = 0
    equal: int = 0
    ours: Mapping[str, str] = {}
    venue: Mapping[str, str] = {}
    balance: tuple[Balance, ...] = ()
    since: int | None = None
    until: int | None = None
    findings: tuple[Finding, ...] = ()
    note: str = ""


class Acknowledged(Event, frozen=True, kw_only=True):
    """Somebody took note of an alert (``alert``: its row's id)."""

    alert: str


class Forgotten(Event, frozen=True, kw_only=True):
    """Somebody closed the rows of an account whose venue cannot be asked any more."""

    account: str
    reason: str


class Demanded(Event, frozen=True, kw_only=True):
    """Somebody asked for an account's figures as they are now."""

    account: str


# What people do, as turns of the engine.
Order = Acknowledged | Silence | Forgotten | Demanded


class Sink(Protocol):
    """Where durable state goes; every call returns at once and never raises. A record put again replaces the former one."""

    def put_position(self, state: PositionState, seq: int) -> None: ...
    def remove_position(self, row_id: str, seq: int) -> None: ...
    def put_instrument(self, instrument: Instrument) -> None: ...
    def put_tiers(self, tiers: MarginTiers) -> None: ...
    def put_collateral(self, tiers: CollateralTiers) -> None: ...
    def put_balance(self, balance: BalanceState) -> None: ...
    def put_mode(self, mode: AccountMode) -> None: ...
    def put_fill(self, fill: Fill) -> None: ...
    def put_funding(self, payment: FundingPayment) -> None: ...
    def put_transfer(self, transfer: Transfer) -> None: ...
    def put_correction(self, correction: Correction) -> None: ...
    def put_closed(self, cycle: ClosedCycle) -> None: ...
    def put_covered(self, covered: Covered) -> None: ...
    def put_alert(self, alert: AlertRecord) -> None: ...
    def put_silence(self, silence: Silence) -> None: ...
    def put_equity(self, sample: EquitySample) -> None: ...
    def put_verification(self, verification: Verification) -> None: ...
