"""What a Bybit key may do and whose it is. Pure. Source: Bybit v5 documentation, "Get API Key Information"."""

from __future__ import annotations

from datetime import datetime

from exchanges.bybit.wire import KeyRow
from exchanges.errors import ProtocolViolation
from exchanges.events import KeyInfo, known

_READ_ONLY = 1
_READ_WRITE = 0


def parse_key(row: KeyRow, account: str) -> KeyInfo:
    """Translate a key's description. A read-only key has permissions too: what it may read.

    Raises:
        ProtocolViolation: ``readOnly`` or the expiry is not as documented: what a key may do is never guessed.
    """
    if row.read_only not in (_READ_ONLY, _READ_WRITE):
        raise ProtocolViolation("bybit", f"key information with readOnly {row.read_only!r}")
    return KeyInfo(
        account=account,
        powers=() if row.read_only == _READ_ONLY else _powers(row),
        owner=str(row.user_id) if row.user_id else None,
        label=known(row.note),
        expires_at=_expiry(row.expired_at),
        ip_bound=None if row.ips is None else any(ip not in ("", "*") for ip in row.ips),
    )


def _powers(row: KeyRow) -> tuple[str, ...]:
    named = [f"{group}: {power}" for group, powers in row.permissions.items() for power in powers or ()]
    return tuple(named) or ("readOnly: 0",)


def _expiry(text: str) -> int | None:
    """Return the expiry in ms; a key with bound addresses has none, written as 1970."""
    if not text:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise ProtocolViolation("bybit", f"key information with expiredAt {text!r}") from None
    return int(moment.timestamp() * 1000) or None if moment.tzinfo else None
