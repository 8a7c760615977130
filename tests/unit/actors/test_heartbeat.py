"""The pulse: what a beat may fail at, and what it may not."""

from __future__ import annotations

from typing import Any

import pytest
import trio
from trio.testing import MockClock

from actors.heartbeat import Heartbeat
from whatisup.errors import StoreError, StoreUnavailable


class Failing(Heartbeat):
    """A heartbeat whose first beats fail."""

    def __init__(self, *errors: Exception) -> None:
        nothing: Any = None
        super().__init__(
            interval_s=1.0,
            database=nothing,
            writer=nothing,
            supervisor=nothing,
            fleet=nothing,
            ensure=nothing,
            wake=nothing,
            unix_ms=lambda: 0,
            client_version="1.0.0",
        )
        self.errors = list(errors)
        self.beats = 0

    async def beat(self) -> None:
        self.beats += 1
        await trio.lowlevel.checkpoint()
        if self.errors:
            raise self.errors.pop(0)
        self.pulse.beat_at = trio.current_time()


@pytest.mark.parametrize("error", [StoreUnavailable("down"), StoreError("a row that it will not take")])
async def test_beat_that_the_store_does_not_carry_is_skipped(
    autojump_clock: MockClock, nursery: trio.Nursery, error: Exception
) -> None:
    heartbeat = Failing(error, error)
    await nursery.start(heartbeat.run)
    assert heartbeat.pulse.beat_at is None
    await trio.sleep(2.5)
    assert heartbeat.beats == 3
    assert heartbeat.pulse.beat_at is not None


async def test_beat_that_fails_by_a_bug_ends_the_process(autojump_clock: MockClock) -> None:
    with pytest.RaisesGroup(ZeroDivisionError, flatten_subgroups=True):
        async with trio.open_nursery() as nursery:
            await nursery.start(Failing(ZeroDivisionError()).run)
