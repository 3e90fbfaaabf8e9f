"""The tables agree with one another."""

from __future__ import annotations

from exchanges.aster import tables


def test_a_path_names_one_question() -> None:
    paths = [path for question in tables.QUESTIONS.values() for path in (question.v3, question.v1) if path]
    assert len(paths) == len(set(paths)) == len(tables.NAMES)
    assert not tables.PUBLIC_PATHS & set(paths)


def test_newer_wallets_use_the_newer_paths_alone() -> None:
    assert all(question.v3.startswith("/fapi/v3/") for question in tables.QUESTIONS.values())
    assert not [question for question in tables.QUESTIONS.values() if question.v1.startswith("/fapi/v3/")]


def test_a_longer_prefix_stands_before_one_that_it_contains() -> None:
    prefixes = [prefix for prefix, _ in tables.FORCED_PREFIXES]
    for index, prefix in enumerate(prefixes):
        assert not [earlier for earlier in prefixes[:index] if prefix.startswith(earlier)]


def test_a_quote_stands_before_one_that_it_ends_with() -> None:
    for index, quote in enumerate(tables.QUOTES):
        assert not [earlier for earlier in tables.QUOTES[:index] if quote.endswith(earlier)]


def test_every_reason_with_a_cause_is_a_known_reason() -> None:
    assert tables.REASON_CAUSES.keys() <= tables.REASONS


def test_statuses_do_not_overlap() -> None:
    sets = (tables.OPEN_STATUSES, tables.DONE_STATUSES, tables.SPECIAL_STATUSES)
    assert len(frozenset().union(*sets)) == sum(map(len, sets))
    assert tables.STATUS_CAUSES.keys() == tables.SPECIAL_STATUSES


def test_every_network_has_a_chain_of_its_own() -> None:
    assert tables.CHAIN_IDS.keys() == tables.HOSTS.keys()
    assert len(set(tables.CHAIN_IDS.values())) == len(tables.CHAIN_IDS)


def test_a_key_is_extended_long_before_it_ends_and_a_connection_left_before_it_is_ended() -> None:
    assert 6 * tables.EXTEND_MS <= 60 * 60_000
    assert tables.LIVES_MS < 24 * 3_600_000
