"""static/format.js: exact figures keep their digits, unknown ones are never 0, signs are never lost."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from playwright.async_api import Page

browsed = settings(max_examples=150, deadline=None)

CALL = "async ([name, args]) => (await import('/format.js'))[name](...args)"
UNKNOWN = "–"
DECIMALS = st.from_regex(r"-?(0|[1-9][0-9]{0,17})(\.[0-9]{1,18})?", fullmatch=True)


async def call(page: Page, name: str, *args: object) -> str:
    found: str = await page.evaluate(CALL, [name, list(args)])
    return found


def plain(text: str) -> str:
    return text.replace(",", "").replace("−", "-")


@given(text=DECIMALS)
@browsed
async def test_the_venues_digits_are_unchanged(modules: Page, text: str) -> None:
    shown = await call(modules, "exact", text)
    assert plain(shown) == text
    groups = shown.replace("−", "").partition(".")[0].split(",")
    assert [len(group) for group in groups[1:]] == [3] * (len(groups) - 1)
    assert 1 <= len(groups[0]) <= 3


@given(value=st.floats(-1e15, 1e15), decimals=st.integers(0, 8), signed=st.booleans())
@browsed
async def test_numbers_are_rounded_and_keep_their_sign(
    modules: Page, value: float, decimals: int, signed: bool
) -> None:
    shown = await call(modules, "number", value, decimals, signed)
    read = Decimal(plain(shown))
    assert abs(read - Decimal(value)) <= Decimal(5) / 10 ** (decimals + 1)
    assert -read.as_tuple().exponent == decimals  # type: ignore[operator]  # finite
    if read:
        assert shown.startswith("−") == (value < 0)
        assert shown.startswith("+") == (signed and value > 0)
    else:
        assert shown[0] == "0"


@pytest.mark.parametrize(
    "name", ["exact", "number", "money", "signedMoney", "shortMoney", "percent", "times", "age", "moment"]
)
async def test_the_unknown_is_a_dash(modules: Page, name: str) -> None:
    assert await call(modules, name) == UNKNOWN
    assert await call(modules, name, None) == UNKNOWN
    if name not in ("exact", "times"):
        assert await call(modules, name, float("nan")) == UNKNOWN
    if name in ("exact", "times"):
        assert await call(modules, name, "") == UNKNOWN


@pytest.mark.parametrize(
    ("name", "args", "shown"),
    [
        ("exact", ["1234567.8900"], "1,234,567.8900"),
        ("exact", ["-1000"], "−1,000"),
        ("exact", ["1e-7"], "1e-7"),
        ("money", [-0.001], "0.00"),
        ("signedMoney", [1234.5], "+1,234.50"),
        ("signedMoney", [-1234.5], "−1,234.50"),
        ("signedMoney", [0], "0.00"),
        ("shortMoney", [950.4], "950"),
        ("shortMoney", [999.6], "1.0k"),
        ("shortMoney", [12_345], "12.3k"),
        ("shortMoney", [-176_543, True], "−177k"),
        ("shortMoney", [999_960], "1.0M"),
        ("shortMoney", [4_560_000, True], "+4.6M"),
        ("percent", [0.1234], "12.3 %"),
        ("percent", [-0.05, 2, True], "−5.00 %"),
        ("times", ["12.5"], "12.5×"),
        ("times", [2.345], "2.35×"),
        ("decimalsOf", [86120.5], 1),
        ("decimalsOf", [4.3215e-06], 10),
        ("decimalsOf", [1e21], 0),
        ("age", [-5], "0 s"),
        ("age", [59_999], "59 s"),
        ("age", [60_000], "1 min"),
        ("age", [7_200_000], "2 h"),
        ("age", [200_000_000], "2 d"),
    ],
)
async def test_figures(modules: Page, name: str, args: list[object], shown: object) -> None:
    assert await call(modules, name, *args) == shown
