"""What accounts were worth over time: transfers are added up once, whatever the number of buckets and accounts."""

from __future__ import annotations

from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from gateway.core.lookup import Span
from gateway.core.sums import Flow, Row, Sample, equity_rows

HOUR = 3_600_000
ACCOUNTS = ("a", "b", "c")


class Watched(int):
    """A moment that counts how often it is looked at."""

    looks = 0

    def __le__(self, other: int) -> bool:
        Watched.looks += 1
        return int(self) <= other

    def __gt__(self, other: int) -> bool:
        Watched.looks += 1
        return int(self) > other

    def __ge__(self, other: int) -> bool:
        Watched.looks += 1
        return int(self) >= other

    def __lt__(self, other: int) -> bool:
        Watched.looks += 1
        return int(self) < other


def span(buckets: int) -> Span:
    return Span("hour", tuple(n * HOUR for n in range(buckets + 1)))


def head(_name: str) -> Row:
    return {"user": "u"}


def test_a_transfer_is_looked_at_once_whatever_the_number_of_buckets() -> None:
    buckets, count = 200, 1_000
    names = [f"a{n}" for n in range(20)]
    bases = {name: Sample(name, 0, 100.0, {}) for name in names}
    samples = [(n, Sample(name, n * HOUR + 1_000, 100.0, {})) for n in range(buckets) for name in names]
    flows = [(Flow(names[n % 20], Watched(n * 500_000 + 1), "USDT", Decimal(1)), 1.0) for n in range(count)]
    Watched.looks = 0
    rows = equity_rows(span(buckets), bases, samples, flows, head)
    assert len(rows) == buckets
    assert count <= Watched.looks < 3 * count + 2 * len(samples)


@given(
    flows=st.lists(st.tuples(st.sampled_from(ACCOUNTS), st.integers(0, 6 * HOUR), st.integers(-50, 50)), max_size=20),
    begins=st.tuples(*[st.integers(0, 2 * HOUR)] * 3),
    heard=st.lists(st.tuples(st.integers(2, 5), st.sampled_from(ACCOUNTS), st.integers(0, HOUR - 1)), unique_by=lambda x: x[:2]),
)  # fmt: skip
def test_what_came_and_went_counts_from_an_accounts_first_figure_to_its_last(
    flows: list[tuple[str, int, int]], begins: tuple[int, int, int], heard: list[tuple[int, str, int]]
) -> None:
    bases = {name: Sample(name, at, 100.0, {}) for name, at in zip(ACCOUNTS, begins, strict=True)}
    samples = [(n, Sample(name, n * HOUR + rest, 100.0, {})) for n, name, rest in sorted(heard)]
    told = [
        (Flow(name, at, "USD", Decimal(usd)), float(usd)) for name, at, usd in sorted(flows, key=lambda one: one[1])
    ]
    rows = equity_rows(span(6), bases, samples, told, head)
    moved, last = 0.0, dict[str, int]()
    for row in rows:
        last |= {one.account: one.at for n, one in samples if n * HOUR == row["at"]}
        true = sum(usd for name, at, usd in flows if name in last and bases[name].at < at <= last[name])
        assert row["transfers_usd"] == true - moved
        moved = true
