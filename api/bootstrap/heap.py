"""One heap for all threads, where the C library has a say in it.

Rule: what one thread frees another can use. With glibc's default of eight arenas a core, what is in use wanders from
one to another and leaves holes behind, so a gateway whose sessions reconnect grows although it holds no more. CPU is
the same: the interpreter's lock keeps threads from allocating at once anyway.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Mapping
from typing import Final

_M_ARENA_MAX: Final = -8
"""Source: glibc's malloc.h."""


def share_one_heap(environ: Mapping[str, str] = os.environ) -> bool:
    """Do so before any thread is there, unless `MALLOC_ARENA_MAX` says otherwise; whether it was done."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None or "MALLOC_ARENA_MAX" in environ:
        return False
    return bool(mallopt(_M_ARENA_MAX, 1))
