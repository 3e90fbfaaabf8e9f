"""Configuration: what is understood, and what is said to an operator who mistyped."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import msgspec
import pytest
import yaml
from yarl import URL

from gateway import config
from gateway.config import Config, account_specs, credentials, endpoints, load, parse, public_view
from gateway.core.alerts.rules import BUILTIN, KINDS, RuleSettings, Select
from gateway.loading import ConfigError, read_yaml

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


@pytest.mark.parametrize("value", [".inf", "-.inf", ".nan"])
@pytest.mark.parametrize(
    ("key", "text"),
    [
        ("engine.dust_usd", "engine: {{dust_usd: {}}}"),
        ("risk.weights.leverage", "risk: {{weights: {{leverage: {}}}}}"),
        ("stress.steps[1]", "stress: {{steps: [10, {}]}}"),
        ("stress.betas.BTC", "stress: {{betas: {{BTC: {}}}}}"),
        ("alerts.rules.x.for_s", "alerts: {{rules: {{x: {{kind: adl, steps: {{info: 1}}, for_s: {}}}}}}}"),
        ("alerts.rules.x.steps.info", "alerts: {{rules: {{x: {{kind: adl, steps: {{info: {}}}}}}}}}"),
    ],
)
def test_no_value_is_beyond_numbers(key: str, text: str, value: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(read_yaml(text.format(value)), "config.yaml")
    assert str(caught.value).startswith(f"config.yaml: {key}: ")
    assert "finite" in str(caught.value)


@pytest.mark.parametrize("beta", [101, -101, 1e308])
def test_a_beta_beyond_reason_is_refused(beta: float) -> None:
    with pytest.raises(ConfigError, match=r"config\.yaml: stress: Expected `float` [<>]= -?100\.0"):
        parse({"stress": {"betas": {"BTC": beta}}}, "config.yaml")


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


# --- Alerts --------------------------------------------------------------------------------------------------------------

WEBHOOK = {"type": "webhook", "url": "env:DESK_URL", "secret": "env:DESK_SECRET"}


@pytest.mark.parametrize(
    ("alerts", "said"),
    [
        ({"rulez": {}}, "alerts: unknown key `rulez`; did you mean `rules`?"),
        (
            {"rules": {"x": {"kind": "liquidation_distanse", "steps": {"info": 1}}}},
            "did you mean `liquidation_distance`?",
        ),
        (
            {"rules": {"liqiudation": {"steps": {"info": 1}}}},
            "alerts.rules.liqiudation: `kind` is missing, and no built-in rule has this name; did you mean `liquidation`?",
        ),
        ({"rules": {"liqiudation": {"enabled": False}}}, "did you mean `liquidation`?"),
        ({"rules": {"blind": {"enabled": False, "notify": ["desk"]}}}, "the channel `desk`"),
        ({"rules": {"x": {"kind": "adl"}}}, "alerts.rules.x: `steps` is missing"),
        ({"rules": {"x": {"kind": "adl", "stepz": {}}}}, "alerts.rules.x: unknown key `stepz`; did you mean `steps`?"),
        ({"rules": {"x": {"kind": "adl", "steps": {"high": 1}}}}, "Invalid enum value 'high'"),
        (
            {"rules": {"liquidation": {"steps": {"info": 0.1, "error": 0.2}}}},
            "steps.error must be smaller than steps.info",
        ),
        (
            {"rules": {"margin_ratio": {"steps": {"info": 0.3, "error": 0.2}}}},
            "steps.error must be larger than steps.info",
        ),
        ({"rules": {"x": {"kind": "adl", "steps": {"info": 1}, "for_s": -1}}}, "Expected `float` >= 0"),
        (
            {"rules": {"x": {"kind": "adl", "steps": {"info": 1}, "for_s": 1e308}}},
            "x: for_s is 1e+308; it must be 86400 (a day) at most",
        ),
        (
            {"rules": {"blind": {"select": {"acounts": ["a"]}}}},
            "blind.select: unknown key `acounts`; did you mean `accounts`?",
        ),
        ({"rules": {"blind": {"select": {"accounts": ["a"]}}}}, "there is no account `a`; there are: none"),
        ({"rules": {"blind": {"select": {"users": ["ann"]}}}}, "there is no user `ann`; there are: none"),
        ({"rules": {"blind": {"select": {"envs": ["prod"]}}}}, "blind.select: Invalid enum value 'prod'"),
        ({"rules": {"blind": {"select": {"accounts": []}}}}, "blind.select: Expected `array` of length >= 1"),
        ({"rules": {"blind": {"select": {"venues": ["okex"]}}}}, "unknown venue `okex`; did you mean `okx`?"),
        ({"rules": {"margin_ratio": {"select": {"symbols": ["A"]}}}}, "select.symbols does not fit"),
        ({"rules": {"blind": {"notify": ["desk"]}}}, "the channel `desk`, which is not under alerts.channels: none"),
        ({"rules": {"a:b": {"kind": "adl", "steps": {"info": 1}}}}, "`a:b` is no name"),
        ({"channels": {"desk": {**WEBHOOK, "type": "hook"}}}, "alerts.channels.desk: Invalid enum value 'hook'"),
        ({"channels": {"desk": {"type": "webhook", "url": "env:URL"}}}, "alerts.channels.desk: `secret` is missing"),
        ({"channels": 5}, "alerts.channels: must be a mapping of names"),
    ],
)
def test_what_is_wrong_with_alerts_is_named_with_its_place(alerts: object, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse({"alerts": alerts}, "config.yaml")
    assert said in str(caught.value)
    assert str(caught.value).startswith("config.yaml")


@pytest.mark.parametrize("field", ["url", "secret"])
def test_an_address_or_a_secret_of_a_channel_is_refused_without_repeating_it(field: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse({"alerts": {"channels": {"desk": WEBHOOK | {field: "https://hooks.example/hunter2"}}}}, "config.yaml")
    assert f"alerts.channels.desk.{field}" in str(caught.value)
    assert "`env:NAME` or `file:PATH`" in str(caught.value)
    assert "hunter2" not in str(caught.value)


def test_channels_get_their_secrets_from_where_they_are_named(tmp_path: Path) -> None:
    (tmp_path / "url").write_text("https://hooks.example/hunter2\n")
    settings = parse({"alerts": {"channels": {"desk": WEBHOOK | {"url": f"file:{tmp_path / 'url'}"}}}}, "config.yaml")
    (channel,) = config.alert_channels(settings, {"DESK_SECRET": "swordfish"})
    assert (channel.name, channel.address, channel.key) == ("desk", URL("https://hooks.example/hunter2"), b"swordfish")
    assert "hunter2" not in f"{channel!r} {public_view(settings)}"
    with pytest.raises(
        ConfigError, match=r"alerts\.channels\.desk\.secret: environment variable DESK_SECRET is not set"
    ):
        config.alert_channels(settings, {})


@pytest.mark.parametrize(
    "url",
    [
        "ftp://hunter2",
        "hunter2",
        "https:///hunter2",
        "https://h:443443/hunter2",
        "https://h:x/hunter2",
        "http://[::1/hunter2",
    ],
)
def test_what_is_no_address_of_a_webhook_is_refused_without_repeating_it(url: str) -> None:
    settings = parse({"alerts": {"channels": {"desk": WEBHOOK}}}, "config.yaml")
    with pytest.raises(ConfigError, match=r"^alerts\.channels\.desk\.url: .* no http or https address") as caught:
        config.alert_channels(settings, {"DESK_URL": url, "DESK_SECRET": "swordfish"})
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("secret", "key"),
    [("swordfish", b"swordfish"), ("schlüssel", "schlüssel".encode()), ("whsec_aHVudGVyMg==", b"hunter2")],
)
def test_a_webhook_is_signed_with_the_bytes_that_its_secret_stands_for(secret: str, key: bytes) -> None:
    settings = parse({"alerts": {"channels": {"desk": WEBHOOK}}}, "config.yaml")
    (channel,) = config.alert_channels(settings, {"DESK_URL": "https://hooks.example", "DESK_SECRET": secret})
    assert channel.key == key


@pytest.mark.parametrize(
    "secret", ["whsec_hunter2", "whsec_hunter2aHVudGVyMg", "whsec_hunter2 !", "whsec_ühunter2", "whsec_"]
)
def test_a_secret_that_was_not_copied_whole_is_refused_without_repeating_it(secret: str) -> None:
    settings = parse({"alerts": {"channels": {"desk": WEBHOOK}}}, "config.yaml")
    with pytest.raises(ConfigError, match=r"^alerts\.channels\.desk\.secret: .* is no base64") as caught:
        config.alert_channels(settings, {"DESK_URL": "https://hooks.example", "DESK_SECRET": secret})
    assert "hunter2" not in str(caught.value)


def test_a_channel_through_apprise_needs_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = parse({"alerts": {"channels": {"phone": {"type": "apprise", "url": "env:PHONE"}}}}, "config.yaml")
    monkeypatch.setitem(sys.modules, "apprise", None)
    with pytest.raises(ConfigError, match=r"pip install 'perpwire\[notify\]'"):
        config.alert_channels(settings, {"PHONE": "tgram://token"})


def test_rules_are_the_built_in_ones_changed_by_what_is_said_of_them() -> None:
    plain = {rule.name: rule for rule in config.alert_rules(Config())}
    assert plain.keys() >= {
        "blind",
        "liquidation",
        "margin_ratio",
        "correction",
        "allocation",
        "model_residual",
        "key_expiry",
    }
    assert [tuple(step) for step in plain["liquidation"].steps] == [
        ("warning", 0.2),
        ("error", 0.1),
        ("critical", 0.05),
    ]
    given = {
        "liquidation": {"cooldown_s": 60}, "blind": {"enabled": False},
        "margin_ratio": {"kind": "drawdown", "steps": {"info": 0.1}}, "mine": {"kind": "adl", "steps": {"info": 4}},
    }  # fmt: skip
    changed = {rule.name: rule for rule in config.alert_rules(parse({"alerts": {"rules": given}}, "config.yaml"))}
    assert changed["liquidation"] == msgspec.structs.replace(plain["liquidation"], cooldown_ms=60_000)
    assert "blind" not in changed
    assert (changed["margin_ratio"].kind, changed["margin_ratio"].clear) == ("drawdown", 0.0)
    assert changed["mine"].steps == (("info", 4.0),)
    own = {"mine": {"kind": "adl", "steps": {"info": 4}}, "liquidation": {"clear": 0}, "blind": {"enabled": False}}
    alone = parse({"alerts": {"builtin": False, "rules": own}}, "config.yaml")
    assert config.alert_rules(alone) == [changed["mine"], msgspec.structs.replace(plain["liquidation"], clear=0.0)]


def test_the_shipped_file_shows_the_built_in_rules_as_they_are_and_every_key() -> None:
    text = (ROOT / "config.yaml").read_text()
    section = text[text.index("\nalerts:") + 1 : text.index("\nverify:")]
    shown = yaml.safe_load(re.sub(r"^  #(  .*)$", r"  \1", section, flags=re.MULTILINE).replace("{}  ", "  "))["alerts"]
    own = shown["rules"].pop("big-loss")
    given = msgspec.convert(shown["rules"], dict[str, RuleSettings])
    assert given == BUILTIN
    assert own.keys() == set(RuleSettings.__struct_fields__)
    assert own["select"].keys() == set(Select.__struct_fields__)
    assert shown["channels"]["desk"].keys() == set(config.ChannelSettings.__struct_fields__)
    assert set(KINDS) <= set(re.findall(r"\w+", section))
