"""Names of rows: prefixed ULIDs such as `inst_01J…`.

Rule: an id is a name. It carries its time for people's eyes; nothing sorts by it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from ulid import ULID

ULID_TIME_LENGTH: Final = 6
ULID_ENTROPY_LENGTH: Final = 10


def new_id(prefix: str, now_ms: int, entropy: Callable[[int], bytes]) -> str:
    """Make an id of `prefix`, the time in unix milliseconds and 10 random bytes."""
    return f"{prefix}_{ULID(now_ms.to_bytes(ULID_TIME_LENGTH, 'big') + entropy(ULID_ENTROPY_LENGTH))}"


def made_at(row_id: str) -> int | None:
    """When an id was made, in unix milliseconds; None for what is no id of ours."""
    try:
        return ULID.from_str(row_id.partition("_")[2]).milliseconds
    except ValueError:
        return None
