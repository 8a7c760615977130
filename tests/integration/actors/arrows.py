"""A bug planted at a chosen arrow of an instance's actor: the crash is real, and so is the rebuild.

Rule: an arrow is the moment before or after one of the actor's steps to the outside; whoever tries them tries them all.
"""

from __future__ import annotations

import os
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import pytest
import trio

from actors.instance.actor import InstanceActor

AT_ONCE = 4


class Crash(Exception):
    """The bug that a test plants."""


@dataclass
class Plan:
    """Where one instance's bug strikes: at the `at`-th arrow, counted from the first one into the method `since`."""

    at: int
    since: str = ""
    passed: int = 0
    has_struck: bool = False


class Bug:
    """Raises at a chosen arrow of an instance's actor, once; each instance may have one of its own."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.plans: dict[str, Plan] = {}
        for name in ("commit", "flush", "begin_farewell"):
            monkeypatch.setattr(InstanceActor, name, self._around(name, getattr(InstanceActor, name)))

    def arm(self, instance_id: str, at: int, *, since: str = "") -> Plan:
        self.plans[instance_id] = plan = Plan(at, since)
        return plan

    def _around(self, name, method):  # type: ignore[no-untyped-def]  # wraps whatever method it is given
        async def wrapper(actor, *args, **kwargs):  # type: ignore[no-untyped-def]  # same
            plan = self.plans.get(actor.id)
            if plan is not None and name == plan.since:
                plan.since = ""
            self._arrow(plan)
            result = await method(actor, *args, **kwargs)
            self._arrow(plan)
            return result

        return wrapper

    @staticmethod
    def _arrow(plan: Plan | None) -> None:
        if plan is None or plan.has_struck or plan.since:
            return
        plan.passed += 1
        if plan.passed == plan.at:
            plan.has_struck = True
            raise Crash


async def until_no_arrow_is_left(try_arrow: Callable[[int], Awaitable[bool]], *, stride: int = 1) -> int:
    """Try arrow 1, 2, 3 ... until one is past the last; how many were reached, as `try_arrow` says.

    With a `stride` a run takes every so manieth, from a first one that the day decides, so that all get their turn;
    `WHATISUP_ALL_ARROWS=1` takes all.
    """
    if os.environ.get("WHATISUP_ALL_ARROWS"):
        stride = 1
    reached: dict[int, bool] = {}

    async def note(at: int) -> None:
        reached[at] = await try_arrow(at)

    first = 1 + int(time.time() // 86_400) % stride
    while all(reached.values()):
        async with trio.open_nursery() as nursery:
            for at in range(first, first + AT_ONCE * stride, stride):
                nursery.start_soon(note, at)
        first += AT_ONCE * stride
        assert first < 200
    return sum(reached.values())
