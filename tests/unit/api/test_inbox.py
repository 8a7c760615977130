"""What a connection tells a request: bodies in pieces, bodies that are too large, and clients that leave."""

from __future__ import annotations

from typing import Any

import pytest
import trio

from api.serving.inbox import Inbox
from api.serving.remembered import Remembered

LEAVING = {"type": "http.disconnect"}


def piece(data: bytes, *, more: bool = True) -> dict[str, Any]:
    return {"type": "http.request", "body": data, "more_body": more}


async def test_body_is_given_whole_when_its_last_piece_has_come() -> None:
    inbox, found = Inbox(100), list[bytes]()

    async def read() -> None:
        found.append(await inbox.whole())

    async with trio.open_nursery() as nursery:
        nursery.start_soon(read)
        for part in (b"a", b"", b"bc"):
            await inbox.put(piece(part))
            await trio.testing.wait_all_tasks_blocked()
            assert not found
        await inbox.put(piece(b"", more=False))
    assert found == [b"abc"]


@pytest.mark.parametrize(("size", "expected"), [(8, False), (9, True), (100_000, True)])
async def test_body_beyond_the_limit_is_told_and_not_kept(size: int, expected: bool) -> None:
    inbox = Inbox(8)
    for _ in range(size):
        await inbox.put(piece(b"x"))
    await inbox.put(piece(b"", more=False))
    assert inbox.is_too_large is expected
    assert len(await inbox.whole()) == min(size, 9)


async def test_whoever_waits_for_a_body_hears_that_it_is_too_large_before_its_end() -> None:
    inbox = Inbox(1)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(inbox.whole)
        await trio.testing.wait_all_tasks_blocked()
        await inbox.put(piece(b"xx"))


async def test_messages_come_as_asgi_has_them() -> None:
    inbox = Inbox(100)
    await inbox.put(piece(b"a"))
    assert await inbox() == piece(b"a")
    await inbox.put(piece(b"b", more=False))
    await inbox.put(LEAVING)
    assert await inbox() == piece(b"b", more=False)
    assert [await inbox(), await inbox()] == [LEAVING, LEAVING]


async def test_request_without_a_body_is_told_of_its_end_once() -> None:
    inbox = Inbox(100)
    await inbox.put(piece(b"", more=False))
    assert await inbox() == piece(b"", more=False)
    with trio.move_on_after(0.01) as waiting:
        await inbox()
    assert waiting.cancelled_caught


async def test_client_that_leaves_ends_the_request_once_and_only_while_that_is_wanted() -> None:
    inbox, ended = Inbox(100), list[str]()
    inbox.on_leave(lambda: ended.append("first"))
    inbox.on_leave(None)
    await inbox.put(LEAVING)
    assert not ended
    inbox.on_leave(lambda: ended.append("late"))
    assert ended == ["late"]


def test_what_is_remembered_is_bounded_and_the_oldest_goes_first() -> None:
    known = Remembered(2)
    for thing in ("a", "b", "b", "c"):
        known.add(thing)
    assert ["a" in known, "b" in known, "c" in known, len(known)] == [False, True, True, 2]
