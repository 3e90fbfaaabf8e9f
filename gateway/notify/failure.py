"""Why a delivery failed, in words that hold no address and no secret."""

from __future__ import annotations


class DeliveryFailed(Exception):
    """A channel did not take a notice.

    Attributes:
        reason: For logs and operators.
        again: Trying again can help.
        after_s: Not before so many seconds, where the receiver says.
    """

    def __init__(self, reason: str, *, again: bool, after_s: float | None = None) -> None:
        super().__init__(reason)
        self.reason, self.again, self.after_s = reason, again, after_s
