"""Both sides write: the API takes messages until it says so, and contacts send bursts.

Rule: within a chat one message after the other, each with its own Idempotency-Key, asked again until the answer is
definite; so the order in which the API accepted is known. Neither direction runs far ahead of what has arrived, nor of
the other, nor both of the webhooks that tell of it: each harm is to meet all three.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from functools import partial

import trio

from actors.sandbox import SandboxClient
from api.demo.client import Client, Json, Refused, Unreachable
from tests.chaos.databases import Unreadable
from tests.chaos.hooks import unsettled
from tests.chaos.stage import Pair, Stage
from whatisup import control

AHEAD = 32
"""How many messages of one chat may be on their way, in each direction."""
HOOKS_BEHIND = 400
"""How many webhooks may wait in any run before nobody writes for a while; in a large one it is more."""
GAUGE_S = 0.2
DEFINITE_S = 120.0
MAX_PAUSE_S = 0.5
REPLAYED = 0.02
"""The share of messages that is asked for once more after it was accepted."""


@dataclass(frozen=True, slots=True)
class Accepted:
    """What the API said it will send."""

    text: str
    message_id: str
    wa_id: str


@dataclass
class Traffic:
    """What was accepted, by chat and in order; how much has arrived, in both directions."""

    stage: Stage
    accepted: dict[str, list[Accepted]] = field(default_factory=dict)
    begun: int = 0
    refused: list[str] = field(default_factory=list)
    retried: int = 0
    _waiting: int = 0
    _ingested: int = 0
    _undelivered: int = 0
    _changed: trio.Event = field(default_factory=trio.Event)

    # --- how far ------------------------------------------------------------------------------------------------

    @property
    def taken(self) -> int:
        """How many messages the API has accepted."""
        return sum(map(len, self.accepted.values()))

    @property
    def through(self) -> int:
        """How many messages are through, in the direction that is behind."""
        return min(self.taken - self._waiting, self._ingested)

    async def reached(self, share: float) -> None:
        """Wait until that share of the messages is through, each way."""
        while self.through < share * self.stage.plan.options.messages:
            await self._changed.wait()

    async def _room(self, *, outbound: bool) -> None:
        messages = self.stage.plan.options.messages
        limit, hooks = min(AHEAD * len(self.stage.pairs), messages // 8), max(HOOKS_BEHIND, messages // 5)
        while (self.taken if outbound else self.begun) - self.through > limit or self._undelivered > hooks:
            await self._changed.wait()

    async def watch(self) -> None:
        """Look into the database how far it is, for ever."""
        newest = 0
        while True:
            try:
                (self._waiting,) = self.stage.database.query("SELECT count(*) FROM outbox")[0]
                self._undelivered = unsettled(self.stage.database)
                found = self.stage.database.query(f"SELECT position, direction FROM messages WHERE position > {newest}")
            except Unreadable:
                found = []
            self._ingested += sum(direction == "in" for _, direction in found)
            newest = max([newest, *(position for position, _ in found)])
            self._changed.set()
            self._changed = trio.Event()
            await trio.sleep(GAUGE_S)

    # --- writing ------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Let everybody write until all is said."""
        async with trio.open_nursery() as nursery:
            for pair in self.stage.pairs:
                nursery.start_soon(self._send, pair)
                nursery.start_soon(self._burst, pair)

    async def _send(self, pair: Pair) -> None:
        accepted = self.accepted.setdefault(pair.chat.name, [])
        dice = random.Random(f"{self.stage.plan.options.seed} {pair.chat.name}")
        for text in pair.chat.texts:
            await self._room(outbound=True)
            answer = await self._post(pair, text)
            if answer is None:
                continue
            accepted.append(Accepted(text, answer["message_id"], answer["wa_message_id"]))
            if dice.random() < REPLAYED and (again := await self._post(pair, text)) is not None:
                self._check_replay(pair, answer, again)

    def _check_replay(self, pair: Pair, answer: Json, again: Json) -> None:
        if answer["message_id"] != again["message_id"]:
            self.refused.append(f"{pair.chat.name}: one Idempotency-Key, two messages: {answer} {again}")

    async def _post(self, pair: Pair, text: str) -> Json | None:
        """Ask until there is a definite answer; None for a refusal, which is noted."""
        name = text.partition(" ")[0]
        body = {"to": pair.contact, "body": {"type": "text", "text": text}, "client_ref": name}
        path = f"/v1/instances/{pair.instance.instance_id}/messages"
        api = Client(self.stage.api.host, self.stage.api.port, self.stage.api.key, timeout_s=15.0)
        last, pause_s = "no answer", 0.05
        with trio.move_on_after(DEFINITE_S):
            while True:
                try:
                    return await api.call("POST", path, body, idempotency_key=name)
                except Unreachable as error:
                    last = str(error)
                except Refused as error:
                    last = str(error)
                    if error.status < 500 and error.code != "idempotency_in_progress":
                        break
                self.retried += 1
                await trio.sleep(pause_s)
                pause_s = min(2 * pause_s, MAX_PAUSE_S)
        self.refused.append(f"{name}: {last}")
        return None

    async def _burst(self, pair: Pair) -> None:
        for prefix, count in pair.chat.bursts:
            await self._room(outbound=False)
            self.begun += count
            await self.stage.ask_people(partial(_begin, pair=pair, prefix=prefix, count=count))


async def _begin(people: SandboxClient, *, pair: Pair, prefix: str, count: int) -> None:
    """Start a burst once, though the answer to an earlier try may have been lost."""
    if all(burst.text != prefix for burst in await people.bursts(pair.contact)):
        await people.burst(pair.contact, control.BurstRequest(pair.instance.number, count, text=prefix))
