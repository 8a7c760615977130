"""`python -m benchmarks.traffic.sink`: a webhook receiver that costs next to nothing and says 200 to everything.

Rule: one thread and bare sockets, no HTTP library: what it takes is taken from the gateway that is measured. It notes
every event in the file `sink` of its working folder, before it answers.
"""

from __future__ import annotations

import os
import re
import selectors
import socket
import time

from api.demo.gateway import HOST
from benchmarks.traffic.programs import packed, say

NOTES = "sink"
_HEAD_END = b"\r\n\r\n"
_LENGTH = re.compile(rb"(?i)\r\ncontent-length: *(\d+)")
_EVENT_ID = re.compile(rb"(?i)\r\nwebhook-id: *([A-Za-z0-9_]{30})\r")
_ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"
_CHUNK = 64 * 1024


def requests_in(buffer: bytes) -> tuple[list[bytes], bytes]:
    """The event ids of the requests that are whole, and what is left."""
    found: list[bytes] = []
    while (end := buffer.find(_HEAD_END)) >= 0:
        head = buffer[: end + 2]
        length = _LENGTH.search(head)
        whole = end + len(_HEAD_END) + (int(length[1]) if length else 0)
        if len(buffer) < whole:
            break
        event_id = _EVENT_ID.search(head)
        found.append(event_id[1] if event_id else b"")
        buffer = buffer[whole:]
    return found, buffer


def main() -> None:
    """Listen until killed."""
    log = os.open(NOTES, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    with socket.create_server((HOST, 0), backlog=512) as listener, selectors.DefaultSelector() as selector:
        selector.register(listener, selectors.EVENT_READ)
        say({"port": listener.getsockname()[1]})
        buffers: dict[socket.socket, bytes] = {}
        while True:
            for key, _ in selector.select():
                if key.fileobj is listener:
                    stream, _ = listener.accept()
                    stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                    buffers[stream] = b""
                    selector.register(stream, selectors.EVENT_READ)
                elif isinstance(key.fileobj, socket.socket):
                    _serve(key.fileobj, buffers, selector, log)


def _serve(
    stream: socket.socket, buffers: dict[socket.socket, bytes], selector: selectors.BaseSelector, log: int
) -> None:
    """Read what has come, answer the requests in it."""
    try:
        chunk = stream.recv(_CHUNK)
        found, buffers[stream] = requests_in(buffers[stream] + chunk)
        if found:
            os.write(log, packed(found, time.time_ns()))
            stream.sendall(_ANSWER * len(found))
    except OSError:
        chunk = b""
    if not chunk:
        selector.unregister(stream)
        del buffers[stream]
        stream.close()


if __name__ == "__main__":
    main()
