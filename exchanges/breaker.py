"""When a host that keeps failing is left alone, and when it is tried again: a circuit breaker, as a pure machine.

Closed: questions pass. After ``failures`` in a row it opens for a back-off with full jitter above a floor; then one question
passes as a trial: its success closes the circuit, its failure opens it for longer. What counts as a failure of the host is the
caller's decision; moments are integers in milliseconds of one monotone clock.
"""

from __future__ import annotations

from collections.abc import Callable

from exchanges.backoff import Backoff


class Breaker:
    """The circuit of one host.

    Args:
        random: Returns uniform fractions in [0, 1), for jitter.
        failures: In a row, before it opens.
        backoff: How long it stays open, by the number of openings in a row; half of it is certain, half is drawn.
    """

    def __init__(self, random: Callable[[], float], failures: int = 5, backoff: Backoff | None = None) -> None:
        self._random, self._most = random, failures
        self._backoff = backoff or Backoff(base_s=2.0, cap_s=60.0)
        self._failed = self._openings = 0
        self._open_until: int | None = None
        self._trial = False

    @property
    def is_open(self) -> bool:
        """True from the opening until a trial has succeeded."""
        return self._open_until is not None

    def wait_ms(self, now: int) -> int:
        """Return how long a question has to wait from now; 0: it may be asked (then ``asked``)."""
        if self._open_until is None:
            return 0
        if self._trial:
            return round(self._backoff.ceiling_s(0) * 1000)  # the trial's outcome decides
        return max(self._open_until - now, 0)

    def asked(self) -> None:
        """Note that a question leaves now: the trial where the circuit is open."""
        self._trial = self._open_until is not None

    def succeeded(self) -> None:
        """Note that the host answered."""
        self._failed = self._openings = 0
        self._open_until, self._trial = None, False

    def failed(self, now: int) -> None:
        """Note that the host did not answer, or only that it cannot."""
        self._failed += 1
        if self._trial or (self._open_until is None and self._failed >= self._most):
            ceiling = self._backoff.ceiling_s(self._openings)
            self._open_until = now + round(1000 * ceiling * (1 + self._random()) / 2)
            self._openings += 1
        self._trial = False

    def cancelled(self) -> None:
        """Note that a question was given up: it says nothing of the host, and the next one may be the trial."""
        self._trial = False
