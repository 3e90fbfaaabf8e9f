"""One piece of work beside another, neither of which may end unseen."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager


@asynccontextmanager
async def beside(work: Coroutine[object, object, None], name: str) -> AsyncIterator[asyncio.Task[None]]:
    """Do some work while the block runs, as a task that ends with it.

    Where either fails both end, and the error is raised as it is. The task may be cancelled before the block ends: that is none.
    """
    try:
        async with asyncio.TaskGroup() as group:
            task = group.create_task(work, name=name)
            yield task
            task.cancel()
    except BaseExceptionGroup as errors:
        raise errors.exceptions[0] from None
