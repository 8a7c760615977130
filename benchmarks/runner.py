"""Which laps are run, in what order, within what time; and what becomes of those that fail.

Rule: round after round, and in each every size and both subjects, so that whatever else the machine does falls on all
alike; where time is short repetitions are dropped, never the first of anything, and always of both subjects.
"""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Final, Protocol

import trio

from benchmarks.figures import BAILEYS, SUBJECTS, WHATISUP
from benchmarks.live import Options
from benchmarks.npm import Unavailable
from benchmarks.progress import Progress
from benchmarks.results import SAMPLES, Place, Record, RunFolder

COMMON: Final = ("connect", "inbound", "outbound", "resume", "storm")
"""What both subjects do."""
OURS: Final = ("api", "webhook", "soak")
"""What only a gateway has."""
EDGE_SIZE: Final = 50
"""How many sessions the API and the webhooks are measured with, or the next smaller size that is measured."""
SOAK_SIZE: Final = 200
GROWTH_SIZE: Final = 50
GROWTH_MESSAGES: Final = 100_000
BAILEYS_MOST: Final = 200
"""Sessions of Baileys that this much memory and time is spent on."""
HEAVY: Final = 1000
"""From that size on there is one round less for each two."""
NOTE: Final = "limits and pacing are off; "
"""What a lap says behind this is what the subject was found to do with what it stores."""
_LOG_TAIL: Final = 25
_GUESS_S: Final = 15.0
_GUESS_EACH_S: Final = 0.1
_GROWTH_S: Final = 300.0
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


@dataclass(frozen=True, slots=True)
class Step:
    """One lap of the plan."""

    round: int
    size: int
    subject: str
    scenarios: tuple[str, ...]

    @property
    def title(self) -> str:
        """For people."""
        return f"round {self.round}, {self.size} session{'s' if self.size > 1 else ''}, {self.subject}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What was asked for. `limit_s` None: as long as it takes."""

    sizes: tuple[int, ...]
    rounds: int
    subjects: tuple[str, ...] = SUBJECTS
    only: tuple[str, ...] = ()
    is_full: bool = False
    limit_s: float | None = None
    options: Options = field(default_factory=Options)

    def as_json(self) -> dict[str, Any]:
        """What has to be the same for a run to be gone on with."""
        return {
            "sizes": list(self.sizes),
            "rounds": self.rounds,
            "subjects": list(self.subjects),
            "only": list(self.only),
            "is_full": self.is_full,
            "soak_s": self.options.soak_s,
            "idle_s": self.options.idle_s,
            "seed": self.options.seed,
            "database": self.database_of(self.options.database),
        }

    @staticmethod
    def database_of(url: str | None) -> str:
        """What the figures of WhatIsUp are about."""
        return "postgresql" if url else "sqlite"

    def heats(self) -> Iterator[tuple[Step, ...]]:
        """The laps that are compared with each other, in the order in which they are run."""
        for number in range(1, self.rounds + 1):
            for size in self.sizes:
                heat = tuple(step for subject in self._turn(number) for step in self._steps(number, size, subject))
                if heat:
                    yield heat
        if self._is_wanted("soak") and WHATISUP in self.subjects and (self.is_full or self.only):
            yield (Step(1, self._soak_size, WHATISUP, ("soak",)),)

    def _turn(self, number: int) -> Sequence[str]:
        """Each subject goes first in every other round."""
        return self.subjects if number % 2 else self.subjects[::-1]

    def _steps(self, number: int, size: int, subject: str) -> Iterator[Step]:
        if size >= HEAVY and number > max(1, self.rounds - self.rounds // 2):
            return
        if subject == BAILEYS and size > BAILEYS_MOST:
            return
        wanted = [name for name in COMMON if self._is_wanted(name)]
        if subject == WHATISUP and size == self._edge_size:
            wanted += [name for name in OURS if name != "soak" and self._is_wanted(name)]
        if wanted:
            yield Step(number, size, subject, tuple(wanted))

    def _is_wanted(self, scenario: str) -> bool:
        return not self.only or scenario in self.only

    @property
    def _edge_size(self) -> int:
        return max((size for size in self.sizes if size <= EDGE_SIZE), default=min(self.sizes))

    @property
    def _soak_size(self) -> int:
        """In a full run what the issue asks for, else the largest size that was asked for."""
        return SOAK_SIZE if self.is_full else max(self.sizes)

    def options_for(self, step: Step) -> Options:
        """Growth over very many messages is looked at once, at one size."""
        is_growth = self.is_full and step.round == 1 and step.size == GROWTH_SIZE
        return replace(self.options, growth_messages=GROWTH_MESSAGES if is_growth else 0)


def missing(heat: Sequence[Step], there: Mapping[Place, object]) -> tuple[Step, ...]:
    """What of these laps has not been measured yet."""
    found = []
    for step in heat:
        left = tuple(n for n in step.scenarios if Place(n, step.subject, step.size, step.round) not in there)
        if left:
            found.append(replace(step, scenarios=left))
    return tuple(found)


def lighter(heat: Sequence[Step]) -> tuple[Step, ...]:
    """The same laps without what only one subject does."""
    steps = (replace(step, scenarios=tuple(n for n in step.scenarios if n not in OURS)) for step in heat)
    return tuple(step for step in steps if step.scenarios)


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
