"""Since when an account's records are whole: its stream told of everything, or the venue was asked for what it did not tell. Pure.

Owns the gap, the stretch of which records may be missing, and when the venue is asked for it. Fills and payments themselves are
in ``Books``.
"""

from __future__ import annotations

DAY_MS = 86_400_000
# A stream was deaf for a while before it was known to be down, and a venue's books are written a little late.
_OVERLAP_MS = 120_000
_SETTLE_MS = 5_000  # after a stream became live: the state is asked first
_SPACING_MS = 10_000  # between two accounts of one venue
_EDGE_MS = 1_000
_AGAIN_MS = 60_000
_TRIES = 3
_RARELY_MS = 3_600_000
_REACH_MS = 3 * DAY_MS  # a longer gap is not asked for: the records begin anew


class Coverage:
    """Of one account.

    Attributes:
        since: The records are whole from here to the gap (the venue's time); None: nothing is known to be whole.
        gap: From here on something may be missing; None: nothing is.
    """

    def __init__(self, turn: int = 0) -> None:
        """Begin with nothing.

        Args:
            turn: Its number among the accounts of its venue, which are asked one after another.
        """
        self.since: int | None = None
        self.gap: int | None = 0
        self._turn = turn
        self._live: int | None = None  # since when the stream tells
        self._asked: int | None = None  # since when the open question asks
        self._under_way: int | None = None  # when it was asked; None: nobody is asking
        self._known = 0  # an answer has to be asked later than this to say what happened in the gap
        self._due = self._tries = 0

    @property
    def whole(self) -> bool:
        """Say whether nothing is missing since ``since``."""
        return self.since is not None and self.gap is None

    @property
    def settled(self) -> bool:
        """Say whether it is known where nothing is missing: the question that a live stream begins with is over, in vain or not."""
        return self.gap is None or self._live is None or (self._tries > 0 and self._under_way is None)

    def restore(self, since: int, until: int) -> None:
        """Take what an earlier life had on record: whole from one moment to the other."""
        self.since, self.gap = since, until

    def hear(self, live: int | None, now: int) -> None:
        """Take since when the stream is live; None: it is not."""
        if live == self._live:
            return
        if self._live is not None and self.gap is None:
            self.gap = now - _OVERLAP_MS
        self._live = live
        self._begin(now if live is None else live + _EDGE_MS, now + _SETTLE_MS + self._turn * _SPACING_MS)

    def missed(self, at: int, now: int) -> None:
        """Something that happened then, or later, was not told as it should have been."""
        self.gap = at if self.gap is None else min(self.gap, at)
        self._begin(max(self._known, now), now + _SETTLE_MS)

    def lost(self, at: int) -> None:
        """Something up to this moment is missing and cannot be had."""
        if self.since is not None:
            self.since = max(self.since, at + 1)

    def wanted(self, now: int) -> int | None:
        """Return since when the venue has to be asked now; None: it has not.

        Each question has to end with ``read`` or ``failed``, however long it takes. One that failed is asked again. In the end the
        records begin where the stream did; those of an account that never answered in whole never begin, since nobody knows
        whether its stream tells of everything.
        """
        if self.gap is None or self._live is None or self._under_way is not None or now < self._due:
            return None
        today = now // DAY_MS * DAY_MS
        if self.since is not None and self._tries >= _TRIES:
            self._give_up()
            return None
        if self.since is not None and now - self.gap <= _REACH_MS:
            self._asked = self.gap
        else:
            self._asked = today if self._tries == 0 else max(today, self._live - _OVERLAP_MS)
        self._tries += 1
        self._under_way = now
        return self._asked

    def read(self, since: int, asked_at: int, *, whole: bool) -> None:
        """Take that everything since then was asked; not ``whole``: something of the answer is missing."""
        if self.gap is None or self._live is None or asked_at < self._known:
            return
        if since > self.gap and (self._asked is None or since > self._asked):
            return
        if not whole:
            if self.since is not None:
                self._give_up()
            self.failed(since, asked_at, asked_at)
            return
        if self.since is None or since > self.gap:
            self.since = since
        self.gap = None

    def failed(self, since: int, asked_at: int, now: int) -> None:
        """Take that what was asked then was not answered, where it is the open question: it is asked again later."""
        if self._under_way is None or asked_at < self._under_way or self._asked is None or since > self._asked:
            return
        rarely = self.since is None and self._tries >= _TRIES
        self._under_way, self._due = None, now + (_RARELY_MS if rarely else _AGAIN_MS)

    def _begin(self, known: int, due: int) -> None:
        self._asked = self._under_way = None
        self._known, self._due, self._tries = known, due, 0

    def _give_up(self) -> None:
        """Go on from where the stream began to tell."""
        self.since, self.gap = self._live, None
