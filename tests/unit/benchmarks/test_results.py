"""What a run keeps, and what is asked of it: medians, ratios within a round, going on after an interruption."""

from __future__ import annotations

from pathlib import Path

from benchmarks.findings.results import FAILURES, RECORDS, Place, Record, Results, RunFolder, Summary, newest_unfinished


def record(
    subject: str, number: int, value: float, size: int = 50, key: str = "rss", scenario: str = "connect"
) -> Record:
    return Record(Place(scenario, subject, size, number), {key: value})


def test_summary_is_the_median_with_its_ends() -> None:
    assert Summary.of([3.0, 1.0, 2.0]) == Summary(2.0, 1.0, 3.0, 3)
    assert Summary.of([1.0, float("nan"), float("inf")]) == Summary(1.0, 1.0, 1.0, 1)
    assert Summary.of([]) is None


def test_ratio_is_taken_within_a_round_and_then_the_median() -> None:
    ours = [record("whatisup", number, value) for number, value in ((1, 10.0), (2, 20.0), (3, 40.0))]
    theirs = [record("baileys", number, value) for number, value in ((1, 50.0), (2, 60.0), (4, 9999.0))]
    found = Results([*ours, *theirs]).ratio("rss", 50)
    assert found == Summary(4.0, 3.0, 5.0, 2)
    assert Results(ours).ratio("rss", 50) is None


def test_figures_are_found_by_size() -> None:
    results = Results([record("whatisup", 1, 5.0, size=50), record("whatisup", 1, 1.0, size=1)])
    assert {size: found.median for size, found in results.by_size("rss", "whatisup").items()} == {1: 1.0, 50: 5.0}
    assert results.sizes("inbound") == []


def test_records_survive_and_the_later_one_holds(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    folder.begin({"sizes": [1]}, {"cores": 2})
    folder.keep(record("whatisup", 1, 5.0))
    folder.keep(record("whatisup", 1, 6.0))
    assert [one.figures for one in folder.results().records] == [{"rss": 6.0}]


def test_a_line_that_was_cut_off_costs_only_itself(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    folder.begin({}, {})
    folder.keep(record("whatisup", 1, 5.0))
    with (folder.path / RECORDS).open("a") as file:
        file.write('{"scenario": "conn')
    folder.keep(record("whatisup", 2, 6.0))
    assert [one.place.round for one in folder.results().records] == [1, 2]


def test_beginning_again_keeps_what_it_began_with(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    folder.begin({"sizes": [1]}, {"load_1min": 0.1})
    folder.begin({"sizes": [1]}, {"load_1min": 3.0})
    assert folder.machine() == {"load_1min": 0.1}


def test_a_failure_counts_until_it_is_made_up_for(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    folder.fail("whatisup", 50, 1, ["connect", "inbound"], ["RuntimeError: no"])
    folder.keep(record("whatisup", 1, 5.0))
    assert [row["why"] for row in folder.failures()] == [["RuntimeError: no"]]
    folder.keep(record("whatisup", 1, 5.0, scenario="inbound"))
    assert folder.failures() == []
    assert (tmp_path / FAILURES).exists()


def test_notes_are_kept_by_name(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    folder.note("durability", "FULL")
    folder.note("durability", "FULL, WAL")
    assert folder.notes() == {"durability": "FULL, WAL"}


def test_newest_unfinished_run_of_the_same_plan_is_gone_on_with(tmp_path: Path) -> None:
    for name, plan in (("1", {"a": 1}), ("2", {"a": 1}), ("3", {"a": 1}), ("4", {"a": 2})):
        RunFolder(tmp_path / name).begin(plan, {})
    RunFolder(tmp_path / "3").finish()
    found = newest_unfinished(tmp_path, lambda plan: plan == {"a": 1})
    assert found == RunFolder(tmp_path / "2")
    assert newest_unfinished(tmp_path, lambda plan: plan == {"a": 3}) is None
