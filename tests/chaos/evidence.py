"""What every side has in the end: the API's log, the gateway's rows, the phones' logs, the server's ledger.

Rule: nobody's word is taken for somebody else's; each side is asked where its own truth is.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial

import trio

from actors.sandbox import SandboxClient
from api.demo.client import Json, Refused, Unreachable
from tests.chaos.databases import Unreadable
from tests.chaos.hooks import unsettled
from tests.chaos.stage import Stage
from tests.chaos.traffic import Accepted, Traffic
from whatisup.control import MAX_PAGE, ReceivedMessage, SentMessage

POLL_S = 0.5
SETTLE_S = 3.0
"""What is twice may come late: so long it is waited after everything is there."""


@dataclass(frozen=True, slots=True)
class Row:
    """A message in the gateway's database."""

    wa_id: str
    direction: str
    source: str
    status: str
    is_flagged: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Talk:
    """All that is known of one chat, each list in the order of its own side."""

    name: str
    instance_id: str
    contact: str
    phone: str
    accepted: Sequence[Accepted]
    told: Sequence[str]
    """The texts that the contact was told to send."""
    sent: Sequence[SentMessage] = ()
    received: Sequence[ReceivedMessage] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """Everything. `copies` is what the instances' own phones read, by their number; `events` by instance, in order.

    `ledger` has the ids that the server accepted from the instances' devices.
    """

    talks: Sequence[Talk]
    copies: Mapping[str, Sequence[ReceivedMessage]]
    rows: Sequence[Row]
    events: Mapping[str, Sequence[Json]]
    ledger: frozenset[str]
    poison: int = 0
    outbox: int = 0
    queued: int = 0


@dataclass
class Logs:
    """The phones' logs, read on from where the last look ended."""

    stage: Stage
    received: dict[str, list[ReceivedMessage]] = field(default_factory=dict)
    sent: dict[str, list[SentMessage]] = field(default_factory=dict)

    async def read_on(self, number: str) -> None:
        """Read what has reached a phone since the last time."""
        have = self.received.setdefault(number, [])
        while True:
            after = have[-1].position if have else 0
            page = await self.stage.ask_people(partial(SandboxClient.received, number=number, after=after))
            have += page
            if len(page) < MAX_PAGE:
                return

    async def read_sent(self, number: str) -> None:
        """Read what a phone has sent, anew: acks and receipts come later than their message."""
        found: list[SentMessage] = []
        while True:
            after = found[-1].position if found else 0
            page = await self.stage.ask_people(partial(SandboxClient.sent, number=number, after=after))
            found += page
            if len(page) < MAX_PAGE:
                break
        self.sent[number] = found


async def quiesce(traffic: Traffic, within_s: float) -> bool:
    """Wait until everything that is under way has arrived; False where that took longer than `within_s`."""
    logs = Logs(traffic.stage)
    with trio.move_on_after(within_s):
        while not (_is_settled(traffic) and await _has_arrived(traffic, logs)):
            await trio.sleep(POLL_S)
        await trio.sleep(SETTLE_S)
        return True
    return False


def _is_settled(traffic: Traffic) -> bool:
    """Whether the gateway has nothing left to do, as its database shows."""
    wanted = sum(len(pair.chat.told) for pair in traffic.stage.pairs)
    query = traffic.stage.database.query
    try:
        (waiting,) = query("SELECT count(*) FROM outbox")[0]
        (undelivered,) = query(
            "SELECT count(*) FROM messages WHERE direction = 'out' AND source = 'api' AND status IN ('queued', 'sent')"
        )[0]
        (ingested,) = query("SELECT count(*) FROM messages WHERE direction = 'in' AND status <> 'undecryptable'")[0]
        undelivered += unsettled(traffic.stage.database)
    except Unreadable:
        return False
    return bool(waiting == 0 and undelivered == 0 and ingested >= wanted)


async def _has_arrived(traffic: Traffic, logs: Logs) -> bool:
    """Whether the contacts and the instances' own phones have read everything, and no queue holds anything."""
    wanted: dict[str, set[str]] = {}
    for pair in traffic.stage.pairs:
        ids = {accepted.wa_id for accepted in traffic.accepted[pair.chat.name]}
        wanted.setdefault(pair.contact, set()).update(ids)
        wanted.setdefault(pair.instance.number, set()).update(ids)
    for number, ids in wanted.items():
        await logs.read_on(number)
        if not ids <= {row.id for row in logs.received[number] if row.verdict == "read"}:
            return False
    return await _queued(traffic.stage) == 0


async def _queued(stage: Stage) -> int:
    """How many stanzas still wait for the instances' devices."""
    count = 0
    for number in {pair.instance.number for pair in stage.pairs}:
        for device in (await stage.ask_people(partial(SandboxClient.account, number=number))).devices:
            ask = partial(SandboxClient.device, number=number, device=device.device)
            count += (await stage.ask_people(ask)).queued
    return count


async def collect(traffic: Traffic) -> Evidence:
    """Ask everybody; the sandbox has ended afterwards."""
    stage, logs = traffic.stage, Logs(traffic.stage)
    phones = {pair.instance.number for pair in stage.pairs}
    for pair in stage.pairs:
        await logs.read_on(pair.contact)
        await logs.read_sent(pair.contact)
    for phone in phones:
        await logs.read_on(phone)
    talks = [
        Talk(
            name=pair.chat.name,
            instance_id=pair.instance.instance_id,
            contact=pair.contact,
            phone=pair.instance.number,
            accepted=traffic.accepted[pair.chat.name],
            told=pair.chat.told,
            sent=logs.sent[pair.contact],
            received=logs.received[pair.contact],
        )
        for pair in stage.pairs
    ]
    queued, events = await _queued(stage), await _events(stage)
    await stage.world.sandbox.kill()  # it shares its file with nobody while it runs
    return Evidence(
        talks=talks,
        copies={phone: logs.received[phone] for phone in phones},
        rows=_rows(stage),
        events=events,
        ledger=_ledger(stage, phones),
        poison=stage.database.query("SELECT count(*) FROM poison")[0][0],
        outbox=stage.database.query("SELECT count(*) FROM outbox")[0][0],
        queued=queued,
    )


def _rows(stage: Stage) -> list[Row]:
    columns = "wa_id, direction, source, status, is_flagged"
    found = stage.database.query(f"SELECT {columns} FROM messages ORDER BY position")
    return [Row(wa_id, way, source, status, bool(flag)) for wa_id, way, source, status, flag in found]


def _ledger(stage: Stage, phones: set[str]) -> frozenset[str]:
    path = stage.world.folder / "sandbox.state"
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=5)) as connection:
        rows = connection.execute("SELECT number, id FROM sent WHERE device > 0").fetchall()
    return frozenset(message_id for number, message_id in rows if number in phones)


async def _events(stage: Stage) -> dict[str, list[Json]]:
    """Every `message.*` event, as a customer pages through them."""
    found: dict[str, list[Json]] = {pair.instance.instance_id: [] for pair in stage.pairs}
    cursor: str | None = ""
    while cursor is not None:
        page = await _page(stage, cursor)
        for event in page["data"]:
            found.setdefault(event["instance_id"], []).append(event)
        cursor = page["next_cursor"]
    return found


async def _page(stage: Stage, cursor: str) -> Json:
    path = "/v1/events?limit=100&events=message.*" + (f"&after={cursor}" if cursor else "")
    with trio.fail_after(30.0):
        while True:
            try:
                return await stage.api.call("GET", path)
            except (Unreachable, Refused):
                await trio.sleep(POLL_S)
