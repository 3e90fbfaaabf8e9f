"""Which adapter speaks for a venue's name: a native one first, any other exchange through ccxt else; what a name alone tells."""

from __future__ import annotations

import difflib

from exchanges import VENUES
from exchanges.errors import Rejected
from exchanges.ports import INSTALL, Exchange, available, find
from exchanges.venue import Venue


def resolve(name: str) -> Venue | Exchange:
    """Return what speaks for a venue; ccxt, which takes a second to import, is only asked for a name that is not native.

    Raises:
        Rejected: Nothing does; the message names the nearest that would.
    """
    native = VENUES.get(name)
    if native is not None:
        return native
    found = find(name)
    if found is not None:
        return found
    names = (*VENUES, *available())
    near = difflib.get_close_matches(name, VENUES, n=1) or difflib.get_close_matches(name, names, n=1, cutoff=0.0)
    known = f"Known: {', '.join(VENUES)}"
    others = ", and every exchange that ccxt can stream" if available() else f". Exchanges of ccxt need it: {INSTALL}"
    raise Rejected(name, f"unknown venue `{name}`; did you mean `{near[0]}`? {known}{others}")


def keeps_records(name: str, symbol: str) -> bool:
    """Say whether a venue's records of realised PnL name what is closed of a symbol; only what a venue rules out they do not."""
    native = VENUES.get(name)
    if native is None or not native.capabilities.unrecorded:
        return True
    try:
        return native.position_scope(symbol) not in native.capabilities.unrecorded
    except Rejected:
        return True
