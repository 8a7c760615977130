"""Goals, tables, Markdown and plots, from results that are made up."""

from __future__ import annotations

import json
import re
from pathlib import Path
from xml.etree import ElementTree as Xml

import pytest

from benchmarks.findings.figures import FIGURES, KIB, MIB, SCENARIO_TITLES
from benchmarks.findings.goals import COSTS, GOALS, Verdict, checked
from benchmarks.findings.machine import cpu_model, described, file_system, machine
from benchmarks.findings.results import Place, Record, Results, RunFolder
from benchmarks.report.data import as_json
from benchmarks.report.markdown import markdown, write
from benchmarks.report.svg import Axis, Chart, Mark, Point, Series, log_ticks, nice_ticks, spread_out
from benchmarks.report.terminal import terminal


def results(**figures: float) -> Results:
    """Of ours, at N = 50."""
    return Results([Record(Place("any", "whatisup", 50, 1), figures)])


def verdict(title: str, found: Results) -> Verdict:
    (one,) = [goal for goal in checked(found) if title in goal.title]
    return one.verdict


def fill(folder: RunFolder, *, sizes: tuple[int, ...] = (1, 50, 200), rounds: int = 3) -> None:
    """A made-up run of everything."""
    machine = {"cpu": "A processor", "cores": 2, "memory_bytes": 8 * 1024**3, "load_1min": 0.1}
    folder.begin({"is_full": True}, machine)
    folder.note("durability of whatisup", "synchronous=FULL")
    for number in range(1, rounds + 1):
        for size in sizes:
            for subject, factor in (("whatisup", 1.0), ("baileys", 8.0)):
                off = 1 + 0.05 * number
                connect = {"rss": factor * MIB * (60 + size * 0.15) * off, "uss": factor * MIB * (50 + size * 0.1)}
                if size > 10:
                    connect["session_uss"] = factor * 120 * KIB * off
                inbound = {"in_per_cpu_s": 1600 / factor * off}
                inbound |= {"in_p50_ms": 4.0 * factor, "in_p99_ms": 20.0 * factor}
                folder.keep(Record(Place("connect", subject, size, number), connect))
                folder.keep(Record(Place("inbound", subject, size, number), inbound | {"in_offered_per_s": 500.0}))
                resume = {"resume_s": factor * (1 + size / 100), "storm_s": 3.0}
                folder.keep(Record(Place("resume", subject, size, number), resume))


@pytest.mark.parametrize(
    ("title", "figure", "good", "bad"),
    [
        ("further session, idle", "session_uss", 150.0 * KIB, 151.0 * KIB),
        ("messages in per CPU second, N", "in_per_cpu_s", 1500.0, 1499.0),
        ("messages out per CPU second", "out_per_cpu_s", 500.0, 499.0),
        ("nothing lost", "soak_lost", 0.0, 1.0),
        ("no slope in memory", "soak_uss_slope_low", -1.0, 1.0),
    ],
)
def test_goals_are_met_up_to_their_bound(title: str, figure: str, good: float, bad: float) -> None:
    assert verdict(title, results(**{figure: good})) is Verdict.MET
    assert verdict(title, results(**{figure: bad})) is Verdict.MISSED


def test_goals_that_were_not_measured_say_so() -> None:
    assert {one.verdict for one in checked(Results())} == {Verdict.NOT_MEASURED}
    assert len(checked(Results())) == len(GOALS)


def test_times_at_a_rate_do_not_count_where_less_was_offered() -> None:
    assert (
        verdict("p99 to durable row", results(in_goal_p99_ms=5.0, in_goal_offered_per_s=250.0)) is Verdict.NOT_MEASURED
    )
    assert verdict("p99 to durable row", results(in_goal_p99_ms=5.0, in_goal_offered_per_s=500.0)) is Verdict.MET
    assert verdict("p99 to durable row", results(in_goal_p99_ms=51.0, in_goal_offered_per_s=500.0)) is Verdict.MISSED


def test_a_further_session_is_priced_up_to_200_or_to_the_largest_size_below() -> None:
    def of(ours: dict[int, float], theirs: dict[int, float]) -> list[tuple[str, str, Verdict, int]]:
        sizes = [("whatisup", n, v) for n, v in ours.items()] + [("baileys", n, v) for n, v in theirs.items()]
        records = [Record(Place("connect", who, n, 1), {"session_uss": v * KIB}) for who, n, v in sizes]
        found = [one for one in checked(Results(records)) if "further session" in one.title and "10 to" in one.title]
        return [(one.title.split("= ")[1], one.value, one.verdict, one.size) for one in found]

    assert of({50: 160, 200: 90, 1000: 300}, {50: 1000, 200: 900}) == [
        ("10 to 200", "90 KiB", Verdict.MET, 200),
        ("10 to 200", "x 10.00", Verdict.MET, 200),
    ]
    assert of({50: 160, 200: 90}, {50: 800}) == [
        ("10 to 200", "90 KiB", Verdict.MET, 200),
        ("10 to 50", "x 5.00", Verdict.MISSED, 50),
    ]
    assert of({50: 160}, {}) == [
        ("10 to 50", "160 KiB", Verdict.MISSED, 50),
        ("10 to 200", "–", Verdict.NOT_MEASURED, 200),
    ]


def test_growth_of_a_cost_is_fitted_over_the_sizes() -> None:
    def of(sizes: dict[int, float]) -> Results:
        return Results([Record(Place("connect", "whatisup", n, 1), {"session_uss": v}) for n, v in sizes.items()])

    title = "memory of a further session does not grow"
    assert verdict(title, of({50: 100.0, 200: 101.0, 1000: 99.0})) is Verdict.MET
    assert verdict(title, of({50: 100.0, 200: 150.0, 1000: 220.0})) is Verdict.MISSED
    assert verdict(title, of({50: 100.0})) is Verdict.NOT_MEASURED


def test_growth_of_a_cost_leaves_out_what_the_process_costs_by_itself() -> None:
    def of(sizes: dict[int, float]) -> Results:
        return Results([Record(Place("resume", "whatisup", n, 1), {"resume_cpu_s": v}) for n, v in sizes.items()])

    (cost,) = [one for one in COSTS if one.key == "resume_cpu_s"]
    linear = of({n: 1.0 + 0.02 * (n - 1) for n in (1, 50, 200, 1000)})
    assert cost.exponent(linear, "whatisup") == pytest.approx(0.0)
    assert cost.costs(linear, "whatisup") == pytest.approx({50: 0.02, 200: 0.02, 1000: 0.02})
    assert cost.costs(of({50: 1.0, 200: 2.0}), "whatisup") == {50: 0.02, 200: 0.01}


def test_every_figure_belongs_to_a_scenario_and_every_goal_to_a_figure() -> None:
    assert {figure.scenario for figure in FIGURES.values()} == set(SCENARIO_TITLES)
    assert {goal.key for goal in GOALS if goal.key} <= set(FIGURES)


def test_terminal_shows_both_subjects_their_ratio_and_the_goal(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    fill(folder)
    text = terminal(folder)
    (line,) = [one for one in text.splitlines() if "messages per CPU second" in one and "≥ 1500: met" in one]
    assert "1,760 (1,680…1,840)" in line
    assert "x 8.0" in line
    assert "durability of whatisup: synchronous=FULL" in text
    assert "Messages in, N = 50 (3 rounds)" in text


def test_markdown_is_whole_and_the_same_again(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    fill(folder)
    path = write(folder, tmp_path / "out")
    text = path.read_text()
    assert text == write(folder, tmp_path / "out").read_text()
    assert "| Processor | A processor, 2 cores |" in text
    assert "make bench-full" in text
    assert "| messages in per CPU second, N = 50 | ≥ 1500 | 1,760 | met |" in text
    assert "## How costs grow" in text
    for table in re.findall(r"(?:^\|.*\|$\n?)+", text, re.MULTILINE):
        assert len({len(re.findall(r"(?<!\\)\|", row)) for row in table.splitlines()}) == 1, table
    plots = re.findall(r"\(plots/([a-z-]+\.svg)\)", text)
    assert {"memory.svg", "cpu-in.svg", "latency-in.svg", "resume.svg"} <= set(plots)
    for name in plots:
        Xml.parse(path.parent / "plots" / name)


def test_markdown_of_one_round_and_size_has_no_plots_but_tables(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    fill(folder, sizes=(1,), rounds=1)
    text = write(folder, tmp_path / "out").read_text()
    assert "plots/" not in text
    assert "## Messages in" in text


def test_markdown_tells_what_failed(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    fill(folder)
    folder.fail("baileys", 200, 1, ["storm"], ["RuntimeError: a | b\nc"])
    assert "| baileys | 200 | 1 | storm | RuntimeError: a \\| b c |" in markdown(folder)


def test_soak_is_drawn_from_its_samples(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    fill(folder)
    lines = [{"at_s": 10.0 * n, "uss": 90 * MIB + n, "rss": 120 * MIB} for n in range(30)]
    (folder.path / "soak.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert "(plots/soak.svg)" in write(folder, tmp_path / "out").read_text()


def test_json_holds_every_round(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    fill(folder)
    content = json.loads(as_json(folder))
    (row,) = [
        one
        for one in content["figures"]
        if (one["figure"], one["n"], one["subject"]) == ("in_per_cpu_s", 50, "whatisup")
    ]
    assert row["by_round"] == {"1": 1680.0, "2": pytest.approx(1760.0), "3": pytest.approx(1840.0)}
    assert content["goals"][0]["verdict"] == "met"


def test_chart_is_well_formed_whatever_it_is_given() -> None:
    one = Series("a < b & c", [Point(1, 2, 1, 3), Point(1000, 2)], "a")
    for is_log in (True, False):
        chart = Chart("t > 1", Axis("x, s", is_log), Axis("y, ms", is_log), [one], "n & m", [Mark("goal", 5)])
        root = Xml.fromstring(chart.svg())
        texts = ["".join(node.itertext()) for node in root.iter("{http://www.w3.org/2000/svg}text")]
        assert {"t > 1", "x, s", "y, ms", "a < b & c", "goal"} <= set(texts)


def test_ticks_are_round_and_hold_everything() -> None:
    assert nice_ticks(0, 97) == [0, 20, 40, 60, 80, 100]
    assert nice_ticks(4.2, 4.9) == [4.2, 4.4, 4.6, 4.8, 5.0]
    assert len(nice_ticks(3, 3)) > 1
    assert log_ticks(3, 40) == [2, 5, 10, 20, 50]
    assert log_ticks(5, 5) == [5, 10]
    assert log_ticks(1.5, 90000)[-1] >= 90000


def test_names_are_moved_apart_and_stay_inside() -> None:
    assert spread_out([10, 11, 12], 16, 0, 100) == [10, 26, 42]
    assert spread_out([90, 95, 99], 16, 0, 100) == [68, 84, 100]
    assert spread_out([], 16, 0, 100) == []


def test_machine_is_described_without_naming_it(tmp_path: Path) -> None:
    found = machine(tmp_path)
    text = json.dumps(found) + json.dumps(described(found))
    assert str(tmp_path) not in text
    assert found["fsync_p50_ms"] > 0
    assert found["cores"] > 0
    assert cpu_model("processor : 0\nmodel name\t: Some  CPU @ 2GHz\n") == "Some CPU @ 2GHz"


def test_file_system_is_that_of_the_longest_mount_point(tmp_path: Path) -> None:
    mounts = f"a / ext4 rw 0 0\nb {tmp_path} xfs rw 0 0\nc {tmp_path}x tmpfs rw 0 0\n"
    assert file_system(tmp_path / "below", mounts) == "xfs"
    assert file_system(tmp_path.parent, mounts) == "ext4"
