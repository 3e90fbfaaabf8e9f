"""A configuration file as an operator writes it: hosts, accounts, and credentials in files of their own."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from exchanges.venue import AccountSpec
from gateway.config import Config


def written(config: Config, specs: Iterable[AccountSpec], folder: Path) -> Path:
    """Write a configuration of those accounts and return its path; JSON is YAML too."""
    accounts = {}
    for spec in specs:
        settings = {"venue": spec.venue, "env": spec.env, "region": spec.region, "address": spec.address}
        if spec.credentials is not None:
            key = spec.credentials
            file = folder / f"{spec.name}.json"
            file.write_text(json.dumps({"key": key.key, "secret": key.secret, "passphrase": key.passphrase}))
            settings["credentials"] = f"file:{file}"
        accounts[spec.name] = {name: value for name, value in settings.items() if value is not None}
    venues = {
        name: {"rest": hosts.rest, "ws_public": hosts.ws_public, "ws_private": hosts.ws_private}
        for name, hosts in config.venues.items()
    }
    path = folder / "config.yaml"
    path.write_text(json.dumps({"venues": venues, "accounts": accounts}))
    return path
