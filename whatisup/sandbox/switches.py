"""The switches: every rule of the sandbox that nobody has observed for certain, with both behaviours.

Rule: a test can be run under any set of switches; a client that is right survives all of them.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from whatisup.control import SWITCHES, Switch

NO_SWITCHES: Final[frozenset[Switch]] = frozenset()


def parse_switches(names: Collection[str]) -> frozenset[Switch]:
    """Read names. Raises `ValueError` for one that does not exist, or for two that exclude each other."""
    unknown = [name for name in names if name not in SWITCHES]
    if unknown:
        raise ValueError(f"no switch is called {unknown[0]!r}; there are {', '.join(SWITCHES)}")
    switches = frozenset(Switch(name) for name in names)
    if {Switch.PUSH_QUEUE, Switch.PULL_QUEUE} <= switches:
        raise ValueError("push-queue and pull-queue exclude each other")
    return switches
