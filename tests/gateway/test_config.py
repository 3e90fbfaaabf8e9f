"""Configuration: what is understood, and what is said to an operator who mistyped."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest
import yaml

from gateway import config
from gateway.config import Config, ConfigError, account_specs, credentials, endpoints, load, parse, public_view

ROOT = Path(__file__).resolve().parents[2]


def test_the_shipped_file_lists_every_key_with_its_default() -> None:
    shipped = yaml.safe_load((ROOT / "config.yaml").read_text())
    assert shipped == json.loads(msgspec.json.encode(Config()))
    assert load(ROOT / "config.yaml") == Config()


def test_the_shipped_file_describes_every_key_of_tables() -> None:
    text = (ROOT / "config.yaml").read_text()
    for kind in (config.HostSettings, config.AccountSettings):
        for key in kind.__struct_fields__:
            assert f"#    {key}:" in text, f"{kind.__name__}.{key} is not described in config.yaml"


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ({"sever": {}}, "unknown key `sever`; did you mean `server`?"),
        ({"server": {"prot": 1}}, "server: unknown key `prot`; did you mean `port`?"),
        ({"server": {"port": 99999}}, "server: Expected `int` <= 65535 - at `$.port`"),
        ({"server": {"port": "x"}}, "server: Expected `int`, got `str` - at `$.port`"),
        ({"accounts": {"a": {"venue": "okxx"}}}, "accounts.a.venue: unknown venue `okxx`; did you mean `okx`?"),
        (
            {"accounts": {"a": {"venue": "okx", "adress": "0x"}}},
            "accounts.a: unknown key `adress`; did you mean `address`?",
        ),
        ({"accounts": {"a b": {"venue": "okx"}}}, "`a b` is no account name"),
        ({"accounts": {"a": {"venue": "okx", "env": "prod"}}}, "accounts.a: Invalid enum value 'prod'"),
        ({"accounts": ["a"]}, "accounts: must be a mapping"),
        ({"venues": {"okex": {}}}, "unknown venue `okex`; did you mean `okx`?"),
        ({"engine": {"mark_max_age_ms": {"bibit": 1}}}, "unknown venue `bibit`"),
        (
            {"models": {"promoted": ["okx_cros"]}},
            "models.promoted: there is no margin model `okx_cros`; did you mean `okx_cross`?",
        ),
        (["x"], "must be a mapping"),
    ],
)
def test_what_is_wrong_is_named_with_its_place(data: object, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(data, "config.yaml")
    assert said in str(caught.value)
    assert str(caught.value).startswith("config.yaml")


def test_a_secret_in_the_file_is_refused_without_repeating_it() -> None:
    with pytest.raises(ConfigError) as caught:
        parse({"accounts": {"a": {"venue": "okx", "secret": "hunter2"}}}, "config.yaml")
    assert "env:PREFIX" in str(caught.value)
    assert "hunter2" not in str(caught.value)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nowhere\.yaml: cannot be read"):
        load(tmp_path / "nowhere.yaml")
    (tmp_path / "bad.yaml").write_text("a: [")
    with pytest.raises(ConfigError, match="is not YAML"):
        load(tmp_path / "bad.yaml")


def test_secrets_come_from_the_environment_or_a_file(tmp_path: Path) -> None:
    settings = config.AccountSettings(venue="okx", credentials="env:OKX_MAIN")
    environ = {"OKX_MAIN_KEY": "k", "OKX_MAIN_SECRET": "hunter2", "OKX_MAIN_PASSPHRASE": "p"}
    found = credentials("a", settings, environ)
    assert found is not None
    assert (found.key, found.secret, found.passphrase) == ("k", "hunter2", "p")
    assert "hunter2" not in repr(found)
    with pytest.raises(ConfigError, match="OKX_MAIN_SECRET is not set"):
        credentials("a", settings, {"OKX_MAIN_KEY": "k"})
    secret = tmp_path / "okx.json"
    secret.write_text(json.dumps({"key": "k", "secret": "hunter2"}))
    assert credentials("a", config.AccountSettings(venue="okx", credentials=f"file:{secret}"), {}) is not None
    secret.write_text('{"key": "k", "secrt": "hunter2"}')
    with pytest.raises(ConfigError, match="is not of the form") as caught:
        credentials("a", config.AccountSettings(venue="okx", credentials=f"file:{secret}"), {})
    assert "hunter2" not in str(caught.value)
    with pytest.raises(ConfigError, match="must be `env:PREFIX` or `file:PATH`"):
        credentials("a", config.AccountSettings(venue="okx", credentials="OKX_MAIN"), {})


def test_an_address_alone_is_a_complete_account(tmp_path: Path) -> None:
    address = "0x" + "12" * 20
    (tmp_path / "x.yaml").write_text(
        f"accounts: {{whale: {{venue: hyperliquid, address: {address}}}}}\nserver: {{port: 0}}"
    )
    found = load(tmp_path / "x.yaml")
    assert found.server.port == 0
    (spec,) = account_specs(found, {})
    assert (spec.name, spec.venue, spec.env, spec.address) == ("whale", "hyperliquid", "live", address)


def test_hosts_can_be_overridden_one_by_one() -> None:
    found = parse({"venues": {"hyperliquid": {"rest": "http://127.0.0.1:1"}}}, "x")
    hosts = endpoints(found, "hyperliquid", "live", None)
    assert hosts.rest == "http://127.0.0.1:1"
    assert hosts.ws_public.startswith("wss://")


def test_the_public_view_has_no_password() -> None:
    found = parse({"storage": {"dsn": "postgresql://ann:hunter2@db/x"}}, "x")
    assert "hunter2" not in json.dumps(public_view(found))
    assert "ann" in json.dumps(public_view(found))
