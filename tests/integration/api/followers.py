"""`python -m tests.integration.api.followers HOST PORT COUNT TOTAL MEAN SEED`: event stream readers that come and go.

Rule: one thread and bare sockets, so that many readers cost little beside the server. Each counts for itself: an event
that is missing, double or out of order among those of its writer (`w`, numbered by `n`) is noted at once, and the order
of all together is told as a digest of their ids. MEAN is after how many events, on average, a reader hangs up
in the middle of what it is being sent (0 = never); it comes back after the last whole event it saw. The key comes in
the environment; what was found is printed as one line of JSON.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import re
import selectors
import socket
import sys
import time
from dataclasses import dataclass, field
from typing import Any

KEY = "FOLLOWERS_KEY"
_FRAME = re.compile(rb'id: (evt_\w{26})\ndata: [^\n]*?"w":(\d+),"n":(\d+)[^\n]*\n\n')
_CHUNK = 256 * 1024
_LAGS = 20_000


@dataclass
class Follower:
    """One reader, over all its connections."""

    host: str
    port: int
    total: int
    mean: int
    chance: random.Random
    seen: int = 0
    opened: int = 0
    last_id: str = ""
    wrong: list[str] = field(default_factory=list)
    buffer: bytes = b""
    hangs_up_at: int = 0
    connection: socket.socket | None = None
    is_in: bool = False
    due: dict[int, int] = field(default_factory=dict)
    digest: Any = field(default_factory=hashlib.sha256)

    @property
    def is_done(self) -> bool:
        return self.seen >= self.total or bool(self.wrong)

    def open(self) -> socket.socket:
        """Come (back), by header or by parameter."""
        resume, header = "", ""
        if self.last_id and self.opened % 2:
            header = f"Last-Event-ID: {self.last_id}\r\n"
        elif self.last_id:
            resume = f"&after={self.last_id}"
        elif self.opened:
            resume = "&after=0"
        self.opened += 1
        self.buffer = b""
        self.hangs_up_at = self.seen + int(self.chance.expovariate(1 / self.mean)) if self.mean else self.total + 1
        self.connection = socket.create_connection((self.host, self.port), timeout=60)
        self.connection.sendall(
            f"GET /v1/events?events=instance.*{resume} HTTP/1.1\r\nHost: x\r\n{header}"
            f"Authorization: Bearer {os.environ[KEY]}\r\n\r\n".encode()
        )
        self.connection.setblocking(False)
        self.is_in = False
        return self.connection

    def read(self) -> list[float]:
        """Take what has come; the times that events say they were made at."""
        assert self.connection is not None
        try:
            chunk = self.connection.recv(_CHUNK)
        except BlockingIOError:
            return []
        except OSError:
            chunk = b""
        if not chunk:
            self.wrong.append(f"closed after {self.seen}: {self.buffer[-300:]!r}")
        return self._take(chunk)

    def _take(self, chunk: bytes) -> list[float]:
        self.buffer += chunk
        if not self.is_in:
            if b"\r\n\r\n" not in self.buffer:
                return []
            if not self.buffer.startswith(b"HTTP/1.1 200"):
                self.wrong.append(self.buffer[:300].decode(errors="replace"))
            self.is_in = True
        end = 0
        for match in _FRAME.finditer(self.buffer):
            end = match.end()
            writer, number = int(match[2]), int(match[3])
            due = self.due.get(writer, 0)
            if number != due:
                self.wrong.append(f"event {number} of writer {writer} where {due} was due")
                break
            self.due[writer] = number + 1
            self.digest.update(match[1])
            self.seen += 1
            self.last_id = match[1].decode()
            if self.seen == self.hangs_up_at:
                break
        stamps = [float(at) for at in re.findall(rb'"at":([0-9.]+)', self.buffer[:end])]
        self.buffer = self.buffer[end:]
        return stamps


def follow(followers: list[Follower]) -> list[float]:
    """Read until all have seen everything; how late events were, where they say when they were made."""
    lags: list[float] = []
    with selectors.DefaultSelector() as selector:
        for follower in followers:
            selector.register(follower.open(), selectors.EVENT_READ, follower)
        is_told = False
        while selector.get_map():
            if not is_told and all(follower.is_in for follower in followers):
                is_told = True
                tell({"open": len(followers)})
            for key, _ in selector.select():
                follower = key.data
                now = time.time()
                lags += [now - at for at in follower.read()] if len(lags) < _LAGS else (follower.read() and [])
                if follower.is_done or follower.seen >= follower.hangs_up_at:
                    selector.unregister(key.fileobj)
                    follower.connection.close()
                    if not follower.is_done:
                        selector.register(follower.open(), selectors.EVENT_READ, follower)
    return lags


def tell(what: object) -> None:
    """Say something to whoever started us, as a line of JSON."""
    sys.stdout.write(json.dumps(what) + "\n")
    sys.stdout.flush()


def main() -> None:
    """Follow, and say what was seen."""
    host, port, count, total, mean, seed = sys.argv[1], *map(int, sys.argv[2:])
    chance = random.Random(seed)
    followers = [Follower(host, port, total, mean, chance) for _ in range(count)]
    lags = sorted(follow(followers))
    found = {
        "seen": [follower.seen for follower in followers],
        "digests": sorted({follower.digest.hexdigest() for follower in followers}),
        "opened": sum(follower.opened for follower in followers),
        "wrong": [wrong for follower in followers for wrong in follower.wrong][:5],
        "cpu_s": time.process_time(),
        "lag_p50_s": lags[len(lags) // 2] if lags else None,
        "lag_p99_s": lags[len(lags) * 99 // 100] if lags else None,
    }
    tell(found)


if __name__ == "__main__":
    main()
