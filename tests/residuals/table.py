"""The table of residuals in ``docs/margin.md``: the models' own figures against the venues', by venue, mode and figure.

``python -m tests.residuals`` prints it; a test fails where the page's copy is stale.
"""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from gateway.core.margin.catalog import CATALOG
from tests.residuals.measure import FIGURES, PNL, PRICE, Compared, Found, LeftOut

PAGE = Path(__file__).resolve().parents[2] / "docs" / "margin.md"
BEGIN, END = "<!-- residuals: begin -->", "<!-- residuals: end -->"
HEADING = "## Residuals"
_NOISE = 1e-12  # float64 arithmetic in another order: what lies below tells nothing, and differs between machines
_INTRODUCTION = """\
`make residuals` writes this from captured messages, and from the worked examples of the venues' own pages where nothing was
captured, through the real codecs and the real engine. Residuals: unrealised PnL (from the published entry alone) as a share of the
notional; maintenance margin (from leverage or tiers alone, with the venue's amount blanked) and liquidation price relative; margin
ratio as a difference (1 is liquidation). *measured*: on captured rows; *published*: against an example of the
venue's; *derived*: from the venue's formulas and rules, compared with nothing."""
_LEFT_OUT = "What was left out, and by which rule:"

Key = tuple[str, str, str, str]


def table(found: Sequence[Found]) -> str:
    """Return both tables: what was compared, and what was left out."""
    compared = [each for each in found if isinstance(each, Compared)]
    left_out = [each for each in found if isinstance(each, LeftOut)]
    lines = [
        "| venue | mode | figure | n | files | median | worst | evidence |",
        "| --- | --- | --- | ---: | ---: | ---: | ---: | --- |",
        *(f"| {' | '.join(row)} |" for row in _compared(compared)),
        "",
        _LEFT_OUT,
        "",
        "| venue | figure | rule | n |",
        "| --- | --- | --- | ---: |",
        *(f"| {' | '.join(row)} |" for row in _left_out(left_out)),
    ]
    return "\n".join(lines)


def _compared(compared: Sequence[Compared]) -> list[tuple[str, ...]]:
    groups: dict[Key, list[Compared]] = {}
    for each in compared:
        groups.setdefault(_key(each), []).append(each)
    rows = {key: _row(key, group) for key, group in groups.items()}
    for model in CATALOG.values():
        mode = model.name.removeprefix(f"{model.venue}_")
        if not any(key[:3] == (model.venue, mode, PRICE) for key in groups):
            rows[model.venue, mode, PRICE, model.evidence] = _row((model.venue, mode, PRICE, model.evidence), ())
    return [rows[key] for key in sorted(rows, key=lambda key: (key[0], key[1], FIGURES.index(key[2]), key[3]))]


def _key(each: Compared) -> Key:
    model = CATALOG.get(f"{each.venue}_{each.mode}")
    evidence = each.evidence if model is None or each.figure == PNL else model.evidence
    return each.venue, each.mode, each.figure, evidence


def _row(key: Key, group: Sequence[Compared]) -> tuple[str, ...]:
    venue, mode, figure, evidence = key
    residuals = [each.residual for each in group]
    files = len({each.case for each in group})
    figures = ("–", "–") if not group else (_shown(statistics.median(residuals)), _shown(max(residuals)))
    return venue, mode.replace("_", " "), figure, str(len(group)), str(files), *figures, evidence


def _shown(residual: float) -> str:
    return f"{residual:.1e}" if residual >= _NOISE else "< 1e-12"


def _left_out(left_out: Sequence[LeftOut]) -> list[tuple[str, ...]]:
    counted = Counter((each.venue, each.figure, each.rule) for each in left_out)
    order = sorted(counted, key=lambda key: (key[0], FIGURES.index(key[1]) if key[1] else -1, key[2]))
    return [(venue, figure or "–", rule, str(counted[venue, figure, rule])) for venue, figure, rule in order]


def block(found: Sequence[Found]) -> str:
    """Return the page's block with its markers."""
    return "\n".join([BEGIN, _INTRODUCTION, "", table(found), END])


def written(page: str, found: Sequence[Found]) -> str:
    """Return the page with the present table; at its end, under a heading, where it has none yet."""
    before, begin, rest = page.partition(BEGIN)
    if not begin:
        return f"{page.rstrip()}\n\n{HEADING}\n\n{block(found)}\n"
    return before + block(found) + rest.partition(END)[2]
