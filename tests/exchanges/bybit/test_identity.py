"""What a key may do: read-only or named in full, never guessed."""

from __future__ import annotations

from typing import Any

import pytest

from exchanges.bybit import build
from exchanges.errors import ProtocolViolation
from exchanges.events import AccountMode, KeyInfo
from tests.exchanges.bybit.samples import INFO, answer, info, private

KEY = build.key_info()
# The documentation's own sample, shortened.
RESULT: dict[str, Any] = {
    "id": "2208369",
    "note": "testnet",
    "apiKey": "XXXXXXXX",
    "readOnly": 0,
    "secret": "",
    "permissions": {
        "ContractTrade": ["Order", "Position"],
        "Wallet": ["AccountTransfer", "Withdraw"],
        "Options": [],
        "NFT": None,
    },
    "ips": ["18.181.170.164", "13.212.45.47"],
    "expiredAt": "1970-01-01T00:00:00Z",
    "userID": 1448939,
}


def _key(**fields: Any) -> KeyInfo:
    link = private()
    link.audit()
    (found,) = link.answer(KEY, answer({**RESULT, **fields}), 0, 1)
    assert isinstance(found, KeyInfo)
    return found


def test_a_key_that_may_do_more_names_it_all() -> None:
    assert _key() == KeyInfo(
        account="main",
        powers=("ContractTrade: Order", "ContractTrade: Position", "Wallet: AccountTransfer", "Wallet: Withdraw"),
        owner="1448939",
        label="testnet",
        expires_at=None,
        ip_bound=True,
    )


def test_a_read_only_key_has_no_power_whatever_it_may_see() -> None:
    assert _key(readOnly=1).powers == ()


def test_a_key_that_may_write_is_never_taken_for_a_read_only_one() -> None:
    assert _key(permissions={}).powers == ("readOnly: 0",)


@pytest.mark.parametrize(("ips", "bound"), [(["1.2.3.4"], True), (["*"], False), ([], False), (None, None)])
def test_bound_addresses(ips: list[str] | None, bound: bool | None) -> None:
    assert _key(ips=ips).ip_bound is bound


def test_expiry_is_a_time_and_1970_is_none() -> None:
    assert _key(expiredAt="2026-03-01T12:00:00Z").expires_at == 1_772_366_400_000
    assert _key(expiredAt="").expires_at is None


@pytest.mark.parametrize(
    "fields", [{"readOnly": 2}, {"readOnly": None}, {"expiredAt": "soon"}, {"permissions": None}, {"permissions": [1]}]
)
def test_what_is_not_understood_is_a_violation(fields: dict[str, Any]) -> None:
    with pytest.raises(ProtocolViolation):
        private().answer(KEY, answer({**RESULT, **fields}), 0, 1)


def test_an_audit_asks_for_mode_and_key_and_says_both_every_time() -> None:
    link = private()
    for _ in range(2):
        assert link.audit() == [INFO, KEY]
        mode, key = [*link.answer(INFO, info(), 0, 1), *link.answer(KEY, answer(RESULT), 0, 1)]
        assert mode == AccountMode(account="main", mode="REGULAR_MARGIN")
        assert isinstance(key, KeyInfo)
