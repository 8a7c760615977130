"""Which laps a run consists of, and in what order.

Rule: round after round, and in each every size and both subjects, so that whatever else the machine does falls on all
alike. The first round begins with the smallest size, a repetition with the largest: where time is short, it is what
most goals are about that is repeated.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

from benchmarks.findings.figures import BAILEYS, SUBJECTS, WHATISUP
from benchmarks.findings.results import Place
from benchmarks.live import Options

COMMON: Final = ("connect", "inbound", "outbound", "resume", "storm")
"""What both subjects do."""
OURS: Final = ("api", "webhook", "soak")
"""What only a gateway has."""
EDGE_SIZE: Final = 50
"""How many sessions the API and the webhooks are measured with, or the next smaller size that is measured."""
SOAK_SIZE: Final = 200
GROWTH_SIZE: Final = 50
GROWTH_MESSAGES: Final[Mapping[str, int]] = {WHATISUP: 100_000, BAILEYS: 20_000}
"""Growth is told for each 1,000 messages; Baileys would need a quarter of an hour for as many as we are given."""
BAILEYS_MOST: Final = 200
"""Sessions of Baileys that this much memory and time is spent on."""
HEAVY: Final = 1000
"""From that size on there is one round less for each two."""


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
            for size in self.sizes if number == 1 else self.sizes[::-1]:
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
        return replace(self.options, growth_messages=GROWTH_MESSAGES[step.subject] if is_growth else 0)


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
