"""The end of a stream: closed at once, and its memory free at once.

Rule: whoever opens a `trio.SSLStream` ends it here. Such a stream refers to itself, through the handshake that it has
to do once. So it would stay until a full collection, and with it what OpenSSL holds for it: where connections are lost
all the time, some dozens of them, each of some 60 KiB.
"""

from __future__ import annotations

import trio


async def end(stream: trio.abc.AsyncResource) -> None:
    """Close a stream without a farewell, and break the circle that it is in; it says that it is closed from then on."""
    try:
        await trio.aclose_forcefully(stream)
    finally:
        if isinstance(stream, trio.SSLStream):
            # A closed stream looks at its state first, and never at this.
            vars(stream).pop("_handshook", None)
