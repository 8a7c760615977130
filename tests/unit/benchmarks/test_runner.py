"""The order of laps, the time they may take, and what becomes of failures; the laps are made up."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
import trio
from trio.testing import MockClock

from benchmarks.findings.results import SAMPLES, RunFolder
from benchmarks.live import Options
from benchmarks.run.plan import Plan, Step, missing
from benchmarks.run.progress import Progress
from benchmarks.run.runner import Runner
from tests.npm import Unavailable

PLAN = Plan(sizes=(1, 50), rounds=2)


@dataclass(slots=True)
class Laps:
    """Made-up laps: each takes a second for each scenario, and some fail."""

    cost_s: Callable[[str, int], float] = lambda subject, size: 1.0
    failing: set[tuple[str, int]] = field(default_factory=set)
    absent: str = ""
    ran: list[tuple[str, int, tuple[str, ...]]] = field(default_factory=list)
    options: list[Options] = field(default_factory=list)
    folders: list[Path] = field(default_factory=list)

    async def __call__(
        self,
        subject: str,
        size: int,
        scenarios: Sequence[str],
        folder: Path,
        *,
        say: Callable[[str], None],
        keep: Callable[[str, Mapping[str, float]], None],
        options: Options,
    ) -> None:
        self.ran.append((subject, size, tuple(scenarios)))
        if subject == self.absent:
            raise Unavailable("no Node")
        self.options.append(options)
        self.folders.append(folder)
        say("limits and pacing are off; synchronous=FULL")
        (folder / "gateway.log").write_text("one\nwhat went wrong\n")
        for scenario in scenarios:
            await trio.sleep(self.cost_s(subject, size))
            if (subject, size) in self.failing and scenario == "inbound":
                raise ExceptionGroup("all of it", [RuntimeError("no message came")])
            keep(scenario, {"rss": float(size)})
            if scenario == "soak":
                (folder / SAMPLES).write_text('{"at_s": 0}\n')


def runner(plan: Plan, path: Path, laps: Laps) -> tuple[Runner, io.StringIO]:
    out = io.StringIO()
    folder = RunFolder(path)
    folder.begin(plan.as_json(), {})
    return Runner(plan, folder, laps, Progress(out, trio.current_time), trio.current_time), out


def order(plan: Plan) -> list[tuple[int, int, str]]:
    return [(step.round, step.size, step.subject) for heat in plan.heats() for step in heat]


def test_rounds_are_interleaved_and_subjects_and_sizes_take_turns_to_be_first() -> None:
    assert order(PLAN) == [
        (1, 1, "whatisup"), (1, 1, "baileys"), (1, 50, "whatisup"), (1, 50, "baileys"),
        (2, 50, "baileys"), (2, 50, "whatisup"), (2, 1, "baileys"), (2, 1, "whatisup"),
    ]  # fmt: skip


def test_what_only_a_gateway_has_is_run_at_one_size_for_us_alone() -> None:
    there = {(step.size, step.subject) for heat in PLAN.heats() for step in heat if "api" in step.scenarios}
    assert there == {(50, "whatisup")}
    assert not [step for heat in PLAN.heats() for step in heat if "soak" in step.scenarios]


def test_a_full_run_bounds_baileys_and_ends_with_the_soak() -> None:
    plan = replace(PLAN, sizes=(10, 200, 1000), rounds=3, is_full=True)
    steps = [step for heat in plan.heats() for step in heat]
    assert max(step.size for step in steps if step.subject == "baileys") == 200
    assert [step.round for step in steps if step.size == 1000] == [1, 2]
    assert steps[-1] == Step(1, 200, "whatisup", ("soak",))


def test_growth_is_looked_at_once() -> None:
    plan = replace(PLAN, is_full=True)
    found = [step for heat in plan.heats() for step in heat if plan.options_for(step).growth_messages]
    assert [(step.round, step.size, step.subject) for step in found] == [(1, 50, "whatisup"), (1, 50, "baileys")]
    assert [plan.options_for(step).growth_messages for step in found] == [100_000, 20_000]
    assert not any(PLAN.options_for(step).growth_messages for heat in PLAN.heats() for step in heat)


def test_only_narrows_scenarios_and_a_soak_asked_for_takes_the_largest_size() -> None:
    assert {step.scenarios for heat in replace(PLAN, only=("inbound",)).heats() for step in heat} == {("inbound",)}
    steps = [step for heat in replace(PLAN, only=("soak",)).heats() for step in heat]
    assert steps == [Step(1, 50, "whatisup", ("soak",))]


async def test_run_keeps_everything_and_says_what_was_asserted(tmp_path: Path, autojump_clock: MockClock) -> None:
    laps = Laps()
    run, _ = runner(PLAN, tmp_path, laps)
    await run.run()
    assert run.is_whole
    assert run.folder.is_finished
    assert len(run.folder.results().records) == 2 * (4 * 5 + 2)
    assert run.folder.notes() == {f"durability of {name}": "synchronous=FULL" for name in ("whatisup", "baileys")}
    assert not any(folder.exists() for folder in laps.folders)


async def test_run_goes_on_where_it_was_cut_off(tmp_path: Path, autojump_clock: MockClock) -> None:
    laps = Laps()
    run, _ = runner(PLAN, tmp_path, laps)
    with trio.move_on_after(7.5):  # the second lap has two of its five scenarios
        await run.run()
    assert len(run.folder.results().records) == 7
    again = Laps()
    run, _ = runner(PLAN, tmp_path, again)
    await run.run()
    assert again.ran[0] == ("baileys", 1, ("outbound", "resume", "storm"))
    assert run.folder.is_finished
    assert len(run.folder.results().records) == 44


async def test_a_failed_lap_shows_its_log_and_the_others_are_run(tmp_path: Path, autojump_clock: MockClock) -> None:
    laps = Laps(failing={("whatisup", 50)})
    run, out = runner(PLAN, tmp_path, laps)
    await run.run()
    assert not run.is_whole
    assert not run.folder.is_finished
    assert len(laps.ran) == 8
    assert "what went wrong" in out.getvalue()
    assert "RuntimeError: no message came" in out.getvalue()
    (first, _) = run.folder.failures()
    assert (first["size"], first["scenarios"][0]) == (50, "inbound")


async def test_a_subject_that_cannot_run_here_is_left_out(tmp_path: Path, autojump_clock: MockClock) -> None:
    laps = Laps(absent="baileys")
    run, out = runner(PLAN, tmp_path, laps)
    await run.run()
    assert [subject for subject, _, _ in laps.ran].count("baileys") == 1
    assert run.is_whole
    assert run.folder.notes()["no figures of baileys"] == "no Node"
    assert "baileys is left out: no Node" in out.getvalue()


@pytest.mark.parametrize(
    ("limit_s", "more"),
    [(330.0, []), (520.0, [("baileys", 50), ("whatisup", 50)])],
    ids=["no time for the large ones again", "time for what both of them do"],
)
async def test_repetitions_are_dropped_and_scenarios_never(
    tmp_path: Path, autojump_clock: MockClock, limit_s: float, more: list[tuple[str, int]]
) -> None:
    laps = Laps(cost_s=lambda subject, size: 1.0 if size == 1 else 20.0)
    run, out = runner(replace(PLAN, rounds=3, limit_s=limit_s), tmp_path, laps)
    await run.run()
    assert [(subject, size) for subject, size, _ in laps.ran] == [
        ("whatisup", 1), ("baileys", 1), ("whatisup", 50), ("baileys", 50), *more, ("baileys", 1), ("whatisup", 1),
        ("whatisup", 1), ("baileys", 1),
    ]  # fmt: skip
    assert run.is_whole
    assert f"{2 - len(more) // 2} repetitions were left out" in out.getvalue()
    assert [("api" in scenarios) for _, size, scenarios in laps.ran if size == 50] == [True, False, False, False][
        : 2 + len(more)
    ]


async def test_cancelling_ends_a_run_with_what_is_there(tmp_path: Path, autojump_clock: MockClock) -> None:
    laps = Laps()
    run, _ = runner(PLAN, tmp_path, laps)
    with trio.CancelScope() as scope:
        scope.deadline = trio.current_time() + 2.5
        await run.run()
    assert scope.cancelled_caught
    assert len(run.folder.results().records) == 2
    assert not run.folder.is_finished
    assert not laps.folders[0].exists()


async def test_samples_of_the_soak_outlive_the_lap(tmp_path: Path, autojump_clock: MockClock) -> None:
    run, _ = runner(replace(PLAN, only=("soak",)), tmp_path, Laps())
    await run.run()
    assert run.folder.samples() == [{"at_s": 0}]


def test_missing_leaves_laps_out_that_are_there() -> None:
    (heat, *_) = PLAN.heats()
    assert missing(heat, {}) == heat


def test_plan_is_told_from_another_by_what_it_says() -> None:
    assert json.loads(json.dumps(PLAN.as_json())) == PLAN.as_json()
    assert replace(PLAN, rounds=3).as_json() != PLAN.as_json()


@pytest.mark.parametrize("is_terminal", [True, False])
def test_progress_says_nothing_of_what_is_left_where_nobody_knows(is_terminal: bool) -> None:
    out = io.StringIO()
    Progress(out, lambda: 0.0, is_terminal).begin("sse")
    assert "sse" in out.getvalue()
    assert "left" not in out.getvalue()


@pytest.mark.parametrize(("is_terminal", "ending"), [(True, "\r"), (False, "\n")])
def test_progress_is_a_line_written_over_or_lines(is_terminal: bool, ending: str) -> None:
    out, now = io.StringIO(), [0.0]
    progress = Progress(out, lambda: now[0], is_terminal)
    progress.expect(90.0)
    progress.begin("round 1")
    now[0] = 30.0
    progress.say("connecting")
    progress.tell("kept")
    text = out.getvalue()
    assert "round 1" in text
    assert "connecting" in text
    assert ("1:00 left" in text) is is_terminal
    assert text.count("\n") == (1 if is_terminal else 3)
    assert ending in text
