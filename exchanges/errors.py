"""Errors of the venue side, by fault: who has to act decides the class.

    VenueError
    ├── Retryable(after_s)      the venue or the network, for now: ask again after ``after_s`` (None: back off)
    ├── Rejected                our question: asking again gives the same answer
    │   └── NotFound            what was asked for does not exist: an answer, not a failure
    ├── AuthFailed              the operator: key, secret, passphrase, clock, environment, permissions
    │   └── KeyTooPowerful      a key that can trade or withdraw where only reading is wanted
    └── ProtocolViolation       the venue sent what its documentation does not allow; the message is skipped and counted

Each builds its message from typed attributes: what happened, where, and what to do. None ever holds a secret.
"""

from __future__ import annotations


class VenueError(Exception):
    """Base: ``where`` (venue, host or channel), ``what`` happened, venue ``code``, and what to ``do`` about it."""

    def __init__(self, where: str, what: str, *, code: str | None = None, do: str | None = None) -> None:
        self.where, self.what, self.code, self.do = where, what, code, do
        super().__init__(where, what, code, do)

    def __str__(self) -> str:
        code = f" ({self.code})" if self.code else ""
        return f"{self.where}: {self.what}{code}" + (f". {self.do}" if self.do else "")


class Retryable(VenueError):
    """The venue or the network cannot answer now. ``after_s``: the venue's own waiting time, or None."""

    def __init__(
        self, where: str, what: str, *, code: str | None = None, do: str | None = None, after_s: float | None = None
    ) -> None:
        super().__init__(where, what, code=code, do=do)
        self.after_s = after_s


class Rejected(VenueError):
    """The question itself is wrong (unknown symbol, bad argument): repeating it changes nothing."""


class NotFound(Rejected):
    """The venue says that what was asked for (an order, say) does not exist."""


class AuthFailed(VenueError):
    """Credentials, clock or environment are wrong: the operator has to act."""


class KeyTooPowerful(AuthFailed):
    """The key may trade or withdraw."""


class ProtocolViolation(VenueError):
    """The venue sent something that cannot be understood."""
