"""How many heaps the C library keeps, as it says itself, in a process of their own."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys

import pytest

from api.bootstrap.heap import share_one_heap

_THREADS = """
import ctypes, re, sys, threading
from api.bootstrap.heap import share_one_heap
c = ctypes.CDLL(None)
c.malloc.restype = c.fopen.restype = ctypes.c_void_p
c.fopen.argtypes, c.malloc_info.argtypes = [ctypes.c_char_p] * 2, [ctypes.c_int, ctypes.c_void_p]
if sys.argv[1] == "shared":
    assert share_one_heap()
together = threading.Barrier(4)
def allocate():
    together.wait(10)
    c.malloc(100_000)
    together.wait(10)
threads = [threading.Thread(target=allocate) for _ in range(4)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
out = c.fopen(b"/dev/stdout", b"w")
c.malloc_info(0, out)
c.fflush(None)
"""


def heaps(how: str) -> int:
    environment = {name: value for name, value in os.environ.items() if name != "MALLOC_ARENA_MAX"}
    words = [sys.executable, "-c", _THREADS, how]
    said = subprocess.run(words, env=environment, capture_output=True, text=True, check=True, timeout=30).stdout
    return said.count("<heap nr=")


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "malloc_info"), reason="this C library does not tell")
def test_threads_share_one_heap() -> None:
    assert heaps("as it comes") > 1
    assert heaps("shared") == 1


def test_who_says_how_many_is_obeyed() -> None:
    assert share_one_heap({"MALLOC_ARENA_MAX": "4"}) is False
