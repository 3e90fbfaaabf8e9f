"""One Aster account read by its address alone, without any key: the chain's RPC, polled. Pure.

Owns what that path can say: positions with marks, wallet balances, open orders. It has no stream, no liquidation price, no
maintenance margin, no brackets, no account mode, and its fills carry no id. An account that hides itself is an error, never flat.
Source: api-docs, "Aster Chain RPC".
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from decimal import Decimal

import msgspec
from msgspec import Raw, Struct

from exchanges.aster import build, parse, tables, trades
from exchanges.aster.session import Session
from exchanges.aster.wire import Fault, Figure, Known, Name, PositionRow, decode, plain
from exchanges.errors import AuthFailed, ProtocolViolation
from exchanges.events import (
    AccountMode,
    BalanceState,
    CoinBalance,
    OpenOrders,
    Order,
    PoolState,
    PositionsSnapshot,
    PositionState,
)
from exchanges.venue import HttpRequest, Notice, Output

_BALANCE = "aster_getBalance"
_ORDERS = "aster_openOrders"
_PRODUCT = "perps"


class _Result(Struct, frozen=True, rename="camel"):
    """What every answer holds; ``account_privacy``: disabled | enabled."""

    address: str = ""
    account_privacy: str = ""


class _Envelope(Struct, frozen=True):
    """A JSON-RPC answer."""

    result: Raw = Raw()
    error: Fault | None = None


class _Asked(Struct, frozen=True):
    method: str


class _Asset(Struct, frozen=True, rename="camel"):
    asset: Name
    wallet_balance: Raw  # a JSON number


class _Leg(Struct, frozen=True, kw_only=True, rename="camel"):
    symbol: Name
    collateral: Name
    position_amount: Known
    position_side: str
    isolated: bool
    entry_price: Figure = None
    unrealized_profit: Figure = None
    mark_price: Figure = None
    notional_value: Figure = None
    leverage: int | float | str | None = None
    isolated_wallet: Figure = None
    adl: int | None = None


class _Group(Struct, frozen=True, rename="camel"):
    trading_product: str
    positions: list[_Leg] = []


class _Balance(Struct, frozen=True, rename="camel"):
    perp_assets: list[_Asset]
    positions: list[_Group]


class _Order(Struct, frozen=True, kw_only=True, rename="camel"):
    order_id: Name
    symbol: Name
    side: str
    type: str = ""
    orig_qty: Figure = None
    price: Figure = None


class _Orders(Struct, frozen=True, rename="camel"):
    open_orders: list[_Order]


class AddressLink(Session):
    """Positions, balances and open orders of one address; asked, never streamed (``polled``).

    Args:
        account: The account's name.
        address: The main wallet's.
        host: Where the RPC is; None: at the configured REST address.
    """

    connection = "private"
    polled = True

    def __init__(self, account: str, address: str, host: str | None) -> None:
        super().__init__("")
        self._account, self._address, self._host = account, address, host
        self._answered: set[str] = set()

    @property
    def ready(self) -> bool:
        """True when both questions have been answered."""
        return self._answered >= {_BALANCE, _ORDERS}

    def price_topics(self, symbols: Iterable[str], currencies: Iterable[str] = ()) -> tuple[str, ...]:
        """Return nothing: prices come over the public stream."""
        return ()

    def bootstrap(self) -> list[HttpRequest]:
        """Ask for the whole state."""
        return self.state()

    def audit(self) -> list[HttpRequest]:
        """Return nothing: there is no key that could do anything."""
        return []

    def state(self) -> list[HttpRequest]:
        """Ask for positions and balances (one answer), and open orders."""
        return [
            build.chain(_BALANCE, self._address, "latest", host=self._host),
            build.chain(_ORDERS, self._address, "", "latest", host=self._host),
        ]

    def history(self, since_ms: int, symbols: Sequence[str]) -> list[HttpRequest]:
        """Return nothing: fills by address have neither trade nor order id, and there are no books."""
        return []

    def find_order(self, symbol: str, order_id: str) -> list[HttpRequest]:
        """Return nothing: only open orders are known by address."""
        return []

    def sign(self, request: HttpRequest, now_ms: int) -> HttpRequest:
        """Return the request as it is: nothing is signed."""
        return request

    def answer(self, request: HttpRequest, body: bytes, asked_at: int, at: int) -> list[Output]:
        """Translate an answer.

        Raises:
            AuthFailed: The account hides itself.
            ProtocolViolation: Not as documented; it is never read as "flat".
        """
        method = _method(request)
        envelope = decode(body, _Envelope, method)
        if envelope.error is not None or not envelope.result:
            said = envelope.error.msg if envelope.error else "neither a result nor an error"
            raise ProtocolViolation("aster", f"{method}: {said[:200]}")
        self._must_be_ours(decode(envelope.result, _Result, method), method)
        if method == _BALANCE:
            outputs = self._balance(decode(envelope.result, _Balance, method), asked_at)
        elif method == _ORDERS:
            outputs = self._orders(decode(envelope.result, _Orders, method), asked_at)
        else:
            raise ProtocolViolation("aster", f"an answer to {method[:60]!r}, which is never asked")
        self._answered.add(method)
        return outputs

    def _must_be_ours(self, result: _Result, method: str) -> None:
        if result.account_privacy == "enabled":
            raise AuthFailed(
                f"account {self._account} (aster)",
                "the account hides its positions (privacy mode)",
                do="Switch privacy mode off at asterdex.com, or configure an API wallet",
            )
        if result.account_privacy != "disabled":
            raise ProtocolViolation("aster", f"{method}: unknown privacy {result.account_privacy[:40]!r}")
        if result.address.lower() != self._address.lower():
            raise ProtocolViolation("aster", f"{method}: an answer about another address")

    def _balance(self, result: _Balance, asked_at: int) -> list[Output]:
        legs = [leg for group in result.positions if group.trading_product == _PRODUCT for leg in group.positions]
        foreign = [group for group in result.positions if group.trading_product != _PRODUCT and group.positions]
        notes: list[Output] = [
            Notice(code="product", what=f"positions of {group.trading_product[:40]!r} are not shown")
            for group in foreign
        ]
        states = tuple(state for leg in legs if (state := self._position(leg)).side is not None)
        # Whether all assets are one collateral is not told: what is computed would be a guess.
        mode = AccountMode(account=self._account, mode="by address", computable=False, hedge=_hedge(legs))
        positions = PositionsSnapshot(account=self._account, scope=tables.SCOPE, positions=states, asked_at=asked_at)
        return [*notes, mode, positions, self._money(result.perp_assets, states, asked_at)]

    def _position(self, leg: _Leg) -> PositionState:
        row = PositionRow(
            symbol=leg.symbol,
            position_amt=leg.position_amount,
            position_side=leg.position_side,
            margin_type="isolated" if leg.isolated else "cross",
            entry_price=leg.entry_price,
            mark_price=leg.mark_price,
            un_realized_profit=leg.unrealized_profit,
            isolated_wallet=leg.isolated_wallet,
            leverage=None if leg.leverage is None else str(leg.leverage),
            notional=leg.notional_value,
        )
        return msgspec.structs.replace(parse.position(self._account, row, leg.collateral, None), adl=leg.adl)

    def _money(self, assets: Sequence[_Asset], states: Sequence[PositionState], asked_at: int) -> BalanceState:
        totals = {row.asset: plain(row.wallet_balance, f"walletBalance of {row.asset}") for row in assets}
        pools = []
        for asset, total in totals.items():
            # The wallet holds what isolated positions were given; cross positions share the rest.
            given = [
                state.isolated_cash for state in states if state.margin_mode == "isolated" and state.settle == asset
            ]
            known = [Decimal(cash) for cash in given if cash is not None]
            cash = parse.text(Decimal(total) - sum(known)) if known else total
            pools.append(PoolState(pool=asset, ccy=asset, cash=cash if len(known) == len(given) else None))
        coins = tuple(CoinBalance(ccy=asset, total=total, cash=total) for asset, total in totals.items())
        return BalanceState(
            account=self._account, scope=tables.SCOPE, full=True, coins=coins, pools=tuple(pools), asked_at=asked_at
        )

    def _orders(self, result: _Orders, asked_at: int) -> list[Output]:
        if len(result.open_orders) >= tables.CHAIN_ORDERS:
            return [Notice(code="orders", what=f"{tables.CHAIN_ORDERS} open orders are listed, perhaps not all")]
        orders = tuple(self._order(row) for row in result.open_orders)
        return [OpenOrders(account=self._account, scope=tables.SCOPE, orders=orders, asked_at=asked_at)]

    def _order(self, row: _Order) -> Order:
        return Order(
            account=self._account,
            scope=tables.SCOPE,
            symbol=row.symbol,
            order_id=row.order_id,
            open=True,
            side=trades.order_side(row.symbol, row.side),
            type=row.type,
            price=parse.nonzero(row.price),
            size=row.orig_qty or None,
        )


def _method(request: HttpRequest) -> str:
    return decode(request.body or "", _Asked, "a question").method


def _hedge(legs: Sequence[_Leg]) -> bool | None:
    return any(leg.position_side != "BOTH" for leg in legs) if legs else None
