"""Which windows of an account's past are read, in which order, and what may be claimed of it afterwards. Pure.

A window that could not be read whole is passed over and said: what is claimed begins behind it.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

import msgspec

from gateway.core.records import Backfill, Covered

DAY_MS = 86_400_000
# Clocks of two machines, or of two moments of one: what lies so little ahead is now.
_SOON_MS = 60_000
# A stream was deaf for a while before it was known to be down, and a venue's books are written a little late.
_OVERLAP_MS = 120_000
_LONGEST_TEXT = 500


class BadWindow(ValueError):
    """A stretch of time that cannot be read; the message says why and what would do."""


class Past(msgspec.Struct, frozen=True, kw_only=True):
    """What is stored of an account's past: the symbols that it held, and the readings that were not finished.

    ``heard``: when anything of it was put down last before this life; None: nothing was.
    """

    symbols: tuple[str, ...] = ()
    unfinished: tuple[Backfill, ...] = ()
    heard: int | None = None


def begin(account: str, since: int, until: int, now: int, reach_ms: int | None = None) -> Backfill:
    """Return the record of a reading that has not begun.

    Args:
        since, until: UTC, ms; the end is not in it.
        now: The wall clock (ms).
        reach_ms: How far back the account's venue answers; None: to the beginning.

    Raises:
        BadWindow: It ends before it begins, or lies in the future or beyond the venue's reach.
    """
    if until > now + _SOON_MS:
        raise BadWindow(f"{shown(until)} lies in the future: it is {shown(now)}")
    if since >= until:
        raise BadWindow(f"the end ({shown(until)}) does not lie after the beginning ({shown(since)})")
    if since < 0:
        raise BadWindow("the beginning lies before 1970")
    if reach_ms is not None and since < now - reach_ms:
        reach = f"the venue tells of the last {reach_ms // DAY_MS} days alone"
        raise BadWindow(f"{reach}: the beginning may be {shown(now - reach_ms + _SOON_MS)} at the earliest")
    until = min(until, now)
    return Backfill(id=f"{account}:{since}:{until}", account=account, at=now, since=since, until=until, done=since)


def resumed(asked: Backfill, unfinished: Sequence[Backfill]) -> Backfill:
    """Return a reading where an earlier one of the same beginning was broken off, up to the end that is asked now.

    Why it was broken off is no news any more; what could not be had is.
    """
    same = [one for one in unfinished if _began(one) == _began(asked) and one.until <= asked.until]
    if not same:
        return asked
    furthest = max(same, key=lambda one: one.done)
    flawless = furthest.since == int(_began(furthest).rpartition(":")[2])
    error = None if flawless else furthest.error
    return msgspec.structs.replace(furthest, until=asked.until, at=asked.at, error=error)


def _began(backfill: Backfill) -> str:
    """Return whose it is and since when it was asked for: ``since`` moves on where something could not be had."""
    return backfill.id.rpartition(":")[0]


def broken(backfill: Backfill, now: int, why: str) -> Backfill:
    """Return the record of a reading that ended before its end."""
    said = f"{backfill.error}; {why}" if backfill.error else why
    return msgspec.structs.replace(backfill, at=now, error=said[:_LONGEST_TEXT])


def window(backfill: Backfill, longest_ms: int) -> tuple[int, int] | None:
    """Return the window to be read next, its end not in it; None: all of it was."""
    if backfill.done >= backfill.until:
        return None
    return backfill.done, min(backfill.done + longest_ms, backfill.until)


def after(backfill: Backfill, end: int, now: int, records: int, flaws: Sequence[str]) -> Backfill:
    """Return the record once a window is behind it.

    Args:
        end: Of the window. ``records``: how many came.
        flaws: What of it could not be had; where there is any, nothing up to its end is claimed.
    """
    said = dict.fromkeys((*((backfill.error,) if backfill.error else ()), *flaws))
    return msgspec.structs.replace(
        backfill,
        at=now,
        since=end if flaws else backfill.since,
        done=end,
        records=backfill.records + records,
        error="; ".join(said)[:_LONGEST_TEXT] or None,
    )


def whole_until(covered: Covered | None, stored_at: int | None) -> int | None:
    """Return up to when an earlier life had an account's records; None: it is new here.

    Args:
        covered: What that life put on record. ``stored_at``: when its last write was, up to which an open coverage reaches.
    """
    return None if covered is None else covered.until if covered.until is not None else stored_at


def missing(
    last: int | None, whole_since: int | None, now: int, days: float, reach_ms: int | None
) -> tuple[int, int] | None:
    """Return what a start has to read of an account's past; None: nothing.

    Args:
        last: Up to when its records were whole; None: it is new here.
        whole_since: Since when this life has them, up to now; None: something of that is missing.
        days: How much of the past of a new account is read.
    """
    since = now - round(days * DAY_MS) if last is None else last - _OVERLAP_MS
    if reach_ms is not None:
        since = max(since, now - reach_ms + _SOON_MS)
    until = now if whole_since is None else min(now, whole_since)
    return (since, until) if since < until else None


def moment(text: str) -> int:
    """Return a moment (ms, UTC) from an ISO date or time, or from milliseconds since the epoch.

    Raises:
        BadWindow: It is neither.
    """
    if text.isascii() and text.isdigit() and len(text) > 8:
        return int(text[:16])
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        hint = "write 2026-11-01, 2026-11-01T12:30:00Z, or milliseconds since 1970"
        raise BadWindow(f"{text[:60]!r} is no moment: {hint}") from None
    return round((found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp() * 1000)


def shown(at: int) -> str:
    """Return a moment for humans."""
    return datetime.fromtimestamp(at / 1000, UTC).strftime("%Y-%m-%d %H:%M:%SZ")
