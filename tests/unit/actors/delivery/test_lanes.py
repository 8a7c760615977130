"""The window on a lane: a bounded part of the queue, in its order, with nothing missing and nothing twice."""

from __future__ import annotations

from dataclasses import replace

import trio
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import MockClock

from actors.delivery.lanes import WINDOW, LaneWindow
from whatisup.store import DeliveryKind, Due, Lane

LANE = Lane("wh_1", "inst_1", DeliveryKind.LIVE, False)


def due(position: int, lane: Lane = LANE) -> Due:
    return Due(
        position=position,
        id=f"dlv_{position}",
        lane=lane,
        event_id=f"evt_{position}",
        event="message.received",
        attempt_count=0,
        tries=0,
        next_attempt_at=position,
        created_at=0,
    )


def read(window: LaneWindow, rows: list[Due], *, without: frozenset[int] = frozenset()) -> None:
    """Fill a window from a pretended store."""
    token = window.begin_reading()
    page = [row for row in rows if row.position > window.after][:WINDOW]
    window.fill(token, page, is_last=len(page) < WINDOW, without=without)


def shown(window: LaneWindow) -> list[int]:
    return [row.position for row in window.queue]


def test_new_window_is_behind_until_it_was_read() -> None:
    window = LaneWindow(LANE)
    window.note(due(1))
    assert (shown(window), window.is_behind) == ([], True)
    read(window, [due(1)])
    assert (shown(window), window.is_behind) == ([1], False)


def test_window_that_is_not_behind_takes_new_ones_in_until_it_is_full() -> None:
    window = LaneWindow(LANE)
    read(window, [])
    rows = [due(position) for position in range(1, WINDOW + 3)]
    for row in rows:
        window.note(row)
    assert shown(window) == list(range(1, WINDOW + 1))
    assert window.is_behind
    window.queue.clear()
    read(window, rows)
    assert shown(window) == [WINDOW + 1, WINDOW + 2]
    assert not window.is_behind


def test_what_is_noted_during_a_read_makes_another_read() -> None:
    window = LaneWindow(LANE)
    token = window.begin_reading()
    window.note(due(2))
    window.fill(token, [due(1)], is_last=True, without=())
    assert (shown(window), window.is_behind) == ([1], True)
    window.queue.clear()
    read(window, [due(1), due(2)])
    assert (shown(window), window.is_behind) == ([2], False)


def test_what_was_read_before_it_was_noted_is_not_taken_in_again() -> None:
    window = LaneWindow(LANE)
    read(window, [due(1), due(2)])
    window.note(due(2))  # committed before the read, told after it
    window.queue.popleft()
    window.note(due(1))
    assert (shown(window), window.is_behind) == ([2], False)


def test_read_that_a_second_look_overtook_is_void() -> None:
    window = LaneWindow(LANE)
    read(window, [due(5)])
    token = window.begin_reading()
    window.look_again()
    window.fill(token, [due(6)], is_last=True, without=())
    assert (shown(window), window.is_behind) == ([], True)
    read(window, [due(2), due(6)])
    assert shown(window) == [2, 6]


def test_what_is_settling_is_not_shown_and_not_read_again() -> None:
    window = LaneWindow(LANE)
    read(window, [due(1), due(2)], without=frozenset({1}))
    assert shown(window) == [2]
    assert window.after == 2


def test_window_of_late_ones_shows_what_is_due_first() -> None:
    late = replace(LANE, is_late=True)
    window = LaneWindow(late)
    token = window.begin_reading()
    window.fill(token, [due(9, late), due(3, late)], is_last=True, without=())
    assert shown(window) == [9, 3]
    window.note(due(1, late))
    assert window.is_behind
    token = window.begin_reading()
    window.fill(token, [due(1, late), due(9, late), due(3, late)], is_last=True, without=())
    assert shown(window) == [1, 9, 3]


async def test_wait_ends_with_news_and_with_time(autojump_clock: MockClock) -> None:
    window = LaneWindow(LANE)
    await window.wait(5)
    assert trio.current_time() == 5
    async with trio.open_nursery() as nursery:
        nursery.start_soon(window.wait, 100)
        await trio.sleep(1)
        window.note(due(1))
    assert trio.current_time() == 6


def test_note_that_comes_after_its_delivery_was_made_and_everything_read_anew_is_old_news() -> None:
    window = LaneWindow(LANE)
    read(window, [due(1)])
    window.queue.popleft()
    window.look_again()
    read(window, [])
    window.note(due(1))
    assert shown(window) == []


@given(st.lists(st.sampled_from(["commit", "note", "read", "take", "look"]), max_size=80))
def test_every_delivery_is_taken_once_and_in_order(steps: list[str]) -> None:
    window, rows, taken, settled, noted = LaneWindow(LANE), list[Due](), list[int](), set[int](), 0
    for step in [*steps, *["note"] * 80, *["read", "take"] * 200]:
        if step == "commit":
            rows.append(due(len(rows) + 1))
        elif step == "note" and noted < len(rows):
            window.note(rows[noted])
            noted += 1
        elif step == "look":
            window.look_again()
        elif step == "read" and window.is_behind and not window.queue:
            read(window, [row for row in rows if row.position not in settled])
        elif step == "take" and window.queue:
            taken.append(window.queue.popleft().position)
            settled.add(taken[-1])
        assert len(window.queue) <= WINDOW
    assert taken == [row.position for row in rows]
