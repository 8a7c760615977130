"""The tail of a log: what it covers, what it drops, and that changing over to it leaves no gap and no duplicate."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.streams.frames import Frame, Wanted
from api.streams.tail import KEEP_S, Tail, gather
from whatisup.store import Mode

ALL = Wanted("cust", Mode.TEST)
LARGE = 1 << 20


def frame(position: int, size: int = 10, kind: str = "instance.status", instance_id: str | None = "inst_1") -> Frame:
    data = b"%d," % position
    return Frame(position, f"evt_{position}", instance_id, kind, data + b"x" * (size - len(data)))


def filled(*positions: int, start: int = 0, now: float = 0.0, **bounds: Any) -> Tail:
    tail = Tail(start, **bounds)
    for position in positions:
        tail.extend([frame(position)], position, now)
    return tail


def test_tail_gives_what_comes_after_a_position() -> None:
    tail = filled(3, 5, 9, start=2)
    piece = tail.after(3, ALL, LARGE)
    assert (piece.data, piece.until, piece.last_event_id) == (frame(5).data + frame(9).data, 9, "evt_9")
    assert tail.after(9, ALL, LARGE).data == b""
    assert [tail.covers(position) for position in (1, 2, 3, 9, 10)] == [False, True, True, True, True]


def test_piece_is_bounded_and_goes_on_where_it_ended() -> None:
    tail, seen, position = filled(*range(1, 11)), b"", 0
    pieces = 0
    while (piece := tail.after(position, ALL, 35)).data:
        assert len(piece.data) <= 35
        seen, position, pieces = seen + piece.data, piece.until, pieces + 1
    assert (seen, pieces) == (b"".join(frame(n).data for n in range(1, 11)), 4)


def test_frame_that_is_larger_than_a_piece_goes_alone() -> None:
    assert gather([frame(1, 500), frame(2)], 2, 100).data == frame(1, 500).data
    assert gather([frame(1), frame(2, 500)], 2, 100).until == 1


def test_filter_lets_the_position_pass_what_it_hides() -> None:
    tail = Tail(0)
    tail.extend([frame(1), frame(2, kind="message.sent"), frame(3, instance_id="inst_2"), frame(4)], 7, 0)
    messages = Wanted("cust", Mode.TEST, None, ("message.*",))
    assert (tail.after(0, messages, LARGE).last_event_id, tail.after(0, messages, LARGE).until) == ("evt_2", 7)
    assert tail.after(0, Wanted("cust", Mode.TEST, "inst_2"), LARGE).last_event_id == "evt_3"
    assert tail.after(0, Wanted("cust", Mode.TEST, "inst_3"), LARGE).until == 7
    assert tail.after(20, ALL, LARGE).until == 20


@pytest.mark.parametrize(("bounds", "kept"), [({"max_frames": 3}, 3), ({"max_bytes": 25}, 2), ({"max_bytes": 5}, 0)])
def test_oldest_frames_go_when_the_tail_is_full(bounds: dict[str, int], kept: int) -> None:
    tail = filled(*range(1, 11), **bounds)
    assert (len(tail), tail.size, tail.start, tail.head) == (kept, kept * 10, 10 - kept, 10)
    assert not tail.covers(9 - kept)


def test_frames_go_after_their_time() -> None:
    tail = filled(1, 2, now=0.0)
    tail.extend([frame(3)], 3, KEEP_S - 1)
    assert len(tail) == 3
    tail.extend([], 8, KEEP_S + 1)  # marks are set every few seconds, so some stay that much longer
    assert (len(tail), tail.start, tail.head) == (2, 1, 8)
    tail.extend([], 9, 3 * KEEP_S)
    assert (len(tail), tail.size, tail.start, tail.head) == (0, 0, 3, 9)


def test_tail_is_crowded_by_who_still_needs_most_of_it() -> None:
    tail = filled(*range(1, 9), max_frames=10)
    assert tail.is_crowded(2)
    assert not tail.is_crowded(3)
    heavy = filled(*range(1, 9), max_bytes=100)
    assert heavy.is_crowded(2)
    assert not heavy.is_crowded(3)
    assert not Tail(0).is_crowded(0)


@given(
    gaps=st.lists(st.integers(1, 4), min_size=1, max_size=60),
    bound=st.integers(1, 20),
    chunk=st.integers(1, 80),
    moves=st.lists(st.booleans(), max_size=120),
)
def test_reader_that_changes_between_store_and_tail_sees_all_once(
    gaps: list[int], bound: int, chunk: int, moves: list[bool]
) -> None:
    """A model of a stream: it reads the tail where that covers it, else the log, while the tail moves on."""
    log = [frame(sum(gaps[: index + 1])) for index in range(len(gaps))]
    tail, fed, position, seen = Tail(0, max_frames=bound), 0, 0, b""
    for is_fed in [*moves, *[True] * len(log), *[False] * 400]:
        if is_fed and fed < len(log):
            tail.extend(log[fed : fed + 1], log[fed].position, 0.0)
            fed += 1
        elif tail.covers(position):
            piece = tail.after(position, ALL, chunk)
            seen, position = seen + piece.data, piece.until
        else:
            rest = [one for one in log[:fed] if one.position > position][:3]
            piece = gather(rest, rest[-1].position, chunk)
            seen, position = seen + piece.data, piece.until
    assert seen == b"".join(one.data for one in log)
