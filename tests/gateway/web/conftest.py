"""The storage tests' server and database, for routes that answer by what is stored."""

from __future__ import annotations

from tests.gateway.storage.conftest import cluster, dsn

__all__ = ["cluster", "dsn"]
