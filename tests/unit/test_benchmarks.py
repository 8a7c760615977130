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
from benchmarks.askers import Asked, Wish, ask_on
from benchmarks.asking import Asking, asking
from benchmarks.beside import Notes, Program, packed
from benchmarks.edge import Edge
from benchmarks.edge_report import edge_report
from benchmarks.fairness import Bursty, Hammered, Spans, Window
from benchmarks.latency import Passage, Spread
from benchmarks.listeners import frames_in
from benchmarks.measure import Process
from benchmarks.messages import Flow
from benchmarks.profiled import component, growth
from benchmarks.report import conditions, table, verdict, write_json
from benchmarks.sink import NOTES, requests_in
from benchmarks.size import Figures
from benchmarks.sse import Fanout, slower
from benchmarks.talk import Talk
from benchmarks.talk_report import talk_report
from benchmarks.watched import COMMITS, DURABILITY, WANTED, Commits, durability
from benchmarks.webhooks import Hooked, Load

KIB = 1024
ONE = Figures(
    instances=1,
    uss_idle=60_000 * KIB,
    uss_one=61_000 * KIB,
    uss_all=61_000 * KIB,
    uss_all_resumed=60_500 * KIB,
    connect_all_s=0.5,
    idle_window_s=60.0,
    idle_cpu_s=0.6,
    gateway_serving_s=1.0,
    gateway_resume_s=1.2,
    sandbox_resume_s=0.7,
)
MANY = replace(ONE, instances=201, uss_all=101_000 * KIB, uss_all_resumed=90_500 * KIB, idle_cpu_s=2.6)


def cells(title: str) -> list[str]:
    line = next(line for line in table([ONE, MANY]).splitlines() if title in line)
    return line[40:].split()


FLOW = Flow(
    direction="in",
    instances=50,
    offered_per_s=None,
    messages=2000,
    wall_s=4.0,
    gateway_cpu_s=2.5,
    sandbox_cpu_s=4.0,
    way=Spread(2000, 4.25, 21.0, 40.0),
)
CALM = Window(100.0, 200.0, 0.9)


def talked(*, disturbed_ms: float = 30.0, hammered: float = 95.0, calm: tuple[float, ...] = (100.0, 100.0)) -> Talk:
    bursty = Bursty(
        direction="in",
        instances=50,
        calm=Spread(500, 5.0, 15.5, 30.0),
        disturbed=Spread(500, 5.0, disturbed_ms, 60.0),
        burst_per_s=300.0,
    )
    windows = [replace(CALM, per_s=rate) for rate in calm]
    struck = Hammered(direction="out", instances=50, calm=windows, hammered=[Window(hammered, 190.0, 0.9)], waves=12)
    return Talk("synchronous=FULL", [FLOW], [bursty], [struck])


HOOKED = Hooked(
    instances=10,
    offered_per_s=25.0,
    way=Spread(250, 4.5, 19.0, 22.0),
    bare=[Load(400, 0.4), Load(400, 0.44)],
    hooked=[Load(400, 1.24)],
    drained=1000,
    drain_s=4.0,
    drain_cpu_s=2.0,
    duplicates=0,
)
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
ONE_CLIENT = Asking(
    clients=1,
    wall_s=5.0,
    cpu_s=2.0,
    clients_cpu_s=0.5,
    times=Spread(500, 8.0, 20.0, 30.0),
    kinds={"send": Spread(9, 1, 2, 3)},
)


def edged() -> Edge:
    many = replace(ONE_CLIENT, clients=50, times=Spread(2000, 90.0, 300.0, 400.0))
    return Edge("synchronous=FULL", [HOOKED], [ONE_CLIENT, many], [SILENT, CROWD])


def test_table_divides_memory_by_the_further_instances() -> None:
    assert cells("USS per further instance") == ["–", "200"]
    assert cells("only resumed") == ["–", "150"]


def test_table_charges_an_instance_only_what_it_adds() -> None:
    # 2.6 - 0.6 s over 200 further instances in a minute.
    assert cells("CPU per further idle instance-hour") == ["36.0", "0.6"]


@pytest.mark.parametrize(("kib", "word"), [(300, "met"), (301, "MISSED")])
def test_verdict_holds_the_goal_against_the_largest_size(kib: int, word: str) -> None:
    assert word in verdict([ONE, replace(MANY, uss_all=(61_000 + 200 * kib) * KIB)])


def test_verdict_names_what_python_did_not_allocate() -> None:
    text = verdict([replace(MANY, growth={"trio": 50.0 * KIB, "actors.instance": 30.0 * KIB})])
    assert "120.0  not Python's" in text


def test_json_holds_figures_and_conditions_but_no_addresses(tmp_path: Path) -> None:
    write_json([ONE, MANY], tmp_path / "results" / "x.json", talked(), edged(), conditions())
    content = json.loads((tmp_path / "results" / "x.json").read_text())
    assert content["messages"]["flows"][0]["way"]["p99"] == 21.0
    assert [run["instances"] for run in content["runs"]] == [1, 201]
    assert content["edge"]["streamed"][1]["subscribers"] == 50
    assert content["conditions"]["cores"] == os.cpu_count()


def test_messages_are_divided_by_the_gateways_own_cpu() -> None:
    (line,) = [line for line in talk_report(talked()).splitlines() if "flat out " in line and "bursts" not in line]
    assert line.split() == ["50", "flat", "out", "2000", "500", "800", "1.25", "2.00", "4.2/21", "–"]


@pytest.mark.parametrize(("disturbed_ms", "word"), [(31.0, "x 2.00, bar x 2: met"), (31.5, "x 2.03, bar x 2: MISSED")])
def test_a_burst_may_double_the_others_p99(disturbed_ms: float, word: str) -> None:
    assert word in talk_report(talked(disturbed_ms=disturbed_ms))


@pytest.mark.parametrize(
    ("hammered", "calm", "words"),
    [
        (95.0, (100.0, 100.0), "cost 5 %, bar 10 %: met"),
        (89.0, (100.0, 100.0), "cost 11 %, bar 10 %: MISSED"),
        (95.0, (90.0, 110.0), "too noisy to tell"),
    ],
)
def test_equal_keys_are_held_against_calm_windows(hammered: float, calm: tuple[float, ...], words: str) -> None:
    assert words in talk_report(talked(hammered=hammered, calm=calm))


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


@pytest.mark.parametrize(("name", "value"), [("synchronous", 1), ("journal_mode", "memory")])
def test_durability_refuses_a_writer_that_is_not(tmp_path: Path, name: str, value: object) -> None:
    (tmp_path / DURABILITY).write_text(json.dumps(dict(WANTED)))
    assert "synchronous=FULL" in durability(tmp_path)
    (tmp_path / DURABILITY).write_text(json.dumps({**WANTED, name: value}))
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
        (str(Path(__file__).parents[2] / "actors" / "instance" / "actor.py"), "actors.instance"),
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


def test_a_delivery_costs_what_it_adds_to_its_message() -> None:
    assert HOOKED.added_cpu_ms == pytest.approx(2.05)
    text = edge_report(edged())
    assert "rate limits, pacing and budgets off; synchronous=FULL" in text
    assert "1.05 without, 3.10 with a delivery: x 2.95, so 2.05 for a delivery; windows without differ by 10 %" in text
    assert "replay of 1000, nothing else going on: 500 deliveries per CPU s of the gateway, 250/s" in text
    assert "25 events/s: p50/p99 4.5/19 ms (250)" in text


def test_a_price_of_noise_is_called_that() -> None:
    found = Edge("", [replace(HOOKED, bare=[Load(400, 0.4), Load(400, 0.6)], way=Spread(50, 1, 2, 3))])
    assert "for a delivery (too noisy to tell)" in edge_report(found)
    assert "(50: too few for a p99)" in edge_report(found)


def test_fan_out_is_held_against_nobody_listening() -> None:
    *_, crowd = [line for line in edge_report(edged()).splitlines() if " 4990 " in line]
    assert crowd.split() == ["50", "0", "100", "4990", "10", "499", "3.0/9.0", "30", "5.0/50", "x", "2.50"]
    assert slower([CROWD], CROWD) is None


def test_api_figures_are_divided_by_wall_and_by_cpu() -> None:
    text = edge_report(edged())
    assert "api: 1 client, mixed requests: 100/s, 250 per CPU s of the gateway; p50/p99 8.0/20 ms" in text
    assert "50 clients instead of 1: x 4.00 requests/s, p99 x 15.0 (20 to 300 ms)" in text


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
