"""How configuration is read and checked, whatever it is of: YAML in, typed settings out, secrets from where they are named.

Owns what is said to an operator who mistyped; every error has its place. What the keys are, and what they mean together, is
``config``'s.
"""

from __future__ import annotations

import base64
import difflib
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import yaml
from yarl import URL

from exchanges.venue import Credentials

BY_REFERENCE = "Put it into an environment variable or a file of your own and name that: `env:NAME` or `file:PATH`"
_SECRETS = frozenset({"key", "secret", "passphrase", "api_key", "api_secret", "private_key", "password"})


class ConfigError(Exception):
    """The operator's configuration cannot be used; the message says what, where and what to do."""


class _Loader(yaml.SafeLoader):
    """YAML as SafeLoader reads it, except that ``0x…`` is text: an address is no number."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:int"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver("tag:yaml.org,2002:int", re.compile(r"[-+]?(?:0|[1-9][0-9_]*)$"), list("-+0123456789"))


def read_yaml(text: str) -> object:
    """Return what a YAML text holds. Raises yaml.YAMLError."""
    return yaml.load(text, _Loader)


def read_file(path: Path) -> object:
    """Return what a YAML file holds, None of an empty one. Raises ConfigError."""
    try:
        return read_yaml(path.read_text())
    except OSError as bad:
        raise ConfigError(f"{path}: cannot be read ({bad.strerror}). Name an existing file with --config") from None
    except yaml.YAMLError as bad:
        raise ConfigError(f"{path}: is not YAML: {bad}") from None


def check_finite(data: object, where: str, key: str = "") -> None:
    """Check that every number is one, however deep: neither infinite nor NaN. Raises ConfigError."""
    if isinstance(data, float) and not math.isfinite(data):
        raise ConfigError(f"{where}: {key}: must be a finite number, and is {data}")
    entries = data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ()
    for name, entry in entries:
        place = f"{key}[{name}]" if isinstance(data, list) else f"{key}.{name}".removeprefix(".")
        check_finite(entry, where, place)


def check_table(data: object, kind: type[msgspec.Struct], where: str) -> None:
    """Check a mapping of names to settings. Raises ConfigError."""
    if not isinstance(data, dict | None):
        raise ConfigError(f"{where}: must be a mapping of names to settings")
    for name, entry in (data or {}).items():
        check_section(entry, kind, f"{where}.{name}")


def check_section(data: object, kind: type[msgspec.Struct], where: str) -> None:
    """Check the keys and values of one section; None: it is left out. Raises ConfigError."""
    if data is None:
        return
    if not isinstance(data, dict):
        raise ConfigError(f"{where}: must be a mapping of settings")
    check_keys(data, kind, where)
    convert(data, kind, where)


def check_keys(data: Mapping[object, object], kind: type[msgspec.Struct], where: str) -> None:
    """Check that every key is known. A secret is not repeated; ``SECRETS_GO`` of the kind says where it belongs.

    Raises:
        ConfigError: It names the key, the nearest one that there is, and all.
    """
    known = kind.__struct_fields__
    for key in data:
        if key in known:
            continue
        place: str | None = getattr(kind, "SECRETS_GO", None)
        if place is not None and key in _SECRETS:
            raise ConfigError(f"{where}: `{key}` is a secret and does not belong in this file. {place}")
        near = difflib.get_close_matches(str(key), known, n=1, cutoff=0.0)
        raise ConfigError(f"{where}: unknown key `{key}`; did you mean `{near[0]}`? Known: {', '.join(known)}")


def convert(data: object, kind: type[Any], where: str) -> Any:
    """Return data as typed settings. Raises ConfigError."""
    try:
        return msgspec.convert(data, kind)
    except msgspec.ValidationError as bad:
        raise ConfigError(f"{where}: {bad}") from None


def referred(reference: str, where: str, environ: Mapping[str, str]) -> str:
    """Return what ``env:NAME`` or ``file:PATH`` stands for. Raises ConfigError; nothing of it is in the message."""
    kind, _, rest = reference.partition(":")
    try:
        found = environ.get(rest, "") if kind == "env" else Path(rest).read_text().strip()
    except (OSError, UnicodeDecodeError) as bad:
        raise ConfigError(f"{where}: {rest} cannot be read ({type(bad).__name__})") from None
    if not found:
        raise ConfigError(f"{where}: {'environment variable ' if kind == 'env' else ''}{rest} is not set or empty")
    return found


def webhook_address(text: str, where: str) -> URL:
    """Return where a webhook goes. Raises ConfigError; nothing of it is in the message."""
    try:
        url = URL(text)
        if url.scheme in ("http", "https") and url.host:
            return url
    except ValueError:
        pass
    raise ConfigError(f"{where}: what it names is no http or https address, such as https://hooks.example.com/in")


def signing_key(secret: str, where: str) -> bytes:
    """Return the bytes that a webhook's secret stands for: those of ``whsec_BASE64``, or its own.

    Raises:
        ConfigError: It begins like the former and is none; nothing of it is in the message.
    """
    if not secret.startswith("whsec_"):
        return secret.encode()
    try:
        key = base64.b64decode(secret.removeprefix("whsec_"), validate=True)
    except ValueError:
        key = b""
    if not key:
        raise ConfigError(
            f"{where}: what follows `whsec_` is no base64. Copy the secret from the receiver anew, to its end"
        )
    return key


class CredentialsFile(msgspec.Struct, forbid_unknown_fields=True):
    """The form of a credentials file (JSON)."""

    key: str
    secret: str
    passphrase: str | None = None


def key_of(source: str, where: str, environ: Mapping[str, str]) -> Credentials:
    """Return the key that ``env:PREFIX`` or ``file:PATH`` stands for. Raises ConfigError; nothing of it is in the message."""
    kind, _, rest = source.partition(":")
    if kind == "env" and rest:
        missing = [f"{rest}_{part}" for part in ("KEY", "SECRET") if not environ.get(f"{rest}_{part}")]
        if missing:
            raise ConfigError(f"{where}: environment variable {' and '.join(missing)} is not set")
        return Credentials(environ[f"{rest}_KEY"], environ[f"{rest}_SECRET"], environ.get(f"{rest}_PASSPHRASE"))
    if kind == "file" and rest:
        try:
            found = msgspec.json.decode(Path(rest).read_bytes(), type=CredentialsFile)
        except OSError as bad:
            raise ConfigError(f"{where}: {rest} cannot be read ({bad.strerror})") from None
        except msgspec.MsgspecError as bad:
            form = '{"key": "…", "secret": "…", "passphrase": "…"}'
            raise ConfigError(f"{where}: {rest} is not of the form {form}: {bad}") from None
        return Credentials(found.key, found.secret, found.passphrase)
    raise ConfigError(f"{where}: must be `env:PREFIX` or `file:PATH`")
