"""What the WebSocket shell says of a failure, and of a question, without an address or a secret."""

from __future__ import annotations

import socket
import ssl

import pytest
from websockets.exceptions import InvalidURI

from exchanges import supervisor as module
from exchanges.venue import HttpRequest


@pytest.mark.parametrize(
    ("error", "why"),
    [
        (ConnectionRefusedError(111, "x"), "v.test: connection refused"),
        (TimeoutError(), "v.test: no WebSocket handshake within 10 s"),
        (socket.gaierror(-2, "x"), "v.test: the host name cannot be resolved. Check the network and the name"),
        (ConnectionResetError(104, "reset by peer"), "v.test: ConnectionResetError: [Errno 104] reset by peer"),
        (InvalidURI("wss://v.test/s3cret", "x"), "v.test: not a WebSocket address. Check the venue's hosts in the configuration"),
    ],
)  # fmt: skip
def test_each_cause_has_a_clear_text_without_the_path(error: OSError | InvalidURI, why: str) -> None:
    assert module._why_not("wss://v.test/s3cret?s3cret", error) == why


def test_a_certificate_that_is_not_accepted_is_named() -> None:
    error = ssl.SSLCertVerificationError(1, "x")
    error.verify_message = "self-signed certificate"
    assert module._why_not("wss://v.test/", error) == "v.test: the certificate is not accepted: self-signed certificate"


def test_a_tape_says_what_was_asked() -> None:
    assert module.asked(HttpRequest(path="/x?y=1")) == "/x?y=1"
    body = '{"type":"clearinghouseState","user":"0x1","dex":""}'
    asked = module.asked(HttpRequest(path="/info", method="POST", body=body))
    assert asked == {"type": "clearinghouseState", "user": "0x1", "dex": ""}
