"""Alerts as the engine uses them: a look at the end of every turn, and one by the clock. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence

from exchanges.events import Transfer
from gateway.core.accounts import Account
from gateway.core.alerts.board import Board
from gateway.core.alerts.look import Look, Surroundings
from gateway.core.alerts.records import AlertRecord, EquitySample, Silence
from gateway.core.alerts.rules import Rule
from gateway.core.alerts.sources import live_account
from gateway.core.alerts.watches import watches
from gateway.core.publish import Changes


class Alerts:
    """Rules over everything. Used within the engine's open change set.

    Attributes:
        board: The alerts that there are, and what is to be told.
    """

    def __init__(
        self, rules: Sequence[Rule], of: Surroundings, changes: Changes, counters: Counter[str], *, judge: bool = True
    ) -> None:
        """``judge``: False: the alerts are what ``follow`` is told."""
        self.board = Board(rules, changes, counters)
        self._watches = watches(rules, self.board) if judge else []
        self._of, self._changes = of, changes
        self._begun = False  # what was stored is there at the first turn
        self._of_losses = any(rule.kind == "drawdown" for rule in rules)

    def turn(self, concerned: Collection[str], now: int) -> None:
        """Hold the rules against what a turn changed, after figures were brought to it."""
        moved = self._changes.tables["positions"].changed_seq == self._changes.seq
        look = self._look(now, concerned=concerned, moved=moved)
        self._account_for(concerned if self._begun else self._of.scene.accounts, look)
        self._begun = True
        for watch in self._watches:
            watch.turn(look)

    def clock(self, now: int) -> None:
        """Hold the rules against everything, and let time pass: waits, cooldowns, silences, the day's equity."""
        look = self._look(now)
        self._account_for([name for name in self._of.scene.accounts if self._of.moves.waiting(name)], look)
        self._sample(look)
        self.board.tidy(now)
        for watch in self._watches:
            watch.clock(look)

    def _look(self, now: int, *, concerned: Collection[str] = (), moved: bool = True) -> Look:
        written, self._of.holdings.written = self._of.holdings.written, set()
        structure = self._changes.tables["positions"].structure_seq
        return Look(self._of, now, written=written, concerned=concerned, moved=moved, structure=structure)

    def storage(self, trouble: float, words: str) -> None:
        """Take how storage stands: 0: well, else as the kind ``storage`` counts; the next clock turn judges it."""
        self._of.storage = trouble, words

    def verified(self, account: str, unexplained: int, words: str) -> None:
        """Take how many lines of an account's verifications nothing explains; the next clock turn judges it."""
        self._of.unexplained[account] = float(unexplained), words

    def transfer(self, account: Account, transfer: Transfer, now: int) -> None:
        """Take money that came or went."""
        if self._of_losses:
            self._of.moves.transfer(transfer)
        self._of.days.transfer(transfer, lambda: account.usd(transfer.ccy), now)

    def _account_for(self, names: Collection[str], look: Look) -> None:
        """Find out whether records explain what accounts have, where a rule asks for what they lost."""
        if names and self._of_losses:
            look.refresh()
            self._of.moves.look((self._of.scene.accounts[name] for name in names), look.now)

    def _sample(self, look: Look) -> None:
        """Note what accounts with live figures are worth, and once a minute store it."""
        accounts = self._of.scene.accounts
        worth = {
            name: equity
            for name, equity in zip(look.worth.names, look.worth.equity.tolist(), strict=True)
            if live_account(accounts[name]) is None and name not in self._of.moves.doubted
        }
        if self._of.days.see(worth, look.span, look.now):
            for sample in self._of.days.close_minute(worth, look.purses(), look.now):
                if self._changes.sink:
                    self._changes.sink.put_equity(sample)

    # --- restarts ----------------------------------------------------------------------------------------------------

    def restore(self, record: AlertRecord, accounts: Mapping[str, Account], now: int) -> None:
        """Go on with a stored alert."""
        self._of.restored_at = now
        self.board.restore(record, accounts, now)

    def restore_silence(self, silence: Silence) -> None:
        """Go on with a stored silence."""
        self.board.restore_silence(silence)

    def restore_equity(self, sample: EquitySample, now: int) -> None:
        """Take what an account was worth earlier today."""
        self._of.days.restore(sample, now)
