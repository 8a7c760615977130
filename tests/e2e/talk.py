"""An instance and a simulated person who write to each other, and what may never be seen of it from either end.

Rule: both ends are asked through the API alone. A conversation is judged once it has come to rest: a last message each
way has arrived, and since a chat keeps its order, so has everything before it, or it never will.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

import trio

from api.demo.client import Json
from api.demo.journal import Seen
from tests.e2e.world import QUICK_S, Number, World
from whatisup import control

T = TypeVar("T")

POLL_S = 0.03
TEXT = "text"


async def eventually(look: Callable[[], Awaitable[T]], is_it: Callable[[T], object], what: str) -> T:
    """Look until it is so; the last look then."""
    found: T | None = None
    with trio.move_on_after(QUICK_S):
        while True:
            found = await look()
            if is_it(found):
                return found
            await trio.sleep(POLL_S)
    raise AssertionError(f"not within {QUICK_S:g} s: {what}; there is {found}")


def text(words: str) -> Json:
    return {"type": TEXT, "text": words}


def _shown(seen: Seen) -> str:
    """An event in a few words, for those who miss one."""
    data = seen.data
    of = data.get("wa_message_id") or data.get("status") or ""
    return " ".join(
        str(word) for word in (seen.name, of, (data.get("body") or {}).get("text"), data.get("detail")) if word
    )


@dataclass
class Chat:
    """An instance and a contact. `written` and `said` are the texts each side has sent, by WhatsApp id.

    Nobody confirms the `unconfirmed` to the contact: the instance has them from its phone.
    """

    number: Number
    contact: str
    lid: str
    since: int = 0
    written: dict[str, str] = field(default_factory=dict)
    said: dict[str, str] = field(default_factory=dict)
    unconfirmed: set[str] = field(default_factory=set)

    @property
    def world(self) -> World:
        return self.number.world

    @property
    def path(self) -> str:
        return f"/v1/instances/{self.number.instance_id}"

    # --- the instance -------------------------------------------------------------------------------------------

    async def write(self, body: Json | str, **more: Any) -> Json:
        """Let the instance send something; what the API answered."""
        body = text(body) if isinstance(body, str) else body
        sent = await self.world.api.call("POST", f"{self.path}/messages", {"to": self.contact, "body": body, **more})
        assert sent["status"] == "queued"
        if body["type"] == TEXT:
            self.written[sent["wa_message_id"]] = body["text"]
        return sent

    async def told(self, name: str, **data: Any) -> Seen:
        """Wait for an event of the instance with these data."""

        def wanted(seen: Seen) -> bool:
            return self._is_mine(seen) and seen.name == name and data.items() <= seen.data.items()

        with trio.move_on_after(QUICK_S):
            return await self.world.journal.first(wanted, since=self.since)
        told = [_shown(seen) for seen in self.world.journal.entries[self.since :] if self._is_mine(seen)]
        raise AssertionError(f"no {name} {data} within {QUICK_S:g} s; there were {told}")

    async def heard(self, wa_id: str) -> Json:
        """Wait until the instance has received a message; the event's data."""
        return (await self.told("message.received", wa_message_id=wa_id)).data

    def events(self, *names: str) -> list[Seen]:
        """The instance's events of these names so far."""
        mine = [seen for seen in self.world.journal.entries[self.since :] if self._is_mine(seen)]
        return [seen for seen in mine if seen.name in names]

    def _is_mine(self, seen: Seen) -> bool:
        return bool(seen.event["instance_id"] == self.number.instance_id)

    async def messages(self, query: str = "") -> list[Json]:
        """The chat's messages as the API lists them, newest first."""
        page = await self.world.api.call("GET", f"{self.path}/messages?chat={self.contact}&limit=100{query}")
        return list(page["data"])

    async def message(self, message_id: str) -> Json:
        return await self.world.api.call("GET", f"{self.path}/messages/{message_id}")

    # --- the contact --------------------------------------------------------------------------------------------

    async def act(self, deed: str, **body: Any) -> Json:
        """Let the contact do something to the instance."""
        body = {"instance_id": self.number.instance_id, **body}
        return await self.world.api.call("POST", f"/v1/sandbox/contacts/{self.contact}/{deed}", body)

    async def say(self, body: Json | str) -> str:
        """Let the contact send something; its WhatsApp id."""
        body = text(body) if isinstance(body, str) else body
        sent = str((await self.act("messages", body=body))["wa_message_id"])
        if body["type"] == TEXT:
            self.said[sent] = body["text"]
        return sent

    async def set_online(self, online: bool) -> None:
        await self.world.api.call("POST", f"/v1/sandbox/contacts/{self.contact}/online", {"online": online})

    async def log(self, name: str) -> list[Json]:
        """What the contact's phone has `received`, `sent` or `seen`."""
        limit = "" if name == "seen" else "?limit=1000"
        return list((await self.world.api.call("GET", f"/v1/sandbox/contacts/{self.contact}/{name}{limit}"))["data"])

    async def rows(self) -> list[Json]:
        """What reached the contact from the instance, a row for each ciphertext."""
        return [row for row in await self.log("received") if row["number"] == self.number.number]

    async def got(self, wa_id: str) -> Json:
        """Wait until the contact has read a message; its row."""

        def read(rows: list[Json]) -> list[Json]:
            return [row for row in rows if row["wa_message_id"] == wa_id and row["verdict"] == "read"]

        return read(await eventually(self.rows, read, f"{self.contact} reads {wa_id}"))[0]

    async def confirmed(self, wa_id: str) -> Json:
        """Wait until the instance's device has confirmed a message of the contact's; the contact's row."""

        def done(rows: list[Json]) -> list[Json]:
            mine = [row for row in rows if row["wa_message_id"] == wa_id]
            return [row for row in mine if any(r["device"] and r["kind"] != "retry" for r in row["receipts"])]

        return done(await eventually(lambda: self.log("sent"), done, f"{wa_id} is confirmed"))[0]

    # --- trouble ------------------------------------------------------------------------------------------------

    async def harm_instance(self, fault: str, **more: Any) -> str:
        """Arm a fault for the instance's device; the fault's id."""
        return str((await self.number.fault(fault, **more))["id"])

    async def harm_contact(self, fault: str, **more: Any) -> str:
        """Arm a fault for the contact's phone; the fault's id."""
        request = control.FaultRequest(fault, control.Scope(self.contact), **more)
        return (await self.world.control().arm(request)).id

    async def hits(self, fault_id: str) -> int:
        """How often a fault has struck."""
        return next(fault.hits for fault in await self.world.control().faults() if fault.id == fault_id)

    # --- the end ------------------------------------------------------------------------------------------------

    async def greet(self) -> None:
        """A message each way, so that there is a session, and both names of everybody are known."""
        await self.heard(await self.say("greeting of the contact"))
        sent = await self.write("greeting of the instance")
        await self.told("message.delivered", message_id=sent["message_id"])

    async def exchange(self) -> None:
        """Three messages each way at the same time, until everything has arrived."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._each, self.write, "out")
            nursery.start_soon(self._each, self.say, "in")
        for wa_id in list(self.said):
            await self.heard(wa_id)
        for wa_id in list(self.written):
            await self.told("message.delivered", wa_message_id=wa_id)

    @staticmethod
    async def _each(send: Callable[[str], Awaitable[object]], word: str) -> None:
        for number in range(3):
            await send(f"{word} {number}")

    async def rest(self) -> None:
        """Wait until everything that was sent has arrived, or came back."""
        await self.write("last of the instance")
        for wa_id in self.written:
            await self.got(wa_id)
            await self.told("message.delivered", wa_message_id=wa_id)
        await self.say("last of the contact")
        for wa_id in self.said:
            await self.heard(wa_id)
            if wa_id not in self.unconfirmed:
                await self.confirmed(wa_id)

    async def require_exactly_once(self) -> None:
        """Nothing lost, nothing doubled: at the contact's phone, in the event log, and in the list of messages."""
        await self.rest()
        rows = await self.rows()
        unasked = [row for row in rows if row["verdict"] == "read" and row["wa_message_id"] in self.written]
        assert Counter(row["wa_message_id"] for row in unasked) == Counter(dict.fromkeys(self.written, 1))
        assert {row["wa_message_id"]: row["text"] for row in unasked} == self.written
        received = [seen.data for seen in self.events("message.received") if seen.data["from"] in self.names]
        said = {data["wa_message_id"]: data["body"]["text"] for data in received if data["body"]["type"] == TEXT}
        assert said == self.said
        self.require_each_event_once()
        await self.require_rows()

    @property
    def names(self) -> tuple[str, str]:
        """What events call the contact: with its number known, and without."""
        return self.contact, f"{self.lid}@lid"

    def require_each_event_once(self) -> None:
        """No event of a message was told twice."""
        told: Counter[tuple[str, str, str]] = Counter()
        for seen in self.world.journal.entries[self.since :]:
            if self._is_mine(seen) and seen.name.startswith("message."):
                state = seen.data.get("retry", {}).get("state", "")  # that it could not be read, and that it never will
                told[seen.name, seen.data["message_id"], state] += 1
        assert {what: count for what, count in told.items() if count > 1} == {}

    async def require_rows(self) -> None:
        """The API lists each message once, and none of them is on its way or unread."""
        listed = await self.messages()
        ours = [row for row in listed if row["direction"] == "out" and row["kind"] == TEXT and row["source"] == "api"]
        theirs = [row for row in listed if row["direction"] == "in" and row["kind"] == TEXT]
        assert {row["wa_message_id"]: row["body"]["text"] for row in ours} == self.written
        assert len(ours) == len(self.written)
        assert {row["status"] for row in ours} <= {"delivered", "read", "played"}
        assert {row["wa_message_id"]: row["body"]["text"] for row in theirs} == self.said
        assert len(theirs) == len(self.said)
        assert {row["status"] for row in listed if row["direction"] == "in"} <= {"received"}


async def make_contact(world: World, **more: Any) -> Json:
    """Create a person of the sandbox."""
    return await world.api.call("POST", "/v1/sandbox/contacts", more)


async def open_chat(number: Number, **more: Any) -> Chat:
    """A new person for an instance to talk with; nothing has been said."""
    contact = await make_contact(number.world, **more)
    return Chat(number, contact["number"], contact["lid"], number.world.journal.mark())


async def lose_an_ack(chat: Chat) -> None:
    """The server took a message and could not say so: the same bytes go out again, and reach nobody twice."""
    # Offline, both, so that no receipt stands for the ack.
    phones = (chat.contact, chat.number.number)
    for phone in phones:
        await chat.world.control().set_online(phone, False)
    fault = await chat.harm_instance("drop-before-ack")
    sent = await chat.write("who knows")
    await chat.told("instance.disconnected", status="reconnecting")
    assert await chat.hits(fault) == 1
    await chat.told("message.sent", message_id=sent["message_id"])
    for phone in phones:
        await chat.world.control().set_online(phone, True)
    await chat.told("message.delivered", message_id=sent["message_id"])
