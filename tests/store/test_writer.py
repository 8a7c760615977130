"""The writer on real databases: successors, poison and outages, with threads and all."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
from sqlalchemy import Connection

from actors.writer import Writer
from tests.store.hooks import beside
from tests.store.world import CONNECTED, World, told
from whatisup.errors import Fenced, StoreError
from whatisup.lifecycle import State
from whatisup.store import Committed, Database, Due, Event, Instance, SetStatus, Store, Unit, instances
from whatisup.store.store import Item, Results

ACTORS = 40
STEPS = 10
POISON = SetStatus(State.PENDING, has_account=True)


class Held(Database):
    """A database whose next commits wait, so that a queue can form."""

    def __init__(self, store: Store) -> None:
        super().__init__(store)
        self.gate = trio.Event()
        self.gate.set()

    async def commit(self, batch: Sequence[Item]) -> Results:
        await self.gate.wait()
        return await super().commit(batch)


@asynccontextmanager
async def writing(database: Database, **how: Callable[[Sequence[Any]], None]) -> AsyncIterator[Writer]:
    """A writer that is drained at the end."""
    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            writer = Writer(database, **how)  # type: ignore[arg-type] # `on_events` and `on_deliveries`, if anything
            await nursery.start(writer.run)
            yield writer
            writer.close()


async def test_actor_killed_with_a_unit_queued_never_overwrites_its_successor(world: World) -> None:
    """The unit lands before the successor has loaded its state, or not at all."""
    database = Held(world.store)
    async with writing(database) as writer, trio.open_nursery() as nursery:
        actor = trio.CancelScope()

        async def die_while_queued() -> None:
            with actor:
                await writer.submit(world.unit(told("last words"), CONNECTED))

        database.gate = trio.Event()
        nursery.start_soon(die_while_queued)
        await trio.testing.wait_all_tasks_blocked()
        actor.cancel()
        loaded: list[Instance] = []

        async def succeed() -> None:
            loaded.append(await writer.call(instances.bump_incarnation, world.id, lane=world.id))

        nursery.start_soon(succeed)
        await trio.testing.wait_all_tasks_blocked()
        database.gate.set()
    (successor,) = loaded
    assert (successor.incarnation, successor.status) == (1, State.CONNECTED), "it sees what its dead self wrote"
    assert world.row() == successor


async def test_unit_that_arrives_after_the_successor_is_refused(world: World) -> None:
    """The dead actor's unit was still waiting for room when its successor began."""
    database = Held(world.store)
    outcomes: list[object] = []
    async with writing(database) as writer, trio.open_nursery() as nursery:
        await writer.call(instances.bump_incarnation, world.id, lane=world.id)
        await writer.submit(world.unit(told("successor"), CONNECTED, incarnation=1))

        async def haunt() -> None:
            try:
                await writer.submit(world.unit(told("ghost"), SetStatus(State.DISCONNECTED, has_account=True)))
            except Fenced as error:
                outcomes.append(error)

        nursery.start_soon(haunt)
    assert len(outcomes) == 1
    assert world.row().status is State.CONNECTED
    assert [event.data for event in world.events()] == [{"text": "successor"}]


async def test_many_actors_write_and_one_of_them_is_poison(world: World) -> None:
    ids = [world.another(name=str(i)).id for i in range(ACTORS)]
    announced: list[Event] = []
    failures: list[str] = []
    async with writing(Database(world.store), on_events=announced.extend) as writer, trio.open_nursery() as nursery:

        async def act(instance_id: str) -> None:
            for step in range(STEPS):
                committed = await writer.submit(Unit(instance_id, 0, (told(f"{step}"), CONNECTED)))
                assert isinstance(committed, Committed)

        async def poison() -> None:
            for _ in range(STEPS):
                try:
                    await writer.submit(world.unit(told("never"), POISON))
                except StoreError as error:
                    failures.append(str(error))

        for instance_id in ids:
            nursery.start_soon(act, instance_id)
        nursery.start_soon(poison)
    assert len(failures) == STEPS
    assert announced == world.events()
    assert [event.position for event in announced] == list(range(1, ACTORS * STEPS + 1))
    for instance_id in ids:
        assert [e.data for e in announced if e.instance_id == instance_id] == [{"text": f"{i}"} for i in range(STEPS)]
    assert writer.stats.units == (ACTORS + 1) * STEPS
    assert writer.stats.commits < writer.stats.units / 4, "units share commits"


async def test_deliveries_are_announced_with_their_events(world: World) -> None:
    hooks = beside(world)
    hooks.endpoint()
    ids = [world.another(name=str(i)).id for i in range(ACTORS)]
    announced: list[Due] = []
    async with writing(Database(world.store), on_deliveries=announced.extend) as writer, trio.open_nursery() as nursery:
        for instance_id in ids:
            nursery.start_soon(writer.submit, Unit(instance_id, 0, (told("x"),)))
    assert [due.event_id for due in announced] == [event.id for event in world.events()]
    assert [due.id for due in announced] == [row.id for row in hooks.shown()]
    assert len(announced) == ACTORS


async def test_reads_go_on_while_a_commit_takes_long(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither readers nor the loop wait for the disk."""
    database, may_end, is_committing = Database(world.store), threading.Event(), threading.Event()
    commit = world.store._backend.commit

    def slow(connection: Connection) -> None:
        is_committing.set()
        assert may_end.wait(30)
        commit(connection)

    async with writing(database) as writer, trio.open_nursery() as nursery:
        monkeypatch.setattr(world.store._backend, "commit", slow)
        nursery.start_soon(writer.call, lambda _tx: None)
        while not is_committing.is_set():
            await trio.sleep(0.001)
        assert await database.read(instances.get, world.id) == world.instance
        assert await database.look(instances.get, world.id) == world.instance
        may_end.set()
