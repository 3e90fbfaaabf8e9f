"""What a REST answer of OKX means when it is not a success: by its code, else by its HTTP status. Never sees a secret.

Source: OKX v5 docs, "Error code"; answers carry ``code`` with HTTP 200 or an error status.
"""

from __future__ import annotations

from collections.abc import Mapping

from exchanges.errors import AuthFailed, NotFound, Rejected, Retryable, VenueError
from exchanges.okx import tables, wire
from exchanges.venue import HttpRequest

_SHOWN = 200


def check(request: HttpRequest, status: int, headers: Mapping[str, str], body: bytes) -> None:
    """Return when the answer is a success.

    Raises:
        Retryable: The limit is reached, or the venue is busy, frozen or away.
        AuthFailed: Key, secret, passphrase, clock, environment or address are wrong.
        Rejected: The question is wrong.
        NotFound: What was asked for does not exist.
    """
    where = f"{tables.NAME} {request.path}"
    try:
        answer = wire.decode_answer(body)
    except (ValueError, RecursionError) as error:  # a page of a proxy instead of an answer
        raise _by_status(where, status, headers) from error
    if answer.code == "0" and status < 400:
        return
    fault = tables.REST_FAULTS.get(answer.code)
    if fault is None:
        raise _unlisted(where, status, headers, answer)
    code, said = answer.code, f"{fault.what}: {answer.msg[:_SHOWN]}" if answer.msg else fault.what
    if fault.kind == "auth":
        raise AuthFailed(where, said, code=code, do=fault.do)
    if fault.kind == "missing":
        raise NotFound(where, said, code=code)
    if fault.kind == "rejected":
        raise Rejected(where, said, code=code, do=fault.do)
    raise Retryable(where, said, code=code, do=fault.do, after_s=_after_s(headers) or fault.after_s)


def _unlisted(where: str, status: int, headers: Mapping[str, str], answer: wire.Answer) -> VenueError:
    if status == 429 or status >= 500:
        return _by_status(where, status, headers)
    what = f"the question was refused: {answer.msg[:_SHOWN] or f'HTTP {status}'}"
    return Rejected(where, what, code=answer.code[:_SHOWN], do="Look the code up in the venue's documentation")


def _by_status(where: str, status: int, headers: Mapping[str, str]) -> VenueError:
    if status == 429:
        return Retryable(where, "the rate limit is reached", code="429", after_s=_after_s(headers) or 2.0)
    if status in (401, 403):
        do = "Check that the region is that of the account's site, and that this network may reach it"
        return AuthFailed(where, f"refused with HTTP {status} and no reason", code=str(status), do=do)
    if 400 <= status < 500:
        return Rejected(where, f"refused with HTTP {status} and no reason", code=str(status))
    return Retryable(where, f"HTTP {status} with something that is not an answer", code=str(status))


def _after_s(headers: Mapping[str, str]) -> float | None:
    """Return the waiting time that a gateway in front of the venue names, in seconds."""
    for name, value in headers.items():
        if name.lower() == "retry-after" and value.strip().isdecimal() and len(value) < 6:
            return float(value)
    return None
