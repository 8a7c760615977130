"""For whom the messages of a chat are encrypted, and the last few such plans, kept while the chat is busy.

Rule: a kept plan counts only while everything that it was made of reads as it did then; what it was made of is read
again for every unit, since sealing needs most of it anyway, so nothing has to remember to declare a plan void.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from whatisup.jid import Jid
from whatisup.protocol.messaging.encrypting import has_session
from whatisup.protocol.messaging.keyring import IDENTITY, SESSION, KeyName, Keyring, Own, Wanted
from whatisup.protocol.messaging.tokens import TokenEntry

MAX_KEPT: Final = 8
"""How many chats of one instance have their plan kept: some 3 KiB each, until the connection ends."""

_MOVING: Final = frozenset({SESSION, IDENTITY})
"""The kinds that change with every message: of these it only matters that there is a session."""


@dataclass(frozen=True, slots=True)
class Plan:
    """Where the messages of one chat go: the chat by its canonical name, its number, and every device of both sides."""

    chat: Jid
    chat_pn: Jid | None
    devices: tuple[Jid, ...]
    token: TokenEntry
    needs_bundles: tuple[Jid, ...] = ()
    is_first_contact: bool = False


@dataclass(slots=True)
class Plans:
    """By chat, as the rows name it: what is ready, and whom to ask about first."""

    ready: dict[str, Plan] = field(default_factory=dict)
    unlisted: dict[str, tuple[Jid, ...]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class KeptPlan:
    """A plan that lacks nothing, and what it rests on.

    `wanted` is all that planning and sealing touch; `read` what the plan was made of, with the values; `addresses` are
    those of the devices' sessions. The device lists are fresh from `fresh_from` to `fresh_until` (unix ms).
    """

    plan: Plan
    own: Own
    wanted: Wanted
    read: tuple[tuple[KeyName, bytes | None], ...]
    addresses: tuple[str, ...]
    fresh_from: int
    fresh_until: int

    @classmethod
    def of(cls, plan: Plan, own: Own, ring: Keyring, names: Iterable[KeyName], fresh: tuple[int, int]) -> KeptPlan:
        """Note what a plan was made of: these names of the keyring, the sessions of its devices, fresh lists."""
        wanted = Wanted(frozenset(names))
        read = tuple((name, ring.get(*name)) for name in wanted.keys if name[0] not in _MOVING)
        return cls(plan, own, wanted, read, tuple(map(ring.settle, plan.devices)), *fresh)

    def holds(self, ring: Keyring, now_ms: int) -> bool:
        """Whether planning anew would give the same; `ring` has loaded `wanted`."""
        return (
            self.fresh_from <= now_ms <= self.fresh_until
            and ring.agrees(self.read)
            and all(has_session(ring.session(address)) for address in self.addresses)
        )


class PlanBook:
    """The plans of the chats of one instance that were written to last."""

    __slots__ = ("_plans",)

    def __init__(self) -> None:
        self._plans: dict[str, KeptPlan] = {}

    def find(self, chat: str, own: Own) -> KeptPlan | None:
        """What was kept for a chat, as its rows name it; it may hold no more."""
        kept = self._plans.get(chat)
        return kept if kept is not None and kept.own is own else None

    def keep(self, chat: str, kept: KeptPlan) -> None:
        """Keep a plan, and forget the one that was kept for longest."""
        self._plans.pop(chat, None)
        if len(self._plans) >= MAX_KEPT:
            del self._plans[next(iter(self._plans))]
        self._plans[chat] = kept
