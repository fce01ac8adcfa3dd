"""Blocking work of a call, in threads: the event loop must go on."""

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor
from functools import partial
from typing import ParamSpec, TypeVar

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


async def in_thread(
    threads: Executor,
    function: Callable[Arguments, Result],
    *args: Arguments.args,
    **options: Arguments.kwargs,
) -> Result:
    """Return what a function that blocks returns, or raise what it raises.

    Args:
        threads: to call it in; the call goes on when the waiting is cancelled.
        function: what to call.
        args: its arguments.
        options: its keyword arguments.
    """
    call = partial(function, *args, **options)
    return await asyncio.get_running_loop().run_in_executor(threads, call)
