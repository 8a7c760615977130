"""A short run on each database; `make chaos` is the long one. A failure prints the table, and the seed repeats it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.chaos.plan import Options, draw
from tests.chaos.run import heading, run, table


@pytest.mark.slow
@pytest.mark.parametrize(
    "options",
    [
        Options(database="sqlite", messages=300, kills=3, instances=3, contacts=1, seed=5),
        Options(database="postgresql", messages=100, kills=2, instances=2, contacts=1, seed=2),
    ],
    ids=lambda options: options.database,
)
async def test_nothing_is_lost_and_nothing_comes_twice(tmp_path: Path, options: Options) -> None:
    verdict = await run(options, tmp_path, within_s=90.0, quiet_s=45.0)
    assert not verdict.violations, f"{heading(draw(options))}\n{table(verdict)}"
