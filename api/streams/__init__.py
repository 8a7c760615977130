"""Event streams: the log read once for each customer and handed to all who follow it."""

from __future__ import annotations

from api.streams.fanout import STALL_S, Fanout, TooManyStreams
from api.streams.frames import Wanted, envelopes
from api.streams.line import LINE, line_behind
from api.streams.searches import Searches
from api.streams.stream import Ending, Stream

__all__ = [
    "LINE",
    "STALL_S",
    "Ending",
    "Fanout",
    "Searches",
    "Stream",
    "TooManyStreams",
    "Wanted",
    "envelopes",
    "line_behind",
]
