"""Straight lines through what was measured: how a cost grows with N, and how a level drifts over time.

Rule: arithmetic only; what cannot be fitted gives None instead of a number that says nothing.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

CONFIDENCE_Z = 1.96
"""Standard errors on either side that hold the truth 95 times of 100."""
_FEWEST_DRIFT = 5


@dataclass(frozen=True, slots=True)
class Slope:
    """Change of a level per unit of time, and the interval that holds it 95 times of 100."""

    value: float
    low: float
    high: float


def line(xs: Sequence[float], ys: Sequence[float]) -> tuple[float, float] | None:
    """Slope and intercept by least squares; None for fewer than two different `xs`."""
    if len(xs) < 2:
        return None
    mean_x, mean_y = math.fsum(xs) / len(xs), math.fsum(ys) / len(ys)
    spread = math.fsum((x - mean_x) ** 2 for x in xs)
    if spread == 0:
        return None
    slope = math.fsum((x - mean_x) * (y - mean_y) for x, y in zip(xs, ys, strict=True)) / spread
    return slope, mean_y - slope * mean_x


def exponent(costs: Mapping[int, float]) -> float | None:
    """The `a` of cost ~ N^a, by least squares of log(cost) on log(N); None unless two sizes cost something.

    What is small is noisy, and what a process costs by itself would hide a growth further up: sizes below 50 are left
    out where two larger ones are there, else those below 10.
    """
    known = {size: cost for size, cost in costs.items() if size > 0 and cost > 0}
    used = known
    for least in (10, 50):
        large = {size: cost for size, cost in known.items() if size >= least}
        used = large if len(large) > 1 else used
    fitted = line([math.log(size) for size in used], [math.log(cost) for cost in used.values()])
    return None if fitted is None else fitted[0]


def drift(times: Sequence[float], levels: Sequence[float]) -> Slope | None:
    """How a level changes per unit of `times`; None for fewer than five samples.

    Neighbouring samples of a level are alike, so that each counts for less than one when the interval is made: by
    (1 - r) / (1 + r), with r the correlation of the deviations from the line with those of the sample before.
    """
    fitted = line(times, levels)
    if fitted is None or len(times) < _FEWEST_DRIFT:
        return None
    slope, base = fitted
    rests = [level - base - slope * at for at, level in zip(times, levels, strict=True)]
    squares = math.fsum(rest * rest for rest in rests)
    if squares == 0:
        return Slope(slope, slope, slope)
    r = max(0.0, math.fsum(a * b for a, b in pairwise(rests)) / squares)
    worth = max(3.0, len(times) * (1 - r) / (1 + r))
    mean_x = math.fsum(times) / len(times)
    spread = math.fsum((at - mean_x) ** 2 for at in times) * worth / len(times)
    error = math.sqrt(squares / len(times) * worth / (worth - 2) / spread)
    return Slope(slope, slope - CONFIDENCE_Z * error, slope + CONFIDENCE_Z * error)
