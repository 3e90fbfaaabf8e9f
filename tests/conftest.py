"""What holds for all tests.

Property tests draw the same examples in every run, so that a run that passed passes again. To look for new ones:
``HYPOTHESIS_PROFILE=explore .venv/bin/python -m pytest``; what is found becomes an ``@example`` or a test of its own.
"""

from __future__ import annotations

import contextlib
import os
import sys

from hypothesis import settings

pytest_plugins = ["tests.secrecy"]  # what any output of the run must not hold

settings.register_profile("repeatable", derandomize=True, deadline=None)
settings.register_profile("explore", max_examples=1_000, deadline=None)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "repeatable"))

# Imported here, for once and all: it lets Python recurse so deep that a test of deeply nested JSON overruns the stack
# (``gateway.feeds.private_links`` sees to that in the program).
_depth = sys.getrecursionlimit()
with contextlib.suppress(ImportError):
    import eth_account  # noqa: F401
sys.setrecursionlimit(_depth)
