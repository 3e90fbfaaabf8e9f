from __future__ import annotations

import pytest

from gateway.core.protocol import Refusal
from gateway.web.auth import BindRefused, check_bind, check_host, check_origin


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1", "127.8.9.10"])
def test_loopback_needs_no_auth(host: str) -> None:
    check_bind(host, auth_configured=False)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "", "192.168.1.5", "desk.example", "127.0.0.1.example"])
def test_anything_else_does(host: str) -> None:
    with pytest.raises(BindRefused, match=r"127\.0\.0\.1"):
        check_bind(host, auth_configured=False)
    check_bind(host, auth_configured=True)


@pytest.mark.parametrize(
    "host", [None, "", "evil.example", "127.0.0.1:port", "127.0.0.1.evil.example", "[::1", "localhost."]
)
def test_other_hosts_are_refused(host: str | None) -> None:
    with pytest.raises(Refusal):
        check_host(host, ())


@pytest.mark.parametrize(
    ("origin", "host"),
    [
        ("http://127.0.0.1:8080", "127.0.0.1:8080"),
        ("http://localhost:8080", "127.0.0.1:8080"),
        ("http://[::1]:8080", "localhost:8080"),
        (None, "127.0.0.1:8080"),
    ],
)
def test_our_own_pages_are_welcome(origin: str | None, host: str) -> None:
    check_host(host, ())
    check_origin(origin, host, ())


@pytest.mark.parametrize(
    "origin", ["http://127.0.0.1:3000", "http://127.0.0.1", "null", "", "http://x:8080", "http://[::1"]
)
def test_other_pages_are_not(origin: str) -> None:
    with pytest.raises(Refusal):
        check_origin(origin, "127.0.0.1:8080", ())
