"""One account's actor: `run_instance` is the body that a supervisor's slot runs."""

from __future__ import annotations

from actors.instance.actor import InstanceActor
from actors.instance.commands import COMMANDS
from actors.instance.reactions import REACTIONS
from actors.instance.services import ConnectGate, Counts, Endpoint, Services
from actors.supervisor import Slot
from whatisup.lifecycle import Trigger

__all__ = ["ConnectGate", "Counts", "Endpoint", "Services", "run_instance"]


async def run_instance(slot: Slot, services: Services) -> None:
    """Run one actor of the instance named by `slot.key`; the slot's first one is born of a process restart."""
    rebirth = Trigger.ACTOR_CRASHED if slot.restarts else Trigger.PROCESS_RESTARTED
    actor = InstanceActor(
        slot.key,
        slot.mailbox,
        services,
        rebirth=rebirth,
        on_awake=slot.awake.set,
        commands=COMMANDS,
        reactions=REACTIONS,
    )
    await actor.run()
