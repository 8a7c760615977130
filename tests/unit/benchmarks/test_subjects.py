"""What the subjects tell of themselves, as it is read; no process is started here."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.scenarios.flow import offered_per_s
from benchmarks.subjects.baileys import Baileys, Tail
from benchmarks.subjects.subject import Arrival, Counts


def write(path: Path, *events: dict[str, object], end: str = "\n") -> None:
    with path.open("a") as file:
        file.write("\n".join(json.dumps(event) for event in events) + end)


def test_tail_gives_whole_lines_once(tmp_path: Path) -> None:
    tail = Tail(tmp_path / "x")
    assert tail.lines() == []
    tail.path.write_text("a\nb\nbegun")
    assert tail.lines() == ["a", "b"]
    with tail.path.open("a") as file:
        file.write(" and ended\n")
    assert tail.lines() == ["begun and ended"]
    assert tail.lines() == []


def test_baileys_counts_who_is_open_since_the_watch(tmp_path: Path) -> None:
    subject, events = Baileys(tmp_path), tmp_path / "events"
    write(events, {"event": "open", "id": "a"})
    subject.watch()
    write(events, {"event": "open", "id": "b"}, {"event": "open", "id": "b"}, {"event": "open", "id": "c"})
    assert subject.connected() == 2
    write(events, {"event": "close", "id": "c", "code": 428})
    assert subject.connected() == 1


def test_baileys_counts_go_on_after_it_was_killed_in_the_middle_of_a_line(tmp_path: Path) -> None:
    subject, events = Baileys(tmp_path), tmp_path / "events"
    write(events, {"event": "tally", "received": 2, "acked": 1, "delivered": 0})
    mark = subject.mark()
    write(events, {"event": "tally", "received": 5, "acked": 0, "delivered": 1}, end='\n{"event": "ta')
    write(events, end="\n")
    write(events, {"event": "ready", "stored": 1}, {"event": "tally", "received": 1, "acked": 4, "delivered": 0})
    assert subject.counts(mark) == Counts(6, 4, 1)


async def test_baileys_arrivals_are_those_behind_the_mark(tmp_path: Path) -> None:
    subject, received = Baileys(tmp_path), tmp_path / "received"
    received.write_text("A1 a 1000.000\n")
    mark = subject.mark()
    with received.open("a") as file:
        file.write("A2 b 2000.250\n")
    assert await subject.arrivals(mark) == [Arrival("A2", "b", 2000.25)]


@pytest.mark.parametrize(("size", "per_s"), [(1, 10), (10, 10), (50, 50), (200, 100), (2000, 100)])
def test_offered_is_a_message_a_second_of_each_within_bounds(size: int, per_s: float) -> None:
    assert offered_per_s(size) == per_s
