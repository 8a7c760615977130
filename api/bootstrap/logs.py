"""Logging, configured once per process: structlog for us, and one handler for libraries that use the standard module.

Rule: a log line is an event name with fields. Query strings, bodies, keys and secrets are never fields.
"""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final

import msgspec
import structlog
from structlog.types import Processor

from whatisup.settings import Settings

_SHARED: Final[tuple[Processor, ...]] = (
    structlog.contextvars.merge_contextvars,
    structlog.stdlib.add_log_level,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
)


_PLAIN: Final = frozenset({str, int, float, bool, type(None)})


def _line(fields: Any, default: Callable[[Any], Any]) -> str:
    """Write a line as JSON in ASCII, which every terminal and pipe carries; most lines are ASCII to begin with.

    Of anything that is no plain value only the representation is shown, which of a secret tells nothing: msgspec by
    itself would write dataclasses and structs out, with all that they hold.
    """
    line = b"\xff"
    if _PLAIN.issuperset(map(type, fields.values())):
        with suppress(UnicodeEncodeError, ValueError):  # what is odd about it, the slower way bears
            line = msgspec.json.encode(fields)
    return line.decode() if line.isascii() else json.dumps(fields, default=default)


def configure_logging(settings: Settings) -> None:
    """Send everything to stderr: coloured on a terminal, one JSON object a line elsewhere (`WHATISUP_LOG_FORMAT`)."""
    level = logging.getLevelName(settings.log_level.upper())
    is_json = settings.log_format == "json" or (settings.log_format == "auto" and not sys.stderr.isatty())
    renderer: Processor = (
        structlog.processors.JSONRenderer(serializer=_line)
        if is_json
        else structlog.dev.ConsoleRenderer(
            exception_formatter=structlog.dev.plain_traceback  # others print local variables, secrets among them
        )
    )
    tracebacks: tuple[Processor, ...] = (structlog.processors.format_exc_info,) if is_json else ()
    structlog.configure(
        processors=[*_SHARED, *tracebacks, renderer],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.WriteLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=_SHARED,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *tracebacks, renderer],
        )
    )
    logging.basicConfig(handlers=[handler], level=max(level, logging.WARNING), force=True)
