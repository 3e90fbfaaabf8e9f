"""The shapes of what Aster's streams bring, as far as it is read. Pure.

Owns the schema only: ``wire`` decodes it. Source: Aster futures docs, user data streams and market streams.
"""

from __future__ import annotations

from msgspec import Raw, Struct, field

from exchanges.aster.wire import Figure, Id, Known, Millis, Name


class Mark(Struct, frozen=True):
    """``markPriceUpdate``: mark, index, current funding rate, next funding time."""

    s: Name
    p: Known
    event_at: Millis = field(name="E")
    i: Figure = None
    r: Figure = None
    next_at: Millis = field(default=None, name="T")


class PushedBalance(Struct, frozen=True):
    """One asset of ``ACCOUNT_UPDATE``: wallet balance, and the part of it that cross positions share."""

    a: Name
    wb: Known
    cw: Known


class PushedPosition(Struct, frozen=True):
    """One leg of ``ACCOUNT_UPDATE``; ``pa`` is signed, ``iw`` excludes unrealised PnL, ``ma`` is not documented."""

    s: Name
    pa: Known
    ps: str
    mt: str = ""
    ep: Figure = None
    up: Figure = None
    iw: Figure = None
    ma: str | None = None


class Update(Struct, frozen=True):
    """The body of ``ACCOUNT_UPDATE``; rows are decoded one by one, so that a bad one costs no other."""

    m: str = ""
    balances: list[Raw] = field(default_factory=list, name="B")
    positions: list[Raw] = field(default_factory=list, name="P")


class AccountUpdate(Struct, frozen=True):
    """``ACCOUNT_UPDATE``: absolute values of what changed, and of nothing else."""

    a: Update
    event_at: Millis = field(name="E")
    done_at: Millis = field(default=None, name="T")


class PushedOrder(Struct, frozen=True, kw_only=True):
    """The body of ``ORDER_TRADE_UPDATE``; commission ``n`` is positive where it is paid, absent where there is none."""

    s: Name
    i: Id
    side: str = field(name="S")
    ps: str = ""
    c: str = ""
    o: str = ""
    q: Figure = None
    p: Figure = None
    ap: Figure = None
    sp: Figure = None
    x: str
    status: str = field(name="X")
    l: Figure = None  # noqa: E741 - the venue's own name
    z: Figure = None
    last_price: Figure = field(default=None, name="L")
    n: Figure = None
    fee_ccy: str | None = field(default=None, name="N")
    t: Id = 0
    traded_at: Millis = field(default=None, name="T")
    m: bool | None = None
    reduce_only: bool | None = field(default=None, name="R")
    rp: Figure = None


class OrderUpdate(Struct, frozen=True):
    """``ORDER_TRADE_UPDATE``."""

    o: PushedOrder
    event_at: Millis = field(name="E")
    done_at: Millis = field(default=None, name="T")


class Leverage(Struct, frozen=True):
    """A symbol's new leverage."""

    s: Name
    l: int  # noqa: E741 - the venue's own name


class Modes(Struct, frozen=True):
    """The account's switches: ``j`` multi-assets mode, ``d`` hedge mode (newer messages alone)."""

    j: bool | None = None
    d: bool | None = None


class ConfigUpdate(Struct, frozen=True):
    """``ACCOUNT_CONFIG_UPDATE``."""

    event_at: Millis = field(name="E")
    done_at: Millis = field(default=None, name="T")
    ac: Leverage | None = None
    ai: Modes | None = None


class CalledPosition(Struct, frozen=True):
    """One position of ``MARGIN_CALL``: amount, mark, maintenance margin."""

    s: Name
    ps: str
    pa: str = ""
    mp: str = ""
    mm: str = ""


class MarginCall(Struct, frozen=True):
    """``MARGIN_CALL``."""

    event_at: Millis = field(name="E")
    p: list[CalledPosition] = []


class Announced(Struct, frozen=True):
    """The English text of an announcement: title, subtitle, category."""

    t: str = ""
    s: str = ""
    c: str = ""


class Announcement(Struct, frozen=True):
    """``announcement``: it has no time of its own."""

    en: Announced = Announced()
