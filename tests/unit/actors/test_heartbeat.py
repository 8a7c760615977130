"""The pulse: what a beat may fail at, and what it may not."""

from __future__ import annotations

from typing import Any

import pytest
import trio
from trio.testing import MockClock

from actors.heartbeat import MAX_SWEEPS, Heartbeat
from whatisup.errors import StoreError, StoreUnavailable


class Portions:
    """A writer whose store has as many portions of old rows as it is said to."""

    def __init__(self, portions: int) -> None:
        self.left = portions
        self.calls = 0

    async def call(self, _forget: object, *_about: object) -> bool:
        await trio.lowlevel.checkpoint()
        self.calls += 1
        self.left -= 1
        return self.left > 0


@pytest.mark.parametrize(("portions", "calls"), [(1, 1), (3, 3), (MAX_SWEEPS + 5, MAX_SWEEPS)])
async def test_what_is_past_its_time_goes_in_portions(portions: int, calls: int) -> None:
    heartbeat, writer = Failing(), Portions(portions)
    heartbeat._writer = writer  # type: ignore[assignment]  # all that is asked of it
    await heartbeat._in_portions(lambda: True)
    assert writer.calls == calls


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
