"""The command line of the benchmarks: what is planned, gone on with, reported, and how a run is ended."""

from __future__ import annotations

import io
import os
import signal
from pathlib import Path

import pytest
import trio

from benchmarks import __main__ as command
from benchmarks.findings.results import Place, Record, RunFolder
from benchmarks.run.progress import Progress


def planned(*words: str) -> command.Plan:
    return command.planned(command._parse(words))


def test_a_quick_run_is_bounded_and_has_two_sizes() -> None:
    plan = planned()
    assert plan.sizes == (1, 50)
    assert plan.subjects == ("whatisup", "baileys")
    assert plan.limit_s is not None
    assert plan.limit_s < command.LIMIT_S < 600
    assert not plan.options.is_full


def test_a_full_run_has_all_sizes_and_takes_as_long_as_it_takes() -> None:
    plan = planned("--full", "--soak-s", "60")
    assert plan.sizes == (1, 10, 50, 200, 1000, 2000)
    assert (plan.rounds, plan.limit_s, plan.options.soak_s) == (3, None, 60.0)


def test_a_run_is_narrowed_by_its_options() -> None:
    plan = planned("--sizes", "10,1,10", "--rounds", "1", "--subject", "whatisup", "--only", "inbound", "--idle-s", "3")
    assert (plan.sizes, plan.rounds, plan.subjects, plan.only) == ((1, 10), 1, ("whatisup",), ("inbound",))
    assert plan.options.idle_s == 3.0


def test_a_full_run_goes_on_with_its_newest_unfinished_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "RESULTS", tmp_path)
    plan = planned("--full").as_json()
    RunFolder(tmp_path / "2026-01-01T000000Z").begin(plan, {})
    assert command._folder(command._parse(["--full"]), plan).path == tmp_path / "2026-01-01T000000Z"
    assert command._folder(command._parse(["--full", "--fresh"]), plan).path.name > "2026-01-02"
    assert command._folder(command._parse([]), plan).path.name > "2026-01-02"
    RunFolder(tmp_path / "2026-01-01T000000Z").finish()
    assert command._folder(command._parse(["--full"]), plan).path.name > "2026-01-02"


@pytest.mark.parametrize(
    "words", [["--full", "--seed", "7"], ["--only", "soak", "--sizes", "9", "--subject", "whatisup"]]
)
def test_a_run_that_is_gone_on_with_is_what_it_was_begun_as(tmp_path: Path, words: list[str]) -> None:
    plan = planned(*words)
    RunFolder(tmp_path).begin(plan.as_json(), {})
    again = command._as_begun(command._parse(["--resume", str(tmp_path), "--rounds", "9"]))
    assert command.planned(again) == plan


def test_a_run_from_before_there_was_a_choice_of_database_is_gone_on_with(tmp_path: Path) -> None:
    plan = planned("--full")
    RunFolder(tmp_path).begin({name: value for name, value in plan.as_json().items() if name != "database"}, {})
    assert command.planned(command._as_begun(command._parse(["--resume", str(tmp_path)]))) == plan


def test_report_is_made_again_without_measuring(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(command, "HERE", tmp_path / "here")
    (tmp_path / "here").mkdir()
    assert command.main(["--report", str(tmp_path)]) == 1
    folder = RunFolder(tmp_path / "run")
    folder.begin({}, {})
    folder.keep(Record(Place("connect", "whatisup", 50, 1), {"rss": 1.0}))
    assert command.main(["--report", str(folder.path)]) == 0
    assert (tmp_path / "here" / "RESULTS.md").exists()
    assert "RSS with all, MiB" in capsys.readouterr().out


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_a_signal_ends_a_run_in_order(number: signal.Signals) -> None:
    out, ended = io.StringIO(), []

    async def work() -> None:
        try:
            os.kill(os.getpid(), number)
            await trio.sleep(30)
        finally:
            ended.append("processes")

    with trio.fail_after(10):
        assert not await command._bounded(work, Progress(out, is_terminal=False), None)
    assert ended == ["processes"]
    assert "interrupted" in out.getvalue()


async def test_a_run_ends_when_its_time_is_up() -> None:
    out = io.StringIO()
    assert not await command._bounded(trio.sleep_forever, Progress(out, is_terminal=False), 0.01)
    assert "stopped after" in out.getvalue()
