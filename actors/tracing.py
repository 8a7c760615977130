"""Traces as the actors see them: a span around what takes time, and the one line of text that joins spans to a trace.

Rule: whoever traces passes a `traceparent` (W3C, 55 characters) along as plain data, in operations and rows, so that a
trace goes on after a crash and in another task. Nothing here knows where spans go; without traces everything is the
same few objects that do nothing, and costs a call.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from types import TracebackType
from typing import Any, Final, Protocol


class Span(Protocol):
    """Something that takes time; it ends with its `with` block, and failed if that raised."""

    @property
    def traceparent(self) -> str | None:
        """What to give to whatever follows from it; None without traces."""

    def note(self, **attributes: str | int | float | bool) -> None:
        """Say more about it; never a phone number, a body or a secret."""


class Batch(Protocol):
    """Spans of things that go the same way together; all end with the `with` block."""

    def open(self, name: str, parent: str | None = None) -> str | None:
        """Begin the span of one of them, and give its traceparent; None without traces."""

    def phase(self, name: str) -> AbstractContextManager[object]:
        """Give each of them a child for what is now done to all at once."""


class Tracer(Protocol):
    """Where spans come from."""

    def span(
        self, name: str, *, parent: str | None = None, **attributes: str | int | float | bool
    ) -> AbstractContextManager[Span]:
        """Begin a span, as a child of `parent` (a traceparent; one that is malformed counts as none)."""

    def batch(self, **attributes: str | int | float | bool) -> AbstractContextManager[Batch]:
        """Begin the spans of several things; the attributes are each one's."""


class _Nothing:
    """A tracer, a batch and a span that do nothing."""

    __slots__ = ()
    traceparent: Final = None

    def span(self, name: str, *, parent: str | None = None, **attributes: Any) -> _Nothing:
        return self

    def batch(self, **attributes: Any) -> _Nothing:
        return self

    def open(self, name: str, parent: str | None = None) -> None:
        return None

    def phase(self, name: str) -> _Nothing:
        return self

    def note(self, **attributes: Any) -> None:
        return None

    def __enter__(self) -> _Nothing:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        return None


UNTRACED: Final[Tracer] = _Nothing()
"""The tracer of a process that keeps no traces."""
