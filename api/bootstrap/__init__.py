"""The composition root: builds the whole object graph, runs it in order, and takes it down in order."""

from __future__ import annotations

from api.bootstrap.first_run import hand_out, key_file, lines_to_try
from api.bootstrap.heap import share_one_heap
from api.bootstrap.logs import configure_logging
from api.bootstrap.run import Options, Started, run_gateway, serve

__all__ = [
    "Options",
    "Started",
    "configure_logging",
    "hand_out",
    "key_file",
    "lines_to_try",
    "run_gateway",
    "serve",
    "share_one_heap",
]
