"""Which events an endpoint or a stream asked for: a name, a family such as `message.*`, or `*`.

Rule: a pattern that could never match is refused when it is given, so that nobody waits for an event that has no name.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Final

from whatisup.webhooks.refusals import EventsRefused

MAX_PATTERNS: Final = 64
EVERYTHING: Final = "*"
_FAMILY: Final = ".*"


def matches(patterns: Iterable[str], name: str) -> bool:
    """Say whether any of `patterns` means the event `name`."""
    return any(_matches(pattern, name) for pattern in patterns)


def check_patterns(patterns: Iterable[str], known: Collection[str]) -> tuple[str, ...]:
    """Return `patterns` without repetitions; raises `EventsRefused` where one means none of the `known` events."""
    unique = tuple(dict.fromkeys(patterns))
    if not 1 <= len(unique) <= MAX_PATTERNS:
        raise EventsRefused(f"name from 1 to {MAX_PATTERNS} events, or all of them by *")
    if not all(any(_matches(pattern, name) for name in known) for pattern in unique):
        raise EventsRefused("there is no such event; use the names of events, message.* for a family of them, or *")
    return unique


def _matches(pattern: str, name: str) -> bool:
    if pattern.endswith(_FAMILY):
        return len(pattern) > len(_FAMILY) and name.startswith(pattern[:-1])
    return pattern in (name, EVERYTHING)
