"""Runs the laps of a plan within its time, and says what becomes of those that fail.

Rule: where time is short repetitions are dropped, never the first of anything, and always of both subjects.
"""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Final, Protocol

import trio

from benchmarks.findings.results import SAMPLES, Place, Record, RunFolder
from benchmarks.live import Options
from benchmarks.run.plan import Plan, Step, lighter, missing
from benchmarks.run.progress import Progress
from tests.npm import Unavailable

NOTE: Final = "limits and pacing are off; "
"""What a lap says behind this is what the subject was found to do with what it stores."""
_LOG_TAIL: Final = 25
_GUESS_S: Final = 15.0
_GUESS_EACH_S: Final = 0.1
_GROWTH_S: Final = 120.0
_END_S: Final = 2.0
"""What the end of a lap takes."""


class Lap(Protocol):
    """See `benchmarks.laps.lap`."""

    def __call__(
        self,
        subject: str,
        size: int,
        scenarios: Sequence[str],
        folder: Path,
        *,
        say: Callable[[str], None],
        keep: Callable[[str, Mapping[str, float]], None],
        options: Options,
    ) -> Awaitable[None]:
        """Run it."""
        ...


@dataclass(slots=True)
class Clock:
    """How long laps take: what each scenario took the last time, and before that a guess."""

    plan: Plan
    _took_s: dict[tuple[str, int, str], float] = field(default_factory=dict)

    def note(self, place: Place, took_s: float) -> None:
        """A scenario took so long; the first of a lap has all that came before it."""
        self._took_s[place.subject, place.size, place.scenario] = took_s

    def expected_s(self, step: Step) -> float:
        """How long this lap will take."""
        return _END_S + sum(self._one_s(step, scenario) for scenario in step.scenarios)

    def _one_s(self, step: Step, scenario: str) -> float:
        known = self._took_s.get((step.subject, step.size, scenario))
        if scenario == "soak":
            return self.plan.options.soak_s + _GUESS_S + _GUESS_EACH_S * step.size
        guess = _GUESS_S + _GUESS_EACH_S * step.size
        is_growth = self.plan.options_for(step).growth_messages and scenario in ("inbound", "outbound")
        return (guess if known is None else known) + (_GROWTH_S if is_growth else 0.0)


@dataclass(slots=True)
class Runner:
    """Runs a plan into a folder. After `run`, `is_whole` says whether everything was measured that had to be."""

    plan: Plan
    folder: RunFolder
    lap: Lap
    progress: Progress
    now: Callable[[], float] = time.monotonic
    is_whole: bool = True
    clock: Clock = field(init=False)
    _begun_at: float = 0.0
    _dropped: int = 0
    _absent: set[str] = field(default_factory=set)
    """Subjects that cannot run on this machine."""

    def __post_init__(self) -> None:
        self.clock = Clock(self.plan)

    async def run(self) -> None:
        """All heats that fit in the time; the first round is run in any case."""
        self._begun_at = self.now()
        there = {record.place: record for record in self.folder.results().records}
        for place, record in there.items():
            self.clock.note(place, record.took_s)
        heats = [left for heat in self.plan.heats() if (left := missing(heat, there))]
        for index, whole in enumerate(heats):
            self._expect(heats[index:])
            heat = self._that_fits(whole)
            if not heat:
                self._dropped += 1
            for number, step in enumerate(heat):
                if step.subject not in self._absent:
                    self._expect([heat[number:], *heats[index + 1 :]])
                    await self._one(step)
        if self._dropped:
            self.progress.tell(f"{self._dropped} repetitions were left out: no time was left for them")
        if self.is_whole:
            self.folder.finish()

    def _that_fits(self, heat: tuple[Step, ...]) -> tuple[Step, ...]:
        """All of it, or what both subjects do, or nothing; of the first round always all."""
        if heat[0].round == 1 or self._fits(heat):
            return heat
        less = lighter(heat)
        return less if self._fits(less) else ()

    def _fits(self, heat: Sequence[Step]) -> bool:
        if self.plan.limit_s is None:
            return True
        needed_s = sum(map(self.clock.expected_s, heat))
        return self.now() - self._begun_at + 1.15 * needed_s <= self.plan.limit_s

    def _expect(self, heats: Sequence[Sequence[Step]]) -> None:
        left_s = sum(self.clock.expected_s(step) for heat in heats for step in heat)
        if self.plan.limit_s is not None:
            left_s = min(left_s, self.plan.limit_s - (self.now() - self._begun_at))
        self.progress.expect(left_s)

    async def _one(self, step: Step) -> None:
        """One lap; if it fails the others are run all the same."""
        self.progress.begin(step.title)
        last_at = self.now()
        kept: set[str] = set()

        def keep(scenario: str, figures: Mapping[str, float]) -> None:
            nonlocal last_at
            place = Place(scenario, step.subject, step.size, step.round)
            took_s, last_at = self.now() - last_at, self.now()
            self.folder.keep(Record(place, figures, took_s))
            self.clock.note(place, took_s)
            kept.add(scenario)

        with tempfile.TemporaryDirectory(dir=self.folder.path, prefix="lap-", ignore_cleanup_errors=True) as name:
            folder, why = Path(name), list[str]()
            run = partial(self.lap, say=partial(self._say, step), keep=keep, options=self.plan.options_for(step))
            try:
                await run(step.subject, step.size, step.scenarios, folder)
            except* Unavailable as group:
                self._is_absent(step, str(next(leaves(group))))
            except* Exception as group:
                why = [f"{type(error).__name__}: {error}" for error in leaves(group)]
            lost = [scenario for scenario in step.scenarios if scenario not in kept]
            if (lost or why) and step.subject not in self._absent:
                self._failed(step, lost, why or ["it ended without them"], folder)
            self._save_samples(folder)

    def _say(self, step: Step, text: str) -> None:
        if text.startswith(NOTE):
            self.folder.note(f"durability of {step.subject}", text.removeprefix(NOTE))
        self.progress.say(text)

    def _is_absent(self, step: Step, why: str) -> None:
        """Go on without that subject, and say so wherever figures of it are missed."""
        self._absent.add(step.subject)
        self.folder.note(f"no figures of {step.subject}", why)
        self.progress.tell(f"{step.subject} is left out: {why}")

    def _failed(self, step: Step, lost: Sequence[str], why: Sequence[str], folder: Path) -> None:
        self.is_whole = False
        self.folder.fail(step.subject, step.size, step.round, lost, why)
        self.progress.tell(f"failed: {step.title}: no {', '.join(lost) or 'proper end'}")
        for reason in why:
            self.progress.tell(f"   {reason}")
        for path in sorted(folder.rglob("*.log")):
            lines = path.read_text(encoding="utf-8", errors="replace").splitlines()[-_LOG_TAIL:]
            if lines:
                self.progress.tell("\n".join((f"--- the last lines of {path.name}", *lines)))

    def _save_samples(self, folder: Path) -> None:
        if (folder / SAMPLES).exists():
            shutil.copyfile(folder / SAMPLES, self.folder.path / SAMPLES)


def leaves(group: BaseExceptionGroup[Exception]) -> Iterator[Exception]:
    """The errors in a group, however deep."""
    for error in group.exceptions:
        if isinstance(error, BaseExceptionGroup):
            yield from leaves(error)
        else:
            yield error


async def ticking(progress: Progress) -> None:
    """Keep the time that is left on the terminal up to date."""
    while True:
        progress.draw()
        await trio.sleep(1.0)
