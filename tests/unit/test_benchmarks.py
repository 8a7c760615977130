"""The arithmetic and the words of the benchmarks; the processes they measure are not started here."""

from __future__ import annotations

import json
import os
import tracemalloc
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.measure import Process
from benchmarks.profiled import component, growth
from benchmarks.report import conditions, table, verdict, write_json
from benchmarks.size import Figures
from benchmarks.talk import Talk

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
    write_json([ONE, MANY], tmp_path / "results" / "x.json", Talk(), conditions())
    content = json.loads((tmp_path / "results" / "x.json").read_text())
    assert [run["instances"] for run in content["runs"]] == [1, 201]
    assert content["conditions"]["cores"] == os.cpu_count()


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
