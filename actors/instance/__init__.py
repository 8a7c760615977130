"""One account's actor: `run_instance` is the body that a supervisor's slot runs."""

from __future__ import annotations

import trio
from structlog.contextvars import bind_contextvars

from actors.instance.actor import InstanceActor
from actors.instance.commands import COMMANDS
from actors.instance.gate import ConnectGate
from actors.instance.reactions import REACTIONS
from actors.instance.services import Counts, Endpoint, Limits, Services
from actors.supervisor import Slot
from whatisup.errors import UnknownInstance
from whatisup.lifecycle import Trigger
from whatisup.store import instances

__all__ = ["ConnectGate", "Counts", "Endpoint", "Limits", "Services", "run_instance"]


async def run_instance(slot: Slot, services: Services) -> None:
    """Run one actor of the instance named by `slot.key`; the slot's first one is born of a process restart.

    While the store is known to be down it waits for a probe, so that a fleet does not knock at it one by one. The new
    incarnation is committed before anything is loaded, so whatever an earlier actor still has under way is
    refused from here on.
    """
    bind_contextvars(instance_id=slot.key)
    await services.writer.wait_available()
    try:
        async with services.waking:
            row = await services.writer.call(instances.bump_incarnation, slot.key, lane=slot.key)
    except UnknownInstance as refusal:
        slot.mailbox.refuse_waiting(refusal)
        return
    rebirth = Trigger.PROCESS_RESTARTED
    if slot.restarts:  # an actor that ended because the store was away takes its socket with it, and no pairing
        rebirth = Trigger.ACTOR_CRASHED if slot.has_crashed else Trigger.CONNECTION_LOST
    async with trio.open_nursery() as nursery:
        actor = InstanceActor(row, slot.mailbox, services, nursery, commands=COMMANDS, reactions=REACTIONS)
        with services.fleet.joined(slot.key, actor):
            await actor.run(rebirth, on_awake=slot.awake.set)
        nursery.cancel_scope.cancel(reason="the actor rests")
