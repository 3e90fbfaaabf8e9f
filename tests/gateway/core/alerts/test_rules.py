"""Rules: for whom they hold."""

from __future__ import annotations

from gateway.core.alerts.rules import Scope, Select

DEMO = Scope("okx-demo", "ann", "okx", "demo", "live", "BTC-USDT-SWAP")


def test_demo_accounts_are_watched_unless_only_live_ones_are_selected() -> None:
    assert Select().matches(DEMO)
    assert not Select(envs=("live",)).matches(DEMO)
    assert Select(envs=("live", "demo")).matches(DEMO)


def test_paper_trading_is_watched_only_where_it_is_selected() -> None:
    paper = DEMO._replace(env="live", execution="paper")
    assert not Select().matches(paper)
    assert Select(executions=("paper",)).matches(paper)
