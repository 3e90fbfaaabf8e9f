"""What fills come to, held against the venue's own records of realised PnL, one by one, within its rounding. Pure, exact.

``book`` what is compared, and what comes out · ``doubles`` what is stored twice · ``weighing`` what each fill did and cost ·
``ledger`` the figures of one account and symbol · ``trades``, ``orders``, ``cycles`` one comparison a trade, closing order or
position, as venues keep records · ``judge`` which differences are one fault · ``reasons`` what explains them · ``compare`` the
whole · ``completing`` what fills realised that say nothing of it.
"""

from __future__ import annotations

from gateway.core.verify.book import UNITS, Book, RecordUnit, Unit
from gateway.core.verify.compare import compare
from gateway.core.verify.completing import completed
from gateway.core.verify.weighing import money_step

__all__ = ["UNITS", "Book", "RecordUnit", "Unit", "compare", "completed", "money_step"]
