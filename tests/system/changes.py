"""Changes of a desk's configuration that several scenarios make."""

from __future__ import annotations

from typing import Any

import msgspec

from exchanges.venue import AccountSpec
from gateway.config import Config, VerifySettings
from tests.system.desk import Change

replace = msgspec.structs.replace


def often(config: Config, specs: list[AccountSpec]) -> tuple[Config, list[AccountSpec]]:
    """Ask every account's state each second, so that no scenario waits for the timer."""
    return replace(config, verify=VerifySettings(every_s=1)), specs


def only(*names: str) -> Change:
    """Return the change that leaves just these accounts: a venue's limits are then enough for asking often."""

    def change(config: Config, specs: list[AccountSpec]) -> tuple[Config, list[AccountSpec]]:
        kept = {name: settings for name, settings in config.accounts.items() if name in names}
        return replace(config, accounts=kept), [spec for spec in specs if spec.name in names]

    return change


def settings(name: str, **fields: Any) -> Change:
    """Return the change of one account's settings."""

    def change(config: Config, specs: list[AccountSpec]) -> tuple[Config, list[AccountSpec]]:
        changed = {**config.accounts, name: replace(config.accounts[name], **fields)}
        return replace(config, accounts=changed), specs

    return change
