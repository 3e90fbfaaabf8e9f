"""Money that came to or left a Hyperliquid account without a trade, and the venue's own record of liquidations.

Owns the shapes of ``userNonFundingLedgerUpdates`` and the sign of each kind. Pure. What moves between two places of the same
account (perps and spot, one dex and another) is a pair that sums to zero. Source: Hyperliquid docs (info endpoint), the kinds
as listed by schema-tested SDKs, captured messages.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from decimal import Decimal

import msgspec

from exchanges.errors import ProtocolViolation
from exchanges.events import Evidence, Transfer, TransferKind, position_id
from exchanges.hyperliquid import tables
from exchanges.hyperliquid.wire import Name, T, TimeMs, Wire, decode, exact, negated, violation
from exchanges.venue import Malformed, Output


class Liquidated(Wire):
    """One position that was liquidated, with its signed size."""

    coin: Name
    szi: Decimal


class Delta(Wire):
    """One update; which members are there depends on ``type``."""

    type: str
    usdc: Decimal | None = None
    amount: Decimal | None = None
    token: str | None = None
    user: str | None = None
    destination: str | None = None
    vault: str | None = None
    fee: Decimal | None = None
    fee_token: str | None = None
    native_token_fee: Decimal | None = None
    to_perp: bool | None = None
    is_deposit: bool | None = None
    net_withdrawn_usd: Decimal | None = None
    leverage_type: str | None = None
    liquidated_positions: list[Liquidated] | None = None


class Update(Wire):
    """One row of the ledger; several may share a transaction's hash."""

    time: TimeMs
    hash: str
    delta: Delta


class LedgerFrame(Wire):
    """Data of ``userNonFundingLedgerUpdates``."""

    user: str
    non_funding_ledger_updates: list[msgspec.Raw]


class Part(msgspec.Struct, frozen=True):
    """One effect of an update on the balance: ``amount`` with the sign of PROTOCOL; ``name`` tells parts apart."""

    kind: TransferKind
    ccy: str
    amount: str
    name: str = ""


def parse_ledger(account: str, address: str, rows: Sequence[msgspec.Raw]) -> list[Output]:
    """Translate ledger updates into transfers, and liquidations into evidence; what is not known is said aloud.

    Args:
        account: The configured account.
        address: Its address, in lower case: it decides which side of a transfer is ours.
        rows: Updates as sent, by stream or REST.
    """
    outputs: list[Output] = []
    for row in rows:
        try:
            outputs += _update(account, address, decode(Update, row, "ledger update"))
        except ProtocolViolation as bad:
            outputs.append(Malformed(what=str(bad)))
    return outputs


def _update(account: str, address: str, row: Update) -> list[Output]:
    if row.delta.type == "liquidation":
        return [*_liquidation(account, row)]
    return [
        Transfer(
            account=account,
            id=position_id(account, "ledger", str(row.time), row.hash, row.delta.type, part.ccy, part.name),
            kind=part.kind,
            ccy=part.ccy,
            amount=part.amount,
            at=row.time,
            what=f"{row.delta.type} {part.name}".rstrip(),
        )
        for part in _parts(row.delta, address)
    ]


def _liquidation(account: str, row: Update) -> Iterator[Evidence]:
    """The ledger is the account's own: what it calls a liquidation was one of ours."""
    for liquidated in row.delta.liquidated_positions or []:
        yield Evidence(
            account=account,
            symbol=liquidated.coin,
            cause="liquidation",
            what=f"ledger liquidation {row.delta.leverage_type or ''} {exact(liquidated.szi)}".replace("  ", " "),
            at=row.time,
            ids=(row.hash,),
            position=position_id(account, liquidated.coin),
        )


def _parts(delta: Delta, address: str) -> list[Part]:
    """Return the effects of one update.

    Raises:
        ProtocolViolation: The type is not known, a member that it needs is missing, or neither side is this account.
    """
    match delta.type:
        case "deposit":
            return [_in("deposit", delta)]
        case "withdraw":  # usdc is what arrives; the fee comes on top (captured: 199999.0 and 1.0)
            return [_out("withdrawal", delta), *_fees(delta)]
        case "accountClassTransfer" | "activateDexAbstraction":
            return _within(delta)
        case "internalTransfer" | "subAccountTransfer" | "spotTransfer" | "send":
            return _between(delta, address)
        case "cStakingTransfer":
            return [_out("transfer", delta) if _needed(delta.is_deposit, delta) else _in("transfer", delta)]
        case "rewardsClaim" | "vaultLeaderCommission":
            return [_in("reward", delta)]
        case "spotGenesis":
            return [_in("bonus", delta)]
        case "deployGasAuction":
            return [_out("other", delta)]
        case "vaultCreate" | "vaultDeposit":
            gets = _is(delta.vault, address)
            return [_in("transfer", delta) if gets else _out("transfer", delta), *([] if gets else _fees(delta))]
        case "vaultDistribution":
            return [_out("transfer", delta) if _is(delta.vault, address) else _in("transfer", delta)]
        case "vaultWithdraw":
            net = _needed(delta.net_withdrawn_usd, delta)
            amount = exact(net) if _is(delta.user, address) else negated(net)
            return [Part("transfer", tables.DOLLAR, amount)]
    raise violation(f"a ledger update of type {delta.type!r} is not understood: it is missing from the transfers")


def _between(delta: Delta, address: str) -> list[Part]:
    """From ``user`` to ``destination``; the sender pays the fees. Both may be this account (between two dexes)."""
    sent, received = _is(delta.user, address), _is(delta.destination, address)
    if sent and received:
        return [*_within(delta), *_fees(delta)]
    if sent:
        return [_out("transfer", delta), *_fees(delta)]
    if received:
        return [_in("transfer", delta)]
    raise violation(f"a ledger update of type {delta.type!r} is between two other users")


def _within(delta: Delta) -> list[Part]:
    ccy, amount = _amount(delta)
    return [Part("transfer", ccy, exact(amount), "in"), Part("transfer", ccy, negated(amount), "out")]


def _fees(delta: Delta) -> list[Part]:
    paid = ((delta.fee, delta.fee_token or tables.DOLLAR, "fee"), (delta.native_token_fee, delta.token, "token fee"))
    return [Part("other", ccy, negated(fee), name) for fee, ccy, name in paid if fee and ccy]


def _in(kind: TransferKind, delta: Delta) -> Part:
    ccy, amount = _amount(delta)
    return Part(kind, ccy, exact(amount))


def _out(kind: TransferKind, delta: Delta) -> Part:
    ccy, amount = _amount(delta)
    return Part(kind, ccy, negated(amount))


def _amount(delta: Delta) -> tuple[str, Decimal]:
    if delta.usdc is not None:
        return tables.DOLLAR, delta.usdc
    return _needed(delta.token, delta), _needed(delta.amount, delta)


def _is(user: str | None, address: str) -> bool:
    return user is not None and user.lower() == address


def _needed(value: T | None, delta: Delta) -> T:
    if value is None:
        raise violation(f"a ledger update of type {delta.type!r} lacks a member")
    return value
