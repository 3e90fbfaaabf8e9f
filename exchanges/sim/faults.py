"""What a venue has been told to do wrong: plain state that the control port writes, and fronts, sockets and server honour."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class Faults:
    """What a front has been told to do wrong, on top of its sockets. The control port writes, fronts ask.

    Attributes:
        limited: REST answers still to be refused for their rate.
        limited_until: … or until this time, milliseconds since the Unix epoch.
        wrong_logins: Logins still to be refused although they are right …
        wrong_code: … with this code of the venue's (``""``: the front's default).
        key_powers: What the venue says that an account's key may do, in the simulator's words ``read``, ``trade``, ``withdraw``;
            an account that is not named has ``Account.can_trade``.
        expired_keys: Accounts whose key is refused as expired, with the venue's own code, by REST and login.
        clock_skew_ms: The venue's clock, as it shows it and checks requests against it, is ahead by this.
        suppressed: Accounts none of whose private events is pushed (``send_private`` swallows them); REST and periodic
            snapshots stay true.
        duplicate, reorder, half_frame: Private frames still to be sent twice, pairs to be swapped, frames to be cut in half.
        late_rest_ms: REST answers are computed at once and delivered this much later (the server does it).
        server_error: REST requests still to be answered with HTTP 500 or 502 and an HTML body (the server does it).
    """

    limited: int = 0
    limited_until: int = 0
    wrong_logins: int = 0
    wrong_code: str = ""
    key_powers: dict[str, tuple[str, ...]] = field(default_factory=dict)
    expired_keys: set[str] = field(default_factory=set)
    clock_skew_ms: int = 0
    suppressed: set[str] = field(default_factory=set)
    duplicate: int = 0
    reorder: int = 0
    half_frame: int = 0
    late_rest_ms: int = 0
    server_error: int = 0

    def clear(self) -> None:
        """Do nothing wrong any more."""
        vars(self).update(vars(Faults()))

    def take_limit(self, now_ms: int) -> bool:
        """Say whether this REST request is to be refused for its rate, and count it."""
        if self.limited > 0:
            self.limited -= 1
            return True
        return now_ms < self.limited_until

    def take_server_error(self) -> int:
        """Return the HTTP status with which this REST request fails, 500 and 502 in turn, or 0; counts it."""
        if self.server_error <= 0:
            return 0
        self.server_error -= 1
        return 500 if self.server_error % 2 else 502

    def take_wrong_login(self) -> str | None:
        """Return the code with which this login is to be refused (``""``: the front's default), or None; counts it."""
        if self.wrong_logins <= 0:
            return None
        self.wrong_logins -= 1
        return self.wrong_code
