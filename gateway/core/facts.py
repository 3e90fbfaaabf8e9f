"""A fact that a venue tells more than once, each time with more or less of it: what is known stays known. Pure.

Owns how two tellings of one fact become one, in memory as in storage.
"""

from __future__ import annotations

from typing import TypeVar

import msgspec

from exchanges.events import Cause, Fill, Transfer

Fact = TypeVar("Fact", bound=msgspec.Struct)


def completed(former: Fact, record: Fact) -> Fact:
    """Return a fact by its newer telling, with what that leaves open (None, "") as it was told before.

    Of why a fill happened, and of what kind a transfer is, the newer telling stands where it is no poorer: a feed that does not
    know calls it a plain trade, or "other". The venue's word for the cause belongs to the cause: the first one stays with it.
    """
    names = (name for name in record.__struct_fields__ if getattr(record, name) in (None, ""))
    known = {name: getattr(former, name) for name in names}
    match former, record:
        case Fill(), Fill():
            known["cause"], known["category"] = _why(former, record)
        case Transfer(), Transfer() if record.kind == "other" and former.kind != "other":
            known |= {"kind": former.kind, "what": former.what or record.what}
    return msgspec.structs.replace(record, **known)


def _why(former: Fill, newer: Fill) -> tuple[Cause, str]:
    if newer.cause in (former.cause, "trade"):
        return former.cause, former.category or newer.category
    return newer.cause, newer.category or former.category
