"""Money that moved though nobody has said why yet: until somebody does, it is neither a loss nor a gain. Pure.

Owns, of each account, the last amounts that its records explain, and since when they do not any more. Venues push a balance at
once; some tell of a withdrawal only when they are asked (Bybit, Aster). So a move that no fill, payment or transfer explains is
something that the stream did not tell (``Books.missed``): what happened is asked, and the account is in doubt until
it was answered.
"""

from __future__ import annotations

from collections.abc import Iterable

from exchanges.events import Transfer
from gateway.core.accounts import Account
from gateway.core.books import Books
from gateway.core.realized import line_of
from gateway.core.register import Register

# A smaller move, as a share of all money of the account, explains itself: drawdowns are counted in percents.
_SHARE = 0.005
# A balance and what explains it are two messages.
_GRACE_MS = 2_000
# What nobody explained by then is a loss, or a gain, after all: a venue that cannot be asked hides none for longer.
_LONGEST_MS = 120_000
_REMEMBERED = 1_000  # transfers of an account, so that one that is told again explains nothing twice


class _Known:
    """One account: ``amounts`` by currency were explained as of ``at``, what came since up to ``settled``."""

    __slots__ = ("amounts", "asked", "at", "settled", "since", "transfers")

    def __init__(self, at: int, amounts: dict[str, float]) -> None:
        self.at, self.amounts, self.settled = at, amounts, at
        self.since: int | None = None  # our clock; None: all is explained
        self.asked = False
        self.transfers: dict[str, Transfer | None] = {}  # by id; None: in ``amounts`` already


class Moves:
    """Of all accounts.

    Attributes:
        doubted: Accounts whose money moved, and nobody knows why.
    """

    def __init__(self, register: Register, books: Books) -> None:
        self.doubted: set[str] = set()
        self._register, self._books = register, books
        self._known: dict[str, _Known] = {}
        self._early: dict[str, dict[str, Transfer | None]] = {}  # of accounts whose balances are not known yet

    def transfer(self, transfer: Transfer) -> None:
        """Take money that moved without a trade."""
        if line_of(transfer) is None:  # else it is in the books
            known = self._known.get(transfer.account)
            told = known.transfers if known is not None else self._early.setdefault(transfer.account, {})
            told.setdefault(transfer.id, transfer)
            if len(told) > _REMEMBERED:
                del told[next(iter(told))]

    def waiting(self, account: str) -> bool:
        """Say whether time may change what is known of an account."""
        return account in self.doubted or account not in self._known

    def look(self, accounts: Iterable[Account], now: int) -> None:
        """Take how much money these accounts have now, and let time pass."""
        for account in accounts:
            amounts = self._amounts(account)
            if amounts is None or account.as_of is None:
                continue
            known = self._known.get(account.info.name)
            if known is None:
                known = self._known[account.info.name] = _Known(account.as_of.last, amounts)
                known.transfers |= self._early.pop(account.info.name, {})
            if self._explains(account, known, amounts):
                known.since, known.settled = None, account.as_of.first
            elif known.since is None:
                known.since, known.asked = now, False
            else:
                self._wait(account, known, amounts, known.since, now)
            (self.doubted.discard if known.since is None else self.doubted.add)(account.info.name)

    def _wait(self, account: Account, known: _Known, amounts: dict[str, float], since: int, now: int) -> None:
        """Ask what happened; once that is answered, or for too long not, take what is there as it is."""
        coverage = self._books[account.info.name].coverage
        if not known.asked and now - since >= _GRACE_MS:
            known.asked = True
            if coverage.since is not None:  # else everything is asked already
                self._books.missed(account, known.settled, now)
        elif (known.asked and coverage.whole) or now - since >= _LONGEST_MS:
            self._take(account, known, amounts)
            known.since = None

    def _explains(self, account: Account, known: _Known, amounts: dict[str, float]) -> bool:
        """Say whether records explain what an account has; where nobody can say what it has, there is nothing to explain."""
        price = {ccy: account.usd(ccy) for ccy in amounts.keys() | known.amounts.keys()}
        least = _SHARE * sum(abs(amount) * price[ccy] for ccy, amount in known.amounts.items() if amount)
        more = {ccy: amounts.get(ccy, 0.0) - known.amounts.get(ccy, 0.0) for ccy in price}
        moved = sum(amount * price[ccy] for ccy, amount in more.items() if amount)
        if not abs(moved) > least:
            return True
        told = [one for one in known.transfers.values() if one is not None and one.at > known.at]
        said = sum(float(one.amount) * price.get(one.ccy, 0.0) for one in told)
        total = self._books.total(account.info.name, known.at + 1)
        said += sum(float(amount) * price.get(ccy, 0.0) for ccy, amount in total.items())
        if abs(moved - said) > least:
            return False
        self._take(account, known, amounts)
        return True

    def _take(self, account: Account, known: _Known, amounts: dict[str, float]) -> None:
        """Take what an account has as explained; what was told of it does not explain anything later."""
        assert account.as_of is not None
        known.at, known.amounts = account.as_of.last, amounts
        known.transfers = dict.fromkeys(known.transfers)

    def _amounts(self, account: Account) -> dict[str, float] | None:
        """Return what an account has, by currency, without what marks move; None: nothing was read yet.

        A currency whose positions count with their value is left out: every trade moves its amount.
        """
        register, number = self._register, self._register.number(account.info.name)
        if number is None:
            return None
        by_value = {int(register.pools.ints[Register.BALANCE, pool]) for pool in register.pools_of[number]}
        purses = [purse for purse in register.purses_of[number] if purse not in by_value]
        return {register.ccy(purse): float(register.purses.floats[Register.AMOUNT, purse]) for purse in purses}
