"""A customer's webhook receiver that often fails: it listens on loopback and answers as its seed says.

Rule: it notes every request that it has read to the end, with what was wrong with it and how it was answered, and an
event counts as taken only when the head of a 200 was written whole. It checks signatures with code of its own.

It lives in a thread with an event loop of its own, so that nothing that the run does makes it slower than it means.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import random
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import h11
import trio

HOST = "127.0.0.1"
TRAP = "/trap"
"""Where its redirects lead; nobody may come."""
STOP_S = 10.0
TOLERANCE_S = 60.0
"""How old a signature may be: each attempt is to have its own."""

TROUBLED = 0.10
"""The share of an endpoint's events that fail at first."""
FAILURES = ((1, 60), (2, 20), (3, 8), (4, 8), (5, 4))
"""How often such an event fails, with weights: the third failure is the one after which `relaxed` lets others pass."""
_CHUNK = 64 * 1024


class Reply(StrEnum):
    """What a request gets."""

    OK = "200"
    OK_AND_GONE = "200 and hang up"
    """Whole and good, but the connection, which was to be kept, ends."""
    OK_AND_TORN = "200 and half a body"
    """The status decides: it was taken, though nobody will ever know what else was said."""
    ERROR = "500"
    BUSY = "503"
    TORN = "torn"
    """The connection ends in the middle of the answer's head."""
    GARBAGE = "garbage"
    REDIRECT = "302"
    HANG = "hang"
    """Nothing, until the other side has had enough."""


GOOD = ((Reply.OK, 95), (Reply.OK_AND_GONE, 3), (Reply.OK_AND_TORN, 2))
BAD = (
    (Reply.ERROR, 28),
    (Reply.BUSY, 22),
    (Reply.TORN, 16),
    (Reply.GARBAGE, 15),
    (Reply.REDIRECT, 15),
    (Reply.HANG, 4),
)


TAKEN = frozenset(reply for reply, _ in GOOD)


def _drawn(dice: random.Random, table: Sequence[tuple[Any, int]]) -> Any:
    return dice.choices([value for value, _ in table], [weight for _, weight in table])[0]


@dataclass(slots=True, kw_only=True)
class Hit:
    """One request, in order of arrival. `number` counts those for one event at one endpoint, from 1."""

    endpoint: str
    event_id: str
    number: int
    digest: str
    """Of the envelope, whatever the order of its fields: see `digest_of`."""
    head: tuple[Any, ...]
    """What must be the same in every attempt."""
    reply: Reply
    problems: tuple[str, ...] = ()
    is_taken: bool = False


def digest_of(envelope: Mapping[str, Any]) -> str:
    """The same for the same JSON, however it was written."""
    text = json.dumps(envelope, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


class Temper:
    """Decides, from the seed, how each request of an endpoint is answered."""

    def __init__(self, seed: int, endpoint: str) -> None:
        self._dice = random.Random(f"{seed} receiver {endpoint}")
        self._left: dict[str, int] = {}
        self.seen: Counter[str] = Counter()

    def meet(self, event_id: str) -> Reply:
        """Answer the next request for that event: it fails as often as was drawn when it was first seen, then never."""
        if event_id not in self._left:
            self._left[event_id] = _drawn(self._dice, FAILURES) if self._dice.random() < TROUBLED else 0
        self.seen[event_id] += 1
        if self._left[event_id] == 0:
            return Reply(_drawn(self._dice, GOOD))
        self._left[event_id] -= 1
        return Reply(_drawn(self._dice, BAD))


# --- what is wrong with a request ------------------------------------------------------------------------------------


def problems_of(headers: Mapping[str, str], body: bytes, envelope: Mapping[str, Any], secret: str) -> list[str]:
    """What a customer who checks everything would object to; `headers` have lower-case names."""
    wrong = [*_first_signature(headers, body, secret), *_standard_signature(headers, body, secret)]
    expected = {
        "content-type": "application/json",
        "x-whatisup-event": envelope.get("event"),
        "x-whatisup-event-id": envelope.get("event_id"),
        "webhook-id": envelope.get("event_id"),
    }
    for name, value in expected.items():
        if headers.get(name, "").partition(";")[0] != value:
            wrong.append(f"{name}: {headers.get(name)} is not {value}")
    if not headers.get("user-agent", "").startswith("whatisup-webhooks/"):
        wrong.append(f"user-agent: {headers.get('user-agent')}")
    return wrong


def _first_signature(headers: Mapping[str, str], body: bytes, secret: str) -> list[str]:
    """`X-WhatIsUp-Signature: t=…,v1=<hex>[,v1=<hex>]`, over `<t>.<body>`, keyed by the secret as it was given."""
    parts = [part.partition("=")[::2] for part in headers.get("x-whatisup-signature", "").split(",")]
    times = [value for name, value in parts if name == "t"]
    if len(times) != 1 or not _is_fresh(times[0]):
        return ["x-whatisup-signature: no fresh t"]
    right = hmac.new(secret.encode(), f"{times[0]}.".encode() + body, hashlib.sha256).hexdigest()
    return [] if ("v1", right) in parts else ["x-whatisup-signature: wrong"]


def _standard_signature(headers: Mapping[str, str], body: bytes, secret: str) -> list[str]:
    """Standard Webhooks: `v1,<base64>` over `<id>.<timestamp>.<body>`, keyed by the decoded secret."""
    at = headers.get("webhook-timestamp", "")
    if not _is_fresh(at):
        return ["webhook-timestamp: not fresh"]
    key = base64.b64decode(secret.removeprefix("whsec_"))
    signed = f"{headers.get('webhook-id')}.{at}.".encode() + body
    right = base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
    return [] if f"v1,{right}" in headers.get("webhook-signature", "").split(" ") else ["webhook-signature: wrong"]


def _is_fresh(unix_s: str) -> bool:
    return unix_s.isdigit() and abs(time.time() - int(unix_s)) <= TOLERANCE_S


# --- listening -------------------------------------------------------------------------------------------------------


@dataclass
class Receiver:
    """Where webhooks arrive: an endpoint's path is its name. `secrets` is told when an endpoint was made."""

    seed: int
    secrets: dict[str, str] = field(default_factory=dict, repr=False)
    hits: list[Hit] = field(default_factory=list)
    strays: list[str] = field(default_factory=list)
    """Requests that no endpoint of ours asked for: followed redirects, other paths, what is no JSON."""
    port: int = 0
    _tempers: dict[str, Temper] = field(default_factory=dict)

    def url(self, endpoint: str) -> str:
        """The address of an endpoint."""
        return f"http://{HOST}:{self.port}/{endpoint}"

    async def converse(self, stream: trio.SocketStream) -> None:
        """Serve one connection until either side ends it."""
        http = h11.Connection(h11.SERVER)
        try:
            async with stream:
                while await self._exchange(http, stream) and http.our_state is h11.DONE:
                    http.start_next_cycle()
        except (OSError, trio.BrokenResourceError, h11.RemoteProtocolError):
            return  # whoever asked is gone, and was perhaps killed

    async def _exchange(self, http: h11.Connection, stream: trio.SocketStream) -> bool:
        """One request and its answer; whether the connection goes on."""
        request, body = await _read(http, stream)
        if request is None:
            return False
        hit = self._note(request, body)
        if hit is None:
            await stream.send_all(_plain(http, 404))
            return False
        # Said before it is written: what comes next because of the answer may be read before this goes on.
        hit.is_taken = hit.reply in TAKEN
        try:
            return await self._answer(hit, http, stream)
        except BaseException:
            hit.is_taken = False
            raise

    def _note(self, request: h11.Request, body: bytes) -> Hit | None:
        name, method = request.target.decode("ascii", "replace").removeprefix("/"), request.method.decode()
        try:
            envelope = json.loads(body)
            event_id = str(envelope["event_id"])
        except (ValueError, KeyError, TypeError):
            name, envelope, event_id = f"{name} (not an event)", {}, ""
        if method != "POST" or name not in self.secrets:
            self.strays.append(f"{method} /{name}")
            return None
        temper = self._tempers.setdefault(name, Temper(self.seed, name))
        headers = {key.decode().lower(): value.decode("latin-1") for key, value in request.headers}
        reply = temper.meet(event_id)
        hit = Hit(
            endpoint=name,
            event_id=event_id,
            number=temper.seen[event_id],
            digest=digest_of(envelope),
            head=(*(envelope.get(key) for key in ("event", "instance_id", "seq", "occurred_at", "api_version")),),
            reply=reply,
            problems=tuple(problems_of(headers, body, envelope, self.secrets[name])),
        )
        self.hits.append(hit)
        return hit

    async def _answer(self, hit: Hit, http: h11.Connection, stream: trio.SocketStream) -> bool:
        """Whether the connection goes on afterwards."""
        match hit.reply:
            case Reply.TORN:
                await stream.send_all(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Len")
                return False
            case Reply.OK_AND_TORN:
                await stream.send_all(b"HTTP/1.1 200 OK\r\nContent-Length: 64\r\n\r\n{")
                return False
            case Reply.GARBAGE:
                await stream.send_all(random.Random(hit.digest).randbytes(400))
                return False
            case Reply.HANG:
                await stream.receive_some(1)  # what comes is the end
                return False
            case Reply.REDIRECT:
                await stream.send_all(_plain(http, 302, [("Location", f"http://{HOST}:{self.port}{TRAP}")]))
                return True
            case _:
                await stream.send_all(_plain(http, int(hit.reply.value[:3])))
                return hit.reply is not Reply.OK_AND_GONE


async def _read(http: h11.Connection, stream: trio.SocketStream) -> tuple[h11.Request | None, bytes]:
    """A request and its body; None where the connection ended instead."""
    request, body = None, b""
    while True:
        event: Any = http.next_event()
        if event is h11.NEED_DATA:
            http.receive_data(bytes(await stream.receive_some(_CHUNK)))
        elif isinstance(event, h11.Request):
            request = event
        elif isinstance(event, h11.Data):
            body += event.data
        elif isinstance(event, h11.EndOfMessage):
            return request, body
        else:
            return None, b""


def _plain(http: h11.Connection, status: int, headers: Sequence[tuple[str, str]] = ()) -> bytes:
    body = json.dumps({"status": status}).encode()
    head = h11.Response(status_code=status, headers=[("Content-Length", str(len(body))), *headers])
    return b"".join(http.send(event) or b"" for event in (head, h11.Data(body), h11.EndOfMessage()))


@contextmanager
def open_receiver(seed: int) -> Iterator[Receiver]:
    """Listen on loopback, in a thread, until the block ends; an error of the receiver's own is raised then."""
    receiver = Receiver(seed)
    with socket.create_server((HOST, 0), backlog=256) as listener:
        receiver.port = listener.getsockname()[1]
        thread = _Thread(receiver, listener)
        thread.start()
        try:
            yield receiver
        finally:
            thread.stop()


class _Thread:
    """The receiver's event loop."""

    def __init__(self, receiver: Receiver, listener: socket.socket) -> None:
        self._receiver = receiver
        self._listener = listener
        self._thread = threading.Thread(target=self._run, name="webhook receiver", daemon=True)
        self._is_up = threading.Event()
        self._scope = trio.CancelScope()
        self._token: trio.lowlevel.TrioToken | None = None
        self._error: BaseException | None = None

    def start(self) -> None:
        self._thread.start()
        self._is_up.wait(STOP_S)

    def stop(self) -> None:
        if self._token is not None and self._thread.is_alive():
            self._token.run_sync_soon(self._scope.cancel)
        self._thread.join(STOP_S)
        if self._error is not None:
            raise self._error

    def _run(self) -> None:
        try:
            trio.run(self._serve)
        except BaseException as error:
            self._error = error
        finally:
            self._is_up.set()

    async def _serve(self) -> None:
        listener = trio.SocketListener(trio.socket.from_stdlib_socket(self._listener.dup()))
        self._token = trio.lowlevel.current_trio_token()
        with self._scope:
            async with trio.open_nursery() as nursery:
                self._is_up.set()
                await trio.serve_listeners(self._receiver.converse, [listener], handler_nursery=nursery)
