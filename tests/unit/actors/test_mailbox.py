"""The inbox: bounds, replies, and that nobody waits for an actor that is gone."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import trio
import trio.testing

from actors.mailbox import MAX_BUFFERED_BYTES, MAX_COMMANDS, Envelope, Mailbox, Notice
from actors.messages import Stop
from whatisup.errors import ActorStopped, InvalidTransition, MailboxFull
from whatisup.store import Origin

STOP = Stop(Origin("test"))


@dataclass(frozen=True)
class Data(Notice):
    weight: int

    @property
    def size(self) -> int:
        return self.weight


async def answer_one(mailbox: Mailbox, value: object) -> None:
    envelope = await mailbox.receive()
    assert isinstance(envelope, Envelope)
    envelope.reply.answer(value)


async def test_ask_returns_the_answer(nursery: trio.Nursery) -> None:
    mailbox = Mailbox()
    nursery.start_soon(answer_one, mailbox, "done")
    assert await mailbox.ask(STOP) == "done"  # type: ignore[func-returns-value]  # the test answers a string


async def test_ask_raises_the_refusal(nursery: trio.Nursery) -> None:
    mailbox = Mailbox()
    slot = mailbox.post(STOP)
    envelope = mailbox.receive_nowait()
    assert isinstance(envelope, Envelope)
    envelope.reply.refuse(InvalidTransition("stop", "pending", "start it first"))
    with pytest.raises(InvalidTransition, match="start it first"):
        await slot.wait()


async def test_only_the_first_settlement_counts() -> None:
    mailbox = Mailbox()
    slot = mailbox.post(STOP)
    envelope = mailbox.receive_nowait()
    assert isinstance(envelope, Envelope)
    envelope.reply.answer(None)
    envelope.reply.refuse(ActorStopped("late"))
    assert await slot.wait() is None


async def test_a_full_inbox_refuses_at_once() -> None:
    mailbox = Mailbox()
    for _ in range(MAX_COMMANDS):
        mailbox.post(STOP)
    with pytest.raises(MailboxFull):
        mailbox.post(STOP)
    mailbox.receive_nowait()
    mailbox.post(STOP)


async def test_close_refuses_what_waits_and_what_comes() -> None:
    mailbox = Mailbox()
    slot = mailbox.post(STOP)
    mailbox.close()
    with pytest.raises(ActorStopped):
        await slot.wait()
    with pytest.raises(ActorStopped):
        mailbox.post(STOP)


async def test_a_slow_reader_stops_the_sender_of_data(nursery: trio.Nursery) -> None:
    mailbox = Mailbox()
    await mailbox.put(Data(MAX_BUFFERED_BYTES))
    sent = trio.Event()

    async def send() -> None:
        await mailbox.put(Data(1))
        sent.set()

    nursery.start_soon(send)
    await trio.testing.wait_all_tasks_blocked()
    assert not sent.is_set()
    mailbox.receive_nowait()
    with trio.fail_after(1):
        await sent.wait()


async def test_drop_notices_keeps_commands(nursery: trio.Nursery) -> None:
    mailbox = Mailbox()
    mailbox.tell(Data(5))
    mailbox.post(STOP)
    mailbox.drop_notices()
    assert isinstance(mailbox.receive_nowait(), Envelope)
    with pytest.raises(trio.WouldBlock):
        mailbox.receive_nowait()


async def test_a_cancelled_asker_leaves_the_command(autojump_clock: trio.testing.MockClock) -> None:
    mailbox = Mailbox()
    with trio.move_on_after(1):
        await mailbox.ask(STOP)
    assert isinstance(mailbox.receive_nowait(), Envelope)


async def test_a_timed_out_reader_loses_nothing(autojump_clock: trio.testing.MockClock) -> None:
    mailbox = Mailbox()
    with trio.move_on_after(1):
        await mailbox.receive()
    mailbox.post(STOP)
    assert isinstance(await mailbox.receive(), Envelope)
