"""The search for secrets in a run's output finds them, in whatever form they came out."""

from __future__ import annotations

from urllib.parse import quote

import pytest

from exchanges.sim.world import World
from exchanges.venue import HttpRequest
from tests import secrecy
from tests.secrecy import OUTPUTS, Outputs

SIGNATURE = "p9xbIQ+q2oI/jy8tkHQCCr1YpoiM9bdIrXQVYAFQiCk="


@pytest.mark.parametrize("text", ["the secret is {}.", '{{"OK-ACCESS-SIGN": "{}"}}', "GET /x?signature={}&a=b"])
@pytest.mark.parametrize("escaped", [False, True])
def test_a_secret_and_a_signature_are_found(text: str, escaped: bool) -> None:
    outputs = Outputs()
    outputs.keep_secret("0123456789abcdef")
    outputs.signatures.add(SIGNATURE)
    for value, what in (("0123456789abcdef", "the secret 0123…"), (SIGNATURE, "a signature")):
        outputs.texts = [("here", text.format(quote(value, safe="") if escaped else value))]
        assert set(outputs.leaks()) == {f"here: {what}"}
    outputs.texts = [("here", "p9xbIQ and 0123456789 and nothing else")]
    assert not list(outputs.leaks())


def test_what_is_public_or_a_placeholder_is_no_secret() -> None:
    outputs = Outputs()
    outputs.keep_secret("k", "0x" + "ab" * 20, "a passphrase", None, "-----BEGIN PRIVATE KEY-----\nMIIEvQIBADAN\nx\n")
    assert outputs.secrets == {"MIIEvQIBADAN"}


def test_every_world_has_its_secrets_noted() -> None:
    world = World(4711, 0)
    account = world.accounts_of("okx")[0]
    assert {account.key, account.secret, account.passphrase} <= OUTPUTS.secrets
    assert world.accounts_of("aster")[0].signer_key in OUTPUTS.secrets


def test_what_is_signed_is_noted() -> None:
    before = set(OUTPUTS.signatures)
    try:
        secrecy._keep_signed(
            HttpRequest(path=f"/x?a=b&signature={'1f' * 20}", headers=(("X-BAPI-SIGN", "2e" * 20), ("Accept", "all")))
        )
        secrecy._keep_login('{"op": "auth", "args": ["key", 1, "3d3d3d3d3d3d3d3d"]}')
        assert {"1f" * 20, "2e" * 20, "3d3d3d3d3d3d3d3d"} <= OUTPUTS.signatures
    finally:
        OUTPUTS.signatures = before


def test_a_run_that_leaks_fails() -> None:
    """What a test prints is noted when its report is made: here by hand, and taken back."""
    kept = OUTPUTS.texts
    OUTPUTS.texts = []
    try:
        OUTPUTS.keep_secret("aSecretOfThisTest")
        printed = [("Captured stdout call", "aSecretOfThisTest")]
        report = pytest.TestReport("tests/x.py::y", ("x", 0, "x"), {}, "passed", None, "call", printed)
        secrecy.pytest_runtest_logreport(report)
        assert secrecy.found() == ["tests/x.py::y (Captured stdout call): the secret aSec…"]
    finally:
        OUTPUTS.texts = kept
        OUTPUTS.secrets.discard("aSecretOfThisTest")
