"""`python -m benchmarks.traffic.listeners HOST PORT COUNT`: so many subscribers of the event stream in a cheap process.

Rule: one thread and bare sockets; a subscriber reads at once whatever comes. Every event that any of them reads is
noted in the file `listeners` of the working folder. The key comes in the environment.
"""

from __future__ import annotations

import os
import re
import selectors
import socket
import sys
import time

from benchmarks.traffic.programs import packed, say

NOTES = "listeners"
KEY = "BENCH_KEY"
NAMES = "message.received"
OPEN_S = 30.0
_FRAME = re.compile(rb"(?:^|\n)id: (evt_[0-9A-Z]{26})\r?\n")
_LONGEST_START = 40
_CHUNK = 256 * 1024


def frames_in(buffer: bytes) -> tuple[list[bytes], bytes]:
    """The ids of the events that begin in what was read, and the end of it, in which another may have begun."""
    found, last = [], 0
    for match in _FRAME.finditer(buffer):
        found.append(match[1])
        last = match.end()
    return found, buffer[max(last, len(buffer) - _LONGEST_START) :]


def _open(host: str, port: int, count: int) -> tuple[list[socket.socket], int]:
    """Subscribe, one after the other; those that were let in, and how many were not."""
    ask = (
        f"GET /v1/events?events={NAMES} HTTP/1.1\r\nHost: {host}:{port}\r\nAccept: text/event-stream\r\n"
        f"Authorization: Bearer {os.environ[KEY]}\r\n\r\n"
    ).encode()
    streams: list[socket.socket] = []
    refused = 0
    for _ in range(count):
        stream = socket.create_connection((host, port), timeout=OPEN_S)
        stream.sendall(ask)
        head = b""
        while b"\r\n\r\n" not in head and (chunk := stream.recv(_CHUNK)):
            head += chunk
        if head.startswith(b"HTTP/1.1 200"):
            stream.setblocking(False)
            streams.append(stream)
        else:
            refused += 1
            stream.close()
    return streams, refused


def main() -> None:
    """Subscribe, say how many are in, and read until killed."""
    host, port, count = sys.argv[1:]
    log = os.open(NOTES, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    streams, refused = _open(host, int(port), int(count))
    with selectors.DefaultSelector() as selector:
        buffers = dict.fromkeys(streams, b"")
        for stream in streams:
            selector.register(stream, selectors.EVENT_READ)
        say({"open": len(streams), "refused": refused})
        while True:
            for key, _ in selector.select():
                if isinstance(key.fileobj, socket.socket):
                    _read(key.fileobj, buffers, selector, log)


def _read(
    stream: socket.socket, buffers: dict[socket.socket, bytes], selector: selectors.BaseSelector, log: int
) -> None:
    """Read what has come, and note the events in it."""
    try:
        chunk = stream.recv(_CHUNK)
    except OSError:
        chunk = b""
    if not chunk:
        selector.unregister(stream)
        del buffers[stream]
        stream.close()
        return
    found, buffers[stream] = frames_in(buffers[stream] + chunk)
    if found:
        os.write(log, packed(found, time.time_ns()))


if __name__ == "__main__":
    main()
