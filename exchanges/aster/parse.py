"""Aster's positions and balances to normalized events. Pure.

Owns the meaning of position and balance fields. Sizes are in base coin, contract size 1, linear; margin is kept in the symbol's
margin asset. Isolated collateral is the isolated *wallet*: mark-independent, unrealised PnL excluded.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Context, Decimal

from exchanges.aster import tables
from exchanges.aster.pushes import PushedBalance, PushedPosition
from exchanges.aster.wire import Account, AssetRow, PositionRow, millis
from exchanges.errors import ProtocolViolation
from exchanges.events import (
    BalanceState,
    CoinBalance,
    LiquidationKnown,
    MarginMode,
    PoolState,
    PositionState,
    Side,
    known,
    position_id,
)

_EXACT = Context(prec=60)  # sums of published figures
_SIDES: dict[str, Side] = {"LONG": "long", "SHORT": "short"}


def leg_id(account: str, symbol: str, position_side: str) -> str:
    """Return the id of a leg: ``positionSide`` tells the legs of hedge mode apart, and is BOTH otherwise."""
    return position_id(account, symbol, position_side)


def side_of(symbol: str, position_side: str, amount: str) -> Side | None:
    """Return the side that a signed amount means; None: closed.

    Raises:
        ProtocolViolation: The leg is unknown, or its amount has the wrong sign.
    """
    if position_side not in ("BOTH", "LONG", "SHORT"):
        raise ProtocolViolation("aster", f"{symbol}: unknown position side {position_side!r}")
    signed = Decimal(amount)
    if not signed:
        return None
    side: Side = "long" if signed > 0 else "short"
    if _SIDES.get(position_side, side) != side:
        raise ProtocolViolation("aster", f"{symbol}: {position_side} with amount {amount}")
    return side


def margin_mode(symbol: str, word: str) -> MarginMode | None:
    """Return the margin mode; None where the message says none. Raises ProtocolViolation for an unknown word."""
    lowered = word.lower()
    if lowered in tables.ISOLATED:
        return "isolated"
    if lowered in tables.CROSS:
        return "cross"
    if lowered:
        raise ProtocolViolation("aster", f"{symbol}: unknown margin type {word!r}")
    return None


def settle_of(symbol: str, told: Mapping[str, str]) -> str | None:
    """Return the margin asset of a symbol: as the stream told it, else by its name; None where neither says it."""
    return told.get(symbol) or next((quote for quote in tables.QUOTES if symbol.endswith(quote)), None)


def pool_of(row_id: str, mode: MarginMode | None, settle: str | None, multi: bool | None) -> str:
    """Return what a position is liquidated with: itself, its margin asset's cross positions, or the account."""
    if mode == "isolated":
        return f"iso:{row_id}"
    return tables.POOL_MULTI if multi else settle or "unknown"


def position(account: str, row: PositionRow, settle: str | None, multi: bool | None) -> PositionState:
    """Translate one leg of ``positionRisk``. It has no fence: an answer is ordered by when it was asked.

    Raises:
        ProtocolViolation: An unknown word, or an amount that does not go with its leg.
    """
    side = side_of(row.symbol, row.position_side, row.position_amt)
    mode = margin_mode(row.symbol, row.margin_type)
    row_id = leg_id(account, row.symbol, row.position_side)
    isolated = isolated_wallet(row) if mode == "isolated" else None
    price, told = liquidation(row.liquidation_price)
    notional = nonzero(row.notional)
    return PositionState(
        account=account,
        id=row_id,
        scope=tables.SCOPE,
        symbol=row.symbol,
        side=side,
        size=magnitude(row.position_amt) if side else "0",
        margin_mode=mode,
        pool=pool_of(row_id, mode, settle, multi),
        venue_at=millis(row.update_time),
        settle=settle,
        contract_size="1",
        contract_type="linear",
        entry_price=nonzero(row.entry_price),
        leverage=nonzero(row.leverage),
        isolated_margin=isolated,
        isolated_cash=isolated,
        mark_price=nonzero(row.mark_price),
        venue_unrealized_pnl=known(row.un_realized_profit),
        venue_notional=magnitude(notional) if notional else None,
        venue_liquidation_price=price,
        liquidation_known=told,
    )


def pushed_position(
    account: str, row: PushedPosition, settle: str | None, multi: bool | None, fence: tuple[int, ...]
) -> PositionState:
    """Translate one leg of ``ACCOUNT_UPDATE``; what it does not say (leverage, liquidation price) is unknown in the result.

    Its unrealised PnL comes without the mark that it was computed with, so that it is no anchor.

    Raises:
        ProtocolViolation: As ``position``.
    """
    side = side_of(row.s, row.ps, row.pa)
    mode = margin_mode(row.s, row.mt)
    row_id = leg_id(account, row.s, row.ps)
    isolated = known(row.iw) if mode == "isolated" else None
    return PositionState(
        account=account,
        id=row_id,
        scope=tables.SCOPE,
        symbol=row.s,
        side=side,
        size=magnitude(row.pa) if side else "0",
        margin_mode=mode,
        pool=pool_of(row_id, mode, settle, multi),
        fence=fence,
        venue_at=fence[0],
        settle=settle,
        contract_size="1",
        contract_type="linear",
        entry_price=nonzero(row.ep) if side else None,
        isolated_margin=isolated if side else None,
        isolated_cash=isolated if side else None,
        venue_unrealized_pnl=known(row.up) if side else None,
    )


def liquidation(price: str | None) -> tuple[str | None, LiquidationKnown]:
    """Return the venue's liquidation price and what is known of it: "0" says that there is none."""
    if not price:
        return None, "unknown"
    return (price, "price") if Decimal(price) > 0 else (None, "none")


def isolated_wallet(row: PositionRow) -> str | None:
    """Return an isolated leg's collateral: ``isolatedWallet``, else (older answers) ``isolatedMargin`` less unrealised PnL."""
    if wallet := nonzero(row.isolated_wallet):
        return wallet
    if not (row.isolated_margin and row.un_realized_profit):
        return None
    return text(_EXACT.subtract(Decimal(row.isolated_margin), Decimal(row.un_realized_profit)))


# --- Balances -------------------------------------------------------------------------------------------------------


def balance(account: str, answer: Account, multi: bool, asked_at: int) -> BalanceState:
    """Translate the whole account: every asset, and every pool of cross margin.

    Single-asset mode: a pool per asset. Multi-assets mode: one in US dollars, backed by the assets that count
    (``marginAvailable``). What fraction of each does stands on a page of the documentation ("Single-asset mode and multi-asset
    mode", collateral value ratios) and in no answer: it is unknown here, so that the venue's own equity is followed.
    """
    isolated = any(row.isolated and Decimal(row.position_amt or "0") for row in answer.positions)
    rows = [row for row in answer.assets if holds(row)]
    if multi:
        pools: tuple[PoolState, ...] = (_dollar_pool(answer, isolated),)
    else:
        pools = tuple(_asset_pool(row, isolated) for row in rows)
    return BalanceState(
        account=account,
        scope=tables.SCOPE,
        full=True,
        coins=tuple(_coin(row) for row in rows),
        pools=pools,
        available=known(answer.available_balance) if multi else None,
        withdrawable=known(answer.max_withdraw_amount) if multi else None,
        asked_at=asked_at,
    )


def holds(row: AssetRow) -> bool:
    """Say whether an asset matters: about thirty are listed, nearly all of them empty."""
    figures = (row.wallet_balance, row.cross_wallet_balance, row.cross_un_pnl, row.maint_margin)
    return any(nonzero(figure) for figure in figures)


def _coin(row: AssetRow) -> CoinBalance:
    return CoinBalance(
        ccy=row.asset,
        total=row.wallet_balance,
        cash=row.wallet_balance,
        equity=known(row.margin_balance),
        available=known(row.available_balance),
        collateral=row.margin_available,
    )


def _asset_pool(row: AssetRow, isolated: bool) -> PoolState:
    # An asset's margins hold those of isolated positions too: they are the pool's only where there are none.
    return PoolState(
        pool=row.asset,
        ccy=row.asset,
        cash=known(row.cross_wallet_balance),
        venue_equity=total(row.cross_wallet_balance, row.cross_un_pnl),
        venue_maintenance_margin=None if isolated else known(row.maint_margin),
        venue_initial_margin=None if isolated else known(row.position_initial_margin),
        order_margin=known(row.open_order_initial_margin),
        available=known(row.available_balance),
    )


def _dollar_pool(answer: Account, isolated: bool) -> PoolState:
    return PoolState(
        pool=tables.POOL_MULTI,
        ccy="USD",
        from_coins=True,
        venue_equity=total(answer.total_cross_wallet_balance, answer.total_cross_un_pnl),
        venue_maintenance_margin=None if isolated else known(answer.total_maint_margin),
        venue_initial_margin=None if isolated else known(answer.total_position_initial_margin),
        order_margin=known(answer.total_open_order_initial_margin),
        available=known(answer.available_balance),
    )


def pushed_coin(row: PushedBalance, before: CoinBalance | None) -> CoinBalance:
    """Translate one asset of a push; what is known of it besides its balance stays."""
    return CoinBalance(
        ccy=row.a,
        total=row.wb,
        cash=row.wb,
        available=before.available if before else None,
        collateral=before.collateral if before else None,
    )


def pushed_pool(row: PushedBalance, before: PoolState | None) -> PoolState:
    """Translate one asset's pool of a push: its new cash; the margins are those of the last answer."""
    return PoolState(
        pool=row.a,
        ccy=row.a,
        cash=row.cw,
        venue_maintenance_margin=before.venue_maintenance_margin if before else None,
        venue_initial_margin=before.venue_initial_margin if before else None,
        order_margin=before.order_margin if before else None,
        available=before.available if before else None,
    )


# --- Figures --------------------------------------------------------------------------------------------------------


def nonzero(value: str | None) -> str | None:
    """Return a figure for which Aster writes "0" (or "0.00000") when there is none; unknown and zero become None."""
    return value if value and Decimal(value) else None


def magnitude(signed: str) -> str:
    """Return a signed figure without its sign, digits unchanged."""
    return signed.removeprefix("-")


def negated(figure: str) -> str:
    """Return a figure with its sign turned, digits unchanged."""
    if not Decimal(figure):
        return magnitude(figure)
    return figure[1:] if figure.startswith("-") else f"-{figure}"


def total(left: str | None, right: str | None) -> str | None:
    """Return the exact sum of two figures; None where one is unknown."""
    return text(_EXACT.add(Decimal(left), Decimal(right))) if left and right else None


def text(value: Decimal) -> str:
    """Return a derived figure as a plain decimal string."""
    return f"{value:f}" if value else "0"
