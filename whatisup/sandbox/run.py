"""Starting a sandbox: the options, the objects behind them, and what it says when it listens.

Rule: `serve_sandbox` is the library's entry and prints nothing; `main` is the program's.
"""

from __future__ import annotations

import contextlib
import gc
import os
import resource
import secrets
import signal
import sys
from dataclasses import dataclass, replace
from typing import Final

import msgspec
import structlog
import trio

from whatisup.control import TOKEN_VARIABLE, Ready, Switch
from whatisup.errors import StoreUnavailable
from whatisup.protocol.profile import ClientVersion
from whatisup.sandbox.authority import Authority
from whatisup.sandbox.certificate import TlsIdentity
from whatisup.sandbox.control_api import ControlApi
from whatisup.sandbox.entropy import Seed
from whatisup.sandbox.hub import Clock, Hub
from whatisup.sandbox.listener import WS_PATH, Listener
from whatisup.sandbox.people import People
from whatisup.sandbox.server import Server
from whatisup.sandbox.session import Compression
from whatisup.sandbox.state import State
from whatisup.sandbox.switches import NO_SWITCHES

SETTLE_S: Final = 0.05
"""How long what nobody is told of stays uncommitted while the sandbox is busy; a second while it is idle."""

_TICK_S: Final = 1.0
_FILES: Final = 65_536
_LOCAL_NAMES: Final = ("localhost", "127.0.0.1", "::1")
_ANY: Final = frozenset({"0.0.0.0", "::", ""})  # noqa: S104 -- recognised here, not bound


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How to run a sandbox. `port` 0 takes a free one; `token` None is minted; `state` None forgets everything.

    `seed` fixes keys, numbers and references. `min_version` refuses older clients with 405. `is_child`: end when stdin
    closes, and leave the mock phone out. `switches` choose between behaviours that nobody has observed for certain.
    """

    host: str = "127.0.0.1"
    port: int = 0
    use_tls: bool = False
    state: str | None = None
    seed: int | None = None
    token: str | None = None
    compression: Compression = Compression.LARGE
    min_version: ClientVersion | None = None
    is_child: bool = False
    use_json: bool = False
    switches: frozenset[Switch] = NO_SWITCHES

    def __repr__(self) -> str:
        return f"Options(host={self.host!r}, port={self.port}, state={self.state!r})"


async def serve_sandbox(
    options: Options, *, clock: Clock | None = None, task_status: trio.TaskStatus[Ready] = trio.TASK_STATUS_IGNORED
) -> None:
    """Run a sandbox until cancelled; started with `Ready` once it listens.

    Raises:
        StoreUnavailable: the state file cannot be used.
        OSError: the address cannot be bound.
    """
    state = State.open(options.state)
    try:
        await _serve(options, state, clock or Clock(), task_status)
    finally:
        state.close()


async def _serve(options: Options, state: State, clock: Clock, task_status: trio.TaskStatus[Ready]) -> None:
    # With a state file the seed outlives the process, so that references differ from run to run but keys do not.
    seed = Seed.of(options.seed) if options.seed is not None else Seed(state.secret("seed", lambda: Seed.of(None).key))
    authority = Authority.decode(
        state.secret("authority", lambda: Authority.generate(seed.stream("authority")).encode())
    )
    hub = Hub(state, authority, seed, options.compression, clock, options.switches)
    server = Server(hub, min_version=options.min_version)
    token = options.token or secrets.token_urlsafe(32)
    tls = _tls_identity(options.host, state, seed, clock.unix()) if options.use_tls else None
    people = People(hub, server.router)
    hub.people = people
    control = ControlApi(server, people, token, is_child=options.is_child)
    listener = Listener(server, control, None if tls is None else tls.context())
    settler = _Settler(state, hub.clock)
    trio.lowlevel.add_instrument(settler)
    try:
        async with trio.open_nursery() as nursery:
            listeners = await trio.open_tcp_listeners(options.port, host=options.host)
            while options.port == 0 and len(listeners) > 1:
                # A name of several addresses: each would have a port of its own.
                await listeners.pop().aclose()
            nursery.start_soon(_tick, server)
            nursery.start_soon(people.run)
            nursery.start_soon(listener.run)
            port = listeners[0].socket.getsockname()[1]
            nursery.start_soon(trio.serve_listeners, listener.serve, listeners)
            state.settle()
            task_status.started(_ready(options, port, token, authority, tls))
    finally:
        trio.lowlevel.remove_instrument(settler)


class _Settler(trio.abc.Instrument):
    """Puts what is whole on disk before the event loop waits, where nobody who was about to be told has done so lately.

    What nobody was told of may be lost with the process: what led to it is still there, or comes again.
    """

    def __init__(self, state: State, clock: Clock) -> None:
        self._state = state
        self._clock = clock
        self._settled_at = 0.0

    def before_io_wait(self, timeout: float) -> None:
        """Commit what was written, now and then; each second's tick sees to it that this comes to be called."""
        now = self._clock.monotonic()
        if now - self._settled_at < SETTLE_S:
            return
        self._settled_at = now
        with contextlib.suppress(StoreUnavailable):  # nobody can be told anything from here on: see `State.settle`
            self._state.settle()


async def _tick(server: Server) -> None:
    while True:
        await trio.sleep(_TICK_S)
        server.tick()


def _tls_identity(host: str, state: State, seed: Seed, unix_now: float) -> TlsIdentity:
    hosts = (*_LOCAL_NAMES, *(() if host in (*_LOCAL_NAMES, *_ANY) else (host,)))

    def make() -> bytes:
        return TlsIdentity.generate(hosts, unix_now, seed.stream("tls", host)).encode()

    identity = TlsIdentity.decode(state.secret("tls", make))
    if not identity.fits(hosts, unix_now):
        state.replace_secret("tls", make())
        identity = TlsIdentity.decode(state.secret("tls", make))
    return identity


def _ready(options: Options, port: int, token: str, authority: Authority, tls: TlsIdentity | None) -> Ready:
    host = "127.0.0.1" if options.host in _ANY else options.host
    address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    secure = "" if tls is None else "s"
    return Ready(
        url=f"ws{secure}://{address}{WS_PATH}",
        control_url=f"http{secure}://{address}",
        token=token,
        root_public_key=authority.root_public.hex(),
        tls_certificate=None if tls is None else tls.certificate.decode(),
    )


# the program


def _configure_logging() -> None:
    """Log to stderr, since programs read the announcement on stdout; without the local variables of a traceback.

    They would be the bodies of messages, and keys.
    """
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.dev.ConsoleRenderer(
                colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback
            ),
        ],
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )


def main(options: Options) -> int:
    """Run a sandbox until a signal (or, as a child, the end of stdin) ends it; return the exit code.

    The token comes from the environment where the options have none.
    """
    if not structlog.is_configured():
        _configure_logging()
    _raise_file_limit()
    failures: list[BaseException] = []
    # What is imported by now lives as long as the process: the collector need not walk over it each time.
    gc.collect()
    gc.freeze()
    try:
        trio.run(_main, options)
    except* (StoreUnavailable, OSError) as group:
        failures += group.exceptions
    if failures:
        sys.stderr.write(f"the sandbox cannot start: {_leaf(failures[0])}\n")
    return 1 if failures else 0


def _raise_file_limit() -> None:
    """Allow as many sockets as the system lets us: the usual 1024 would be a thousand clients."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _FILES if hard == resource.RLIM_INFINITY else min(_FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with contextlib.suppress(ValueError, OSError):  # a system that refuses leaves us what we had
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _leaf(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


async def _main(options: Options) -> None:
    if options.token is None:
        options = replace(options, token=os.environ.get(TOKEN_VARIABLE) or None)
    async with trio.open_nursery() as nursery:
        await nursery.start(_end_on_signal, nursery.cancel_scope)
        if options.is_child:
            nursery.start_soon(_end_with_stdin, nursery.cancel_scope)
        ready = await nursery.start(serve_sandbox, options)
        sys.stdout.write(_announcement(ready, use_json=options.use_json))
        sys.stdout.flush()


async def _end_on_signal(scope: trio.CancelScope, *, task_status: trio.TaskStatus[None]) -> None:
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        task_status.started()
        async for _ in signals:
            scope.cancel()


async def _end_with_stdin(scope: trio.CancelScope) -> None:
    async with trio.lowlevel.FdStream(os.dup(sys.stdin.fileno())) as stdin:
        while await stdin.receive_some(4096):
            pass
    scope.cancel()


def _announcement(ready: Ready, *, use_json: bool) -> str:
    if use_json:
        return msgspec.json.encode(ready).decode() + "\n"
    lines = [
        f"sandbox WhatsApp  {ready.url}",
        f"control API       {ready.control_url}/sandbox/openapi.json",
        f"control token     {ready.token}",
        f"Noise root key    {ready.root_public_key}",
    ]
    if ready.tls_certificate is not None:
        lines += ["TLS certificate (self-signed)", ready.tls_certificate.rstrip()]
    return "\n".join(lines) + "\n"
