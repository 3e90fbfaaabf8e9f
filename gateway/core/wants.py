"""What the engine needs to be asked of venues, until it was. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

Want = tuple[int, frozenset[str]]  # since (ms), symbols

# An answer that did not come by then is asked for again.
_AGAIN_MS = 5_000


class Wants:
    """Filled by the engine, emptied by whoever asks; a want that stays without an answer comes back.

    Attributes:
        state: Accounts whose state is to be asked.
        history: Accounts whose fills and causes are to be asked: since when, of which symbols.
    """

    def __init__(self) -> None:
        self.state: set[str] = set()
        self.history: dict[str, Want] = {}
        self._issued: dict[str, tuple[Want, int]] = {}

    def put(self, states: Iterable[str], histories: Mapping[str, Want], now: int) -> None:
        """Take everything that is open now."""
        self.state.update(states)
        for account in self._issued.keys() - histories.keys():
            del self._issued[account]
        for account, (since, symbols) in histories.items():
            issued = self._issued.get(account)
            if issued is not None:
                (earlier, known), at = issued
                if earlier <= since and symbols <= known and now - at < _AGAIN_MS:
                    continue
            self.history[account] = since, symbols
            self._issued[account] = (since, symbols), now
