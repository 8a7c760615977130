"""Names of rows: prefixed ULIDs such as `inst_01J…`.

Rule: an id is a name. It carries its time for people's eyes; nothing sorts by it.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Final

from ulid import ULID

ULID_TIME_LENGTH: Final = 6
ULID_ENTROPY_LENGTH: Final = 10


_DIGITS: Final = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_PAIRS: Final = tuple(first + second for first in _DIGITS for second in _DIGITS)
"""Crockford's base32, ten bits at a time: a ULID is 48 bits of time and 80 of chance."""
_TIME_SHIFTS: Final = (40, 30, 20, 10, 0)
_ENTROPY_SHIFTS: Final = (70, 60, 50, 40, 30, 20, 10, 0)


def new_id(prefix: str, now_ms: int, entropy: Callable[[int], bytes]) -> str:
    """Make an id of `prefix`, the time in unix milliseconds and 10 random bytes."""
    chance = int.from_bytes(entropy(ULID_ENTROPY_LENGTH), "big")
    return f"{prefix}_{_time(now_ms)}{''.join([_PAIRS[chance >> shift & 1023] for shift in _ENTROPY_SHIFTS])}"


@lru_cache(maxsize=8)
def _time(now_ms: int) -> str:
    if now_ms >> (8 * ULID_TIME_LENGTH):
        raise OverflowError("no time that a ULID can hold")
    return "".join([_PAIRS[now_ms >> shift & 1023] for shift in _TIME_SHIFTS])


def made_at(row_id: str) -> int | None:
    """When an id was made, in unix milliseconds; None for what is no id of ours."""
    try:
        return ULID.from_str(row_id.partition("_")[2]).milliseconds
    except ValueError:
        return None
