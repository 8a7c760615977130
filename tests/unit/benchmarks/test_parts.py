"""The arithmetic and the words of the benchmarks; the processes they measure are not started here."""

from __future__ import annotations

import json
import os
import random
import struct
import tracemalloc
from dataclasses import replace
from pathlib import Path

import pytest
import trio

from api.demo.client import Client
from benchmarks.extras.extra import bursty_lines, hammered_lines, streamed
from benchmarks.extras.fairness import Bursty, Hammered, Spans, Window
from benchmarks.extras.profiled import component, growth
from benchmarks.extras.profiling import growth_text
from benchmarks.extras.sse import Fanout, slower
from benchmarks.probes.process import Process
from benchmarks.probes.spread import Spread
from benchmarks.probes.watched import COMMITS, DURABILITY, WANTED, Commits, durability
from benchmarks.scenarios.api import asking
from benchmarks.scenarios.passages import Passage
from benchmarks.scenarios.soak import OF_THE_CONTACT, OF_THE_SESSION, Sample, drawn, slopes
from benchmarks.scenarios.webhook import Load, added_cpu_ms, whole_ways
from benchmarks.subjects.subject import Pair
from benchmarks.traffic.askers import Asked, Wish, ask_on
from benchmarks.traffic.listeners import frames_in
from benchmarks.traffic.programs import Notes, Program, packed
from benchmarks.traffic.sink import NOTES, requests_in

KIB = 1024
CALM = Window(100.0, 200.0, 0.9)


def burst(disturbed_ms: float) -> Bursty:
    return Bursty(
        direction="in",
        instances=50,
        calm=Spread(500, 5.0, 15.5, 30.0),
        disturbed=Spread(500, 5.0, disturbed_ms, 60.0),
        burst_per_s=300.0,
    )


def struck(hammered: float, calm: tuple[float, ...]) -> Hammered:
    windows = [replace(CALM, per_s=rate) for rate in calm]
    return Hammered(direction="out", instances=50, calm=windows, hammered=[Window(hammered, 190.0, 0.9)], waves=12)


SILENT = Fanout(
    subscribers=0,
    refused=0,
    events=100,
    frames=0,
    wall_s=10.0,
    cpu_s=1.0,
    lag=Spread.of([]),
    way=Spread(100, 4.0, 20.0, 30.0),
)
CROWD = replace(
    SILENT, subscribers=50, frames=4990, cpu_s=3.0, lag=Spread(4990, 3.0, 9.0, 10.0), way=Spread(100, 5, 50, 60)
)


@pytest.mark.parametrize(("disturbed_ms", "word"), [(31.0, "x 2.00, bar x 2: met"), (31.5, "x 2.03, bar x 2: MISSED")])
def test_a_burst_may_double_the_others_p99(disturbed_ms: float, word: str) -> None:
    assert word in bursty_lines(burst(disturbed_ms))[0]


@pytest.mark.parametrize(
    ("hammered", "calm", "words"),
    [
        (95.0, (100.0, 100.0), "cost 5 %, bar 10 %: met"),
        (89.0, (100.0, 100.0), "cost 11 %, bar 10 %: MISSED"),
        (95.0, (90.0, 110.0), "too noisy to tell"),
    ],
)
def test_equal_keys_are_held_against_calm_windows(hammered: float, calm: tuple[float, ...], words: str) -> None:
    assert words in hammered_lines(struck(hammered, calm))[0]


def test_spread_takes_ranks_of_what_was_measured() -> None:
    assert Spread.of(float(number) for number in range(200, 0, -1)) == Spread(200, 100.0, 198.0, 200.0)
    assert Spread.of([7.0, 3.0]) == Spread(2, 3.0, 7.0, 7.0)
    assert Spread.of([]) == Spread(0, 0.0, 0.0, 0.0)


@pytest.mark.parametrize(
    ("begun_at", "ended_at", "met"), [(0, 99, False), (0, 100, True), (200, 300, True), (201, 250, False)]
)
def test_a_message_meets_a_burst_while_both_are_on_their_way(begun_at: float, ended_at: float, met: bool) -> None:
    spans = Spans()
    spans.add(100.0, 200.0, 50)
    assert spans.meet(Passage("inst_1", begun_at, ended_at)) is met
    assert spans.per_s == 500.0


def test_commits_say_when_an_event_was_durable(tmp_path: Path) -> None:
    records = [(1_000_000_000, 5, 5), (2_000_000_000, 6, 9), (3_500_000_000, 12, 12)]
    (tmp_path / COMMITS).write_bytes(b"".join(struct.pack("<QQQ", *record) for record in records) + b"begun")
    commits = Commits.read(tmp_path)
    assert [commits.at_ms(position) for position in (5, 6, 9, 12)] == [1000.0, 2000.0, 2000.0, 3500.0]
    assert [commits.at_ms(position) for position in (4, 10, 13)] == [None, None, None]


@pytest.mark.parametrize(
    ("database", "shown", "name", "value"),
    [
        ("sqlite", "synchronous=FULL", "synchronous", 1),
        ("sqlite", "journal_mode=WAL", "journal_mode", "memory"),
        ("postgresql", "synchronous_commit=on", "synchronous_commit", "off"),
        ("postgresql", "fsync=on", "fsync", "off"),
    ],
)
def test_durability_refuses_a_writer_that_is_not(
    tmp_path: Path, database: str, shown: str, name: str, value: object
) -> None:
    wanted = dict(WANTED[database])
    (tmp_path / DURABILITY).write_text(json.dumps([database, wanted]))
    assert shown in durability(tmp_path)
    (tmp_path / DURABILITY).write_text(json.dumps([database, {**wanted, name: value}]))
    with pytest.raises(RuntimeError, match="not durable"):
        durability(tmp_path)


def test_growth_sums_by_component(tmp_path: Path) -> None:
    tracemalloc.start()
    try:
        tracemalloc.take_snapshot().dump(str(tmp_path / "before"))
        held = [bytes(1000) for _ in range(100)]
        tracemalloc.take_snapshot().dump(str(tmp_path / "after"))
    finally:
        tracemalloc.stop()
    assert len(held) == 100
    assert growth(tmp_path / "before", tmp_path / "after", 100)["tests.unit"] == pytest.approx(1033, rel=0.2)


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("lib/python3.11/site-packages/trio/_ssl.py", "trio"),
        (str(Path(__file__).parents[3] / "actors" / "instance" / "actor.py"), "actors.instance"),
        ("lib/python3.11/ssl.py", "python: ssl"),
        ("<frozen importlib>", "python"),
    ],
)
def test_component_names_the_owner_of_a_file(path: str, name: str) -> None:
    assert component(path) == name


async def test_process_measures_this_one() -> None:
    process = Process(os.getpid())
    assert process.uss_bytes > 1_000_000
    assert process.cpu_s > 0


# --- the customers' side --------------------------------------------------------------------------------------------


def test_fan_out_is_held_against_nobody_listening() -> None:
    *_, crowd = [line for line in streamed([SILENT, CROWD]).splitlines() if " 4990 " in line]
    assert crowd.split() == ["50", "0", "100", "4990", "10", "499", "3.0/9.0", "30", "5.0/50", "x", "2.50"]
    assert slower([CROWD], CROWD) is None


@pytest.mark.parametrize(
    ("statuses", "broken"), [({"200": 9, "429": 1}, 0), ({"200": 9, "500": 1}, 0), ({"200": 9}, 1)]
)
def test_asking_refuses_a_run_with_errors(statuses: dict[str, int], broken: int) -> None:
    spread = {"count": 9, "p50": 1.0, "p99": 2.0, "longest": 3.0}
    said = {"wall_s": 1.0, "cpu_s": 0.1, "spreads": {"all": spread}, "statuses": {"200": 9}, "broken": 0}
    assert asking(1, 1.0, said).per_s == 9.0
    with pytest.raises(RuntimeError, match="not every request was answered well"):
        asking(1, 1.0, {**said, "statuses": statuses, "broken": broken})


EVENT = b"evt_01JAAAAAAAAAAAAAAAAAAAAAAA"


def test_requests_in_takes_whole_requests_and_keeps_the_rest() -> None:
    request = b"POST / HTTP/1.1\r\nWebhook-Id: " + EVENT + b"\r\ncontent-length: 3\r\n\r\nabc"
    assert requests_in(request + request[:-1]) == ([EVENT], request[:-1])
    assert requests_in(request[:20]) == ([], request[:20])
    found, rest = requests_in(request + request[:40])
    assert requests_in(rest + request[40:]) == ([EVENT], b"")
    assert found == [EVENT]


def test_frames_in_finds_each_event_once_however_it_is_cut() -> None:
    frame = b"57\r\nid: " + EVENT + b"\ndata: {}\n\n\r\n"
    stream = b"retry: 2000\n\n\r\n" + frame * 3 + b": keepalive\n\n"
    for size in (1, 7, 33, 34, 35, 64, 1000):
        found, rest = [], b""
        for start in range(0, len(stream), size):
            some, rest = frames_in(rest + stream[start : start + size])
            found += some
        assert found == [EVENT] * 3, size


def test_notes_are_read_as_they_were_written(tmp_path: Path) -> None:
    notes = Notes(tmp_path / "notes")
    assert notes.count() == 0
    notes.path.write_bytes(packed([EVENT, EVENT], 1_500_000) + packed([EVENT], 2_000_000) + b"begun")
    assert notes.count() == 3
    assert notes.since(1) == [(EVENT.decode(), 1.5), (EVENT.decode(), 2.0)]


async def test_sink_answers_askers_and_notes_what_it_took(tmp_path: Path) -> None:
    sink = Program("sink", tmp_path)
    try:
        await sink.start()
        client = Client("127.0.0.1", int((await sink.said())["port"]), "key")
        asked = Asked()
        wishes = [Wish("read", 1, ["/a"]), Wish("write", 1, ["/b"], [{"n": 1}])]
        with trio.fail_after(10):
            await ask_on(client, wishes, random.Random(1), trio.current_time() + 0.2, asked)
    finally:
        await sink.kill()
    assert set(asked.times_ms) == {"read", "write"}
    assert asked.statuses == {200: sum(map(len, asked.times_ms.values()))}
    assert asked.broken == 0
    assert Notes(tmp_path / NOTES).count() == asked.statuses[200]


def test_a_delivery_costs_what_it_adds_to_its_message() -> None:
    assert added_cpu_ms([Load(400, 0.4), Load(400, 0.44)], [Load(400, 1.24)]) == pytest.approx(2.05)


def test_a_webhooks_way_begins_at_the_contact_and_ends_at_its_first_arrival() -> None:
    sent, events = {"wa1": 100.0, "wa2": 200.0}, {"evt1": "wa1", "evt2": "wa2", "evt3": "wa3"}
    notes = [("evt1", 110.0), ("evt2", 230.0), ("evt1", 900.0), ("evt3", 5.0), ("evt4", 5.0)]
    assert whole_ways(sent, events, notes) == Spread(2, 10.0, 30.0, 30.0)


# --- the soak -------------------------------------------------------------------------------------------------------


def test_slopes_leave_the_first_fifth_out() -> None:
    samples = [Sample(10.0 * n, (900 if n < 40 else 1000) * KIB, 0, 50, 4, 100 + n // 20, n, 0) for n in range(200)]
    found = slopes(samples)
    assert found["soak_uss_slope_kib_per_h"] == 0
    assert found["soak_task_slope_low"] > 0
    assert found["soak_wal_mib_max"] == 199 / KIB / KIB


def test_slopes_of_a_few_samples_are_none() -> None:
    assert slopes([Sample(0.0, 1, 1, 1, 1, 1, 1, 1)]) == {"soak_wal_mib_max": 1 / KIB / KIB}
    assert slopes([]) == {"soak_wal_mib_max": 0.0}


def test_faults_are_drawn_from_the_seed_for_sessions_and_contacts() -> None:
    pairs = [Pair(f"inst_{n}", f"4915200000{n:02}", f"4915300000{n:02}") for n in range(20)]
    first, second = ([drawn(dice, pairs) for _ in range(300)] for dice in (random.Random(1), random.Random(1)))
    assert first == second
    assert {one.name for one in first} == {*OF_THE_SESSION, *OF_THE_CONTACT}
    contacts = {pair.contact for pair in pairs}
    assert all((one.scope.number in contacts) is (one.name in OF_THE_CONTACT) for one in first)


def test_profile_names_what_python_did_not_allocate() -> None:
    text = growth_text({"trio": 50.0 * KIB, "actors.instance": 30.0 * KIB, "tiny": 1.0}, 200.0 * KIB, 50)
    assert "   50.0  trio" in text
    assert "  120.0  not Python's" in text
    assert "tiny" not in text
