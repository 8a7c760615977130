"""The process from start to end: storage, then instances, then the front; and down again in the opposite order.

Rule: each part lives in a nursery inside the one it needs, so that it can only end before it. Every step of the way
down is bounded, and the writer drains what was accepted before it ends.
"""

from __future__ import annotations

import os
import random
import signal
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from functools import partial
from typing import Final

import structlog
import trio

from actors.bus import Bus
from actors.delivery.client import WebhookClient
from actors.delivery.dispatcher import Dispatcher
from actors.system import System
from actors.tracing import Tracer
from actors.writer import Writer
from api.app import create_app
from api.bootstrap.first_run import FirstKeys, make_first_keys
from api.bootstrap.sandboxes import ChildSandbox, ExternalSandbox, adopt_phones, endpoints, make_sandbox
from api.bootstrap.server import ServerConfig
from api.bootstrap.server import serve as serve_http
from api.bootstrap.traces import tracing
from api.bootstrap.webhooks import make_client, make_dispatcher
from api.serving.edge import Edge, wall_clock_ms
from whatisup.errors import StoreUnavailable, WhatIsUpError
from whatisup.settings import Settings
from whatisup.store import Database, DatabaseLock, Store, database_lock, holding, idempotency, keys, load_secrets
from whatisup.store.location import locate
from whatisup.store.migrations import HEAD
from whatisup.store.upgrade import upgrade_apart

log = structlog.get_logger(__name__)

SIGNALS: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
SANDBOX_READY_S: Final = 20.0
LAME_DUCK_S: Final = 0.3
"""How long `/readyz` says "draining" before the listener closes."""
STORAGE_S: Final = 5.0
KEY_USES_EVERY_S: Final = 15.0
KEY_USES_S: Final = 2.0
"""How long the way down waits to note which keys were used; a nicety."""
ATTEMPTS_S: Final = 3.0
"""How long the way down waits for webhooks that are under way; what is cut short is delivered again."""
LOCK_CHECK_EVERY_S: Final = 5.0
LOCK_ANSWER_S: Final = 10.0


class LockLost(WhatIsUpError):
    """Another process owns the database now; this one must not go on."""


@dataclass(frozen=True, slots=True)
class Options:
    """What the command line adds to the settings."""

    has_sandbox: bool = True


@dataclass(frozen=True, slots=True)
class Graph:
    """Everything there is one of."""

    settings: Settings
    database: Database
    writer: Writer
    system: System
    sandbox: ChildSandbox | ExternalSandbox | None
    edge: Edge
    lock: DatabaseLock
    client: WebhookClient
    delivery: Dispatcher


@dataclass(frozen=True, slots=True)
class Started:
    """The gateway listens on `urls`; `first_keys` are there if the store was empty."""

    urls: tuple[str, ...]
    graph: Graph
    first_keys: FirstKeys | None


Status = trio.TaskStatus[Started]


async def serve(settings: Settings, options: Options, *, task_status: Status = trio.TASK_STATUS_IGNORED) -> None:
    """Run the gateway until SIGTERM, SIGINT or SIGHUP; a second signal cancels what still drains.

    Raises:
        Exception: see `run_gateway`.
    """
    stop = trio.Event()
    async with trio.open_nursery() as nursery:
        await nursery.start(_watch_signals, stop, nursery.cancel_scope)
        await run_gateway(settings, options, stop, task_status=task_status)
        nursery.cancel_scope.cancel()


async def run_gateway(
    settings: Settings, options: Options, stop: trio.Event, *, task_status: Status = trio.TASK_STATUS_IGNORED
) -> None:
    """Own the database, open it and run everything until `stop`; waits for the database while somebody else owns it.

    Raises:
        WhatIsUpError: the store, its keys, a setting or the address stand in the way, or the lock was lost; often
            inside an exception group.
    """
    lock = database_lock(settings.database_url)
    waiting = partial(log.warning, "lock.waiting", database=locate(settings.database_url).name, until="it ends")
    async with AsyncExitStack() as stack:
        owned = holding(lock, on_wait=lambda holder: waiting(holder=holder))
        if not await _unless(stop, partial(stack.enter_async_context, owned)):
            return
        store = await trio.to_thread.run_sync(_open_store, settings)
        stack.callback(store.close)
        tracer = await stack.enter_async_context(tracing(settings))
        await _run_storage(_build(settings, options, store, lock, tracer), stop, task_status)


def _open_store(settings: Settings) -> Store:
    secrets = load_secrets(
        settings.database_url, settings.secrets_key, settings.secrets_key_previous, settings.api_key_pepper
    )
    for notice in secrets.notices:
        log.warning("secrets.notice", notice=notice)
    before = upgrade_apart(settings.database_url, secrets)
    store = Store.open(settings.database_url, secrets)
    if before is not None:
        log.info("store.upgraded", before=before, after=HEAD)
    return store


def _build(settings: Settings, options: Options, store: Store, lock: DatabaseLock, tracer: Tracer) -> Graph:
    """Make every object; nothing runs yet."""
    database, bus = Database(store), Bus()
    writer = Writer(database, on_events=bus.publish)
    sandbox = make_sandbox(settings, is_wanted=options.has_sandbox)
    system = System(
        settings=settings,
        database=database,
        writer=writer,
        bus=bus,
        endpoint=endpoints(settings, sandbox),
        unix_ms=wall_clock_ms,
        entropy=os.urandom,
        jitter=random.SystemRandom().random,
        tracer=tracer,
    )
    edge = Edge(system, settings, sandbox, tracer=tracer)
    client = make_client(settings)
    delivery = make_dispatcher(settings, database, writer, client, edge, tracer)
    edge.webhooks, edge.wake_webhooks, edge.delivery = client, delivery.wake, delivery.stats
    return Graph(settings, database, writer, system, sandbox, edge, lock, client, delivery)


# --- the parts, from the outside in -----------------------------------------------------------------------------------


async def _run_storage(graph: Graph, stop: trio.Event, task_status: Status) -> None:
    async with trio.open_nursery() as storage:
        await storage.start(graph.writer.run)
        try:
            await _run_neighbours(graph, stop, task_status)
        finally:
            graph.writer.close()
            storage.cancel_scope.deadline = trio.current_time() + STORAGE_S
    log.info("storage.stopped")


async def _run_neighbours(graph: Graph, stop: trio.Event, task_status: Status) -> None:
    """Run what the instances need beside the storage: the sandbox child, and the lock's guard."""
    async with trio.open_nursery() as neighbours:
        neighbours.start_soon(_guard_lock, graph.lock)
        if isinstance(graph.sandbox, ChildSandbox):
            await neighbours.start(graph.sandbox.child.run)
            with trio.move_on_after(SANDBOX_READY_S):
                await _unless(stop, graph.sandbox.child.ready.wait)
        if graph.sandbox is not None:
            neighbours.start_soon(adopt_phones, graph.sandbox, graph.database)
        await _run_instances(graph, stop, task_status)
        neighbours.cancel_scope.cancel()


async def _run_instances(graph: Graph, stop: trio.Event, task_status: Status) -> None:
    async with trio.open_nursery() as instances:
        await graph.writer.call(idempotency.release_unfinished)
        await instances.start(graph.system.run)
        await instances.start(graph.edge.streams.run)
        await instances.start(_deliver, graph)
        instances.start_soon(_record_key_uses, graph)
        await _run_front(graph, stop, task_status)
        with trio.move_on_after(KEY_USES_S):
            await _write_key_uses(graph)
        with trio.move_on_after(ATTEMPTS_S):
            await graph.delivery.drain()
        instances.cancel_scope.cancel()
    log.info("instances.stopped")


async def _deliver(graph: Graph, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
    async with graph.client:
        await graph.delivery.run(task_status)


async def _run_front(graph: Graph, stop: trio.Event, task_status: Status) -> None:
    config, closing = ServerConfig(graph.settings), trio.Event()
    async with trio.open_nursery() as front:
        urls = await front.start(partial(serve_http, create_app(graph.edge), config, shutdown_trigger=closing.wait))
        # Only now: an address that is in use must not cost a newcomer the one sight of the keys.
        first_keys = await graph.writer.call(make_first_keys)
        log.info("front.started", urls=urls)
        task_status.started(Started(tuple(urls), graph, first_keys))
        await stop.wait()
        log.info("front.draining")
        graph.edge.drain()
        await trio.sleep(LAME_DUCK_S)
        closing.set()
        front.cancel_scope.deadline = trio.current_time() + config.graceful_timeout + 2
    log.info("front.stopped")


# --- what goes on beside ----------------------------------------------------------------------------------------------


async def _watch_signals(
    stop: trio.Event, scope: trio.CancelScope, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
) -> None:
    with trio.open_signal_receiver(*SIGNALS) as signals:
        task_status.started()
        async for number in signals:
            log.info("signal.received", name=signal.Signals(number).name, is_second=stop.is_set())
            if stop.is_set():
                scope.cancel()
            stop.set()


async def _guard_lock(lock: DatabaseLock) -> None:
    """End the process if another one took the database over (PostgreSQL forgets its locks when it restarts).

    Raises:
        LockLost: somebody else has the lock.
    """
    asking = trio.CapacityLimiter(1)
    while True:
        await trio.sleep(LOCK_CHECK_EVERY_S)
        is_known = False
        # A server that hangs must not hold up our end, and a question without an answer is not asked twice.
        with suppress(StoreUnavailable), trio.move_on_after(LOCK_ANSWER_S):
            await trio.to_thread.run_sync(_keep, lock, limiter=asking, abandon_on_cancel=True)
            is_known = True
        if not is_known:
            log.warning("lock.unknown")


def _keep(lock: DatabaseLock) -> None:
    if lock.is_held():
        return
    log.warning("lock.lost")
    if not lock.try_acquire():
        raise LockLost("another process owns the database now")
    log.warning("lock.regained")


async def _record_key_uses(graph: Graph) -> None:
    while True:
        await trio.sleep(KEY_USES_EVERY_S)
        await _write_key_uses(graph)


async def _write_key_uses(graph: Graph) -> None:
    uses = dict(graph.edge.key_uses)
    graph.edge.key_uses.clear()
    try:
        if uses:
            await graph.writer.call(keys.touch_used, uses)
    except StoreUnavailable:
        log.warning("key_uses.not_written")


async def _unless(stop: trio.Event, wait: Callable[[], Awaitable[object]]) -> bool:
    """Wait for something, and say whether it came before `stop`."""
    has_come = False
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_cancel_when, stop, nursery.cancel_scope)
        await wait()
        has_come = True
        nursery.cancel_scope.cancel()
    return has_come


async def _cancel_when(event: trio.Event, scope: trio.CancelScope) -> None:
    await event.wait()
    scope.cancel()
