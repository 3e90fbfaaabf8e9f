"""Money without a trade: the sign of each kind, pairs that sum to zero, liquidations as evidence."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import msgspec
import pytest

from exchanges.events import Evidence, Transfer
from exchanges.hyperliquid import ledger
from exchanges.venue import Malformed, Output
from tests.exchanges.hyperliquid.samples import OTHER, USER, answer, frame, only, private, update
from tests.recordings import needs_recordings, recordings

OURS_OUT, OURS_IN = {"user": USER, "destination": OTHER}, {"user": OTHER, "destination": USER.upper().replace("X", "x")}


def parsed(*rows: object, address: str = USER) -> list[Output]:
    return ledger.parse_ledger("main", address, [msgspec.Raw(json.dumps(row).encode()) for row in rows])


def effects(row: dict[str, Any]) -> list[tuple[str, str, str]]:
    return [(each.kind, each.amount, each.ccy) for each in only(Transfer, parsed(row))]


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        (update("deposit", usdc="100.0"), [("deposit", "100.0", "USDC")]),
        (update("withdraw", usdc="99.0", fee="1.0"), [("withdrawal", "-99.0", "USDC"), ("other", "-1.0", "USDC")]),
        (update("internalTransfer", usdc="5.0", fee="1.0", **OURS_OUT), [("transfer", "-5.0", "USDC"), ("other", "-1.0", "USDC")]),
        (update("internalTransfer", usdc="5.0", fee="1.0", **OURS_IN), [("transfer", "5.0", "USDC")]),
        (update("subAccountTransfer", usdc="5.0", **OURS_OUT), [("transfer", "-5.0", "USDC")]),
        (
            update("spotTransfer", token="HYPE", amount="2.5", fee="0.0", nativeTokenFee="0.1", feeToken="", **OURS_OUT),
            [("transfer", "-2.5", "HYPE"), ("other", "-0.1", "HYPE")],
        ),
        (update("send", token="USDH", amount="2.5", fee="0.0", **OURS_IN), [("transfer", "2.5", "USDH")]),
        (update("cStakingTransfer", token="HYPE", amount="8.0", isDeposit=True), [("transfer", "-8.0", "HYPE")]),
        (update("cStakingTransfer", token="HYPE", amount="8.0", isDeposit=False), [("transfer", "8.0", "HYPE")]),
        (update("rewardsClaim", token="USDC", amount="8.0"), [("reward", "8.0", "USDC")]),
        (update("spotGenesis", token="WOW", amount="8.0"), [("bonus", "8.0", "WOW")]),
        (update("spotGenesis", token="WOW", amount="-8.0"), [("bonus", "-8.0", "WOW")]),
        (update("deployGasAuction", token="HYPE", amount="8.0"), [("other", "-8.0", "HYPE")]),
        (update("vaultCreate", vault=OTHER, usdc="9.0", fee="1.0"), [("transfer", "-9.0", "USDC"), ("other", "-1.0", "USDC")]),
        (update("vaultDeposit", vault=OTHER, usdc="5.0"), [("transfer", "-5.0", "USDC")]),
        (update("vaultDeposit", vault=USER, usdc="5.0"), [("transfer", "5.0", "USDC")]),
        (update("vaultDistribution", vault=OTHER, usdc="5.0"), [("transfer", "5.0", "USDC")]),
        (update("vaultWithdraw", vault=OTHER, user=USER, netWithdrawnUsd="4.0"), [("transfer", "4.0", "USDC")]),
        (update("vaultWithdraw", vault=USER, user=OTHER, netWithdrawnUsd="4.0"), [("transfer", "-4.0", "USDC")]),
        (update("vaultLeaderCommission", user=USER, usdc="3.0"), [("reward", "3.0", "USDC")]),
    ],
)  # fmt: skip
def test_effects_on_the_balance(row: dict[str, Any], expected: list[tuple[str, str, str]]) -> None:
    assert effects(row) == expected


@pytest.mark.parametrize(
    "row",
    [
        update("accountClassTransfer", usdc="12.0", toPerp=False),
        update("send", token="USDC", amount="12.0", user=USER, destination=USER, sourceDex="", destinationDex="xyz"),
        update("activateDexAbstraction", dex="xyz", token="USDC", amount="12.0"),
    ],
)
def test_what_moves_within_the_account_is_a_pair_that_sums_to_zero(row: dict[str, Any]) -> None:
    pair = only(Transfer, parsed(row))
    assert sorted(each.amount for each in pair) == ["-12.0", "12.0"]
    assert len({each.id for each in pair}) == 2


@pytest.mark.parametrize(
    "row",
    [
        update("timeTravel", usdc="5.0"),
        update("borrowLend", token="USDC", operation="borrow", amount="5.0", interestAmount="0.1"),
        update("deposit"),
        update("spotTransfer", token="HYPE", amount="5.0", user=OTHER, destination=OTHER),
        {"time": 5},
    ],
)
def test_what_is_not_understood_is_said_aloud_and_never_guessed(row: dict[str, Any]) -> None:
    (found,) = parsed(row)
    assert isinstance(found, Malformed)


def test_an_update_has_one_id_by_stream_and_by_rest() -> None:
    row = update("withdraw", usdc="99.0", fee="1.0")
    link = private()
    data = {"isSnapshot": True, "user": USER, "nonFundingLedgerUpdates": [row]}
    pushed = link.receive(frame("userNonFundingLedgerUpdates", data), 1)
    assert [*pushed] == answer(link, "userNonFundingLedgerUpdates", [row], startTime=0) == parsed(row)
    assert len({each.id for each in only(Transfer, pushed)}) == 2


@needs_recordings
def test_captured_ledgers_are_understood_whole() -> None:
    owner = "0x2ba553d9f990a3b66b03b2dc0d030dfc1c061036"
    rows = [
        row
        for source in recordings("hyperliquid", "rest-userNonFundingLedgerUpdates", "captured")
        for found in source.messages()
        for row in found
    ]
    # Another user's: that no side is ours is the one thing wrong with them.
    outputs = parsed(
        *(row for row in rows if owner in json.dumps(row) or "destination" not in row["delta"]), address=owner
    )
    assert not only(Malformed, outputs)
    (liquidated,) = set(only(Evidence, outputs))
    assert (liquidated.symbol, liquidated.cause, liquidated.position) == ("TRUMP", "liquidation", "main:TRUMP")
    assert "-12511.7" in liquidated.what
    transfers = {each.id: each for each in only(Transfer, outputs)}.values()
    assert {each.kind for each in transfers} == {"deposit", "withdrawal", "transfer", "bonus", "other"}
    within = [Decimal(each.amount) for each in transfers if each.what.startswith("accountClassTransfer")]
    assert within
    assert sum(within) == 0
