"""The gateway with a bomb in it: SIGKILLs itself at the n-th arrow between an instance, its store and its socket.

An arrow is the moment before or after a unit is committed, a call is carried out by the writer, or bytes are sent to
WhatsApp. `DOOM_ARMED` names a file: arrows count from the moment it exists. `DOOM_AT` is the fatal count; each arrow
passed is written to `DOOM_LOG`.
"""

from __future__ import annotations

import functools
import os
import signal
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from actors.transport import WebSocketTransport
from actors.writer import Writer
from api.cli import main

ARMED = Path(os.environ["DOOM_ARMED"])
LOG = Path(os.environ["DOOM_LOG"])
AT = int(os.environ["DOOM_AT"])
passed = 0


def arrow(name: str) -> None:
    global passed
    if not ARMED.exists():
        return
    passed += 1
    with LOG.open("a") as log:
        log.write(f"{passed} {name}\n")
    if passed == AT:
        os.kill(os.getpid(), signal.SIGKILL)


def mined(
    name: str, method: Callable[..., Awaitable[Any]], *, only_instances: bool = False
) -> Callable[..., Awaitable[Any]]:
    @functools.wraps(method)
    async def wrapper(*args: Any, **kwargs: Any) -> Any:
        counts = not only_instances or bool(kwargs.get("lane"))
        if counts:
            arrow(f"before {name}")
        result = await method(*args, **kwargs)
        if counts:
            arrow(f"after {name}")
        return result

    return wrapper


if __name__ == "__main__":
    Writer.submit = mined("commit", Writer.submit)  # type: ignore[method-assign]  # the bomb
    Writer.call = mined("call", Writer.call, only_instances=True)  # type: ignore[method-assign]  # the bomb
    WebSocketTransport.send = mined("send", WebSocketTransport.send)  # type: ignore[method-assign]  # the bomb
    sys.exit(main())
