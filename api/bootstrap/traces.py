"""OpenTelemetry behind the actors' tracer: made only if `WHATISUP_TRACES` asks for it, and only then imported.

Rule: tracing may lose spans and may not cost anything else. Spans are handed to a thread of the exporter's through a
bounded queue, what does not fit is dropped, and the way down waits for the rest no longer than `FLUSH_S`.

What may be told of a span: names of ours, ids, counts and slugs. Never a phone number, a body, a secret, or the text of
an exception, which may quote any of them.
"""

from __future__ import annotations

import re
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractContextManager, asynccontextmanager
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final

import structlog
import trio

from actors.tracing import UNTRACED, Tracer
from whatisup.errors import SettingsError
from whatisup.settings import Settings

if TYPE_CHECKING:  # an extra: the process that keeps no traces need not have it
    from opentelemetry.context import Context
    from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
    from opentelemetry.sdk.trace.export import SpanExporter
    from opentelemetry.trace import Span as OtelSpan
    from opentelemetry.trace import SpanKind

log = structlog.get_logger(__name__)

FLUSH_S: Final = 2.0
SERVICE: Final = "whatisup"
INSTALL: Final = "in the checkout: .venv/bin/python -m pip install -e '.[otel]' -c constraints.txt"
MISSING: Final = f"needs the extra `otel` ({INSTALL})"

# Version, trace, span and flags; a later version may say more behind it.
_TRACEPARENT: Final = re.compile(r"(?!ff)[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(?:-.*)?\Z")

_Value = str | int | float | bool


@asynccontextmanager
async def tracing(settings: Settings) -> AsyncIterator[Tracer]:
    """Give the tracer that the settings ask for; what it holds when the block ends is sent within `FLUSH_S`.

    Raises:
        SettingsError: traces are asked for, and the packages are not installed.
    """
    if settings.traces == "off":
        yield UNTRACED
        return
    try:
        exporter = _EXPORTERS[settings.traces]()
    except ImportError:
        raise SettingsError("WHATISUP_TRACES", MISSING) from None
    async with tracing_to(exporter) as tracer:
        yield tracer


@asynccontextmanager
async def tracing_to(exporter: SpanExporter) -> AsyncIterator[Tracer]:
    """Give a tracer whose spans go to this exporter."""
    provider = _provider(exporter)
    try:
        yield OtelTracer(provider)
    finally:
        with trio.CancelScope(shield=True, deadline=trio.current_time() + FLUSH_S) as scope:
            await trio.to_thread.run_sync(provider.shutdown, abandon_on_cancel=True)
        if scope.cancelled_caught:
            log.warning("traces.not_flushed")


def _console() -> SpanExporter:
    from opentelemetry.sdk.trace.export import ConsoleSpanExporter

    def line(span: ReadableSpan) -> str:
        return f"{span.to_json(indent=None)}\n"

    return ConsoleSpanExporter(out=sys.stderr, formatter=line)


def _otlp() -> SpanExporter:
    """Where to, and with which headers, its own `OTEL_EXPORTER_OTLP_…` variables say."""
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

    return OTLPSpanExporter()


_EXPORTERS: Final[dict[str, Callable[[], SpanExporter]]] = {"console": _console, "otlp": _otlp}


def _provider(exporter: SpanExporter) -> TracerProvider:
    from opentelemetry.sdk.resources import SERVICE_NAME, Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    resource = Resource.create()  # OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES come first
    if str(resource.attributes.get(SERVICE_NAME, "")).startswith("unknown_service"):
        resource = resource.merge(Resource({SERVICE_NAME: SERVICE}))
    provider = TracerProvider(resource=resource, shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(exporter))
    return provider


class OtelTracer:
    """Makes spans of OpenTelemetry; see `actors.tracing.Tracer`."""

    def __init__(self, provider: TracerProvider) -> None:
        self._tracer = provider.get_tracer(SERVICE)

    def span(self, name: str, *, parent: str | None = None, **attributes: _Value) -> _Span:
        """Begin a span."""
        return _Span(self.begin(name, _remote(parent), attributes))

    def batch(self, **attributes: _Value) -> _Batch:
        """Begin the spans of several things."""
        return _Batch(self, attributes)

    def begin(self, name: str, context: Context, attributes: dict[str, _Value]) -> OtelSpan:
        """Begin a span of OpenTelemetry's."""
        return self._tracer.start_span(name, context, kind=_kind(name), attributes=_named(attributes))


class _Span:
    """One span of OpenTelemetry's, which ends with its `with` block."""

    __slots__ = ("span",)

    def __init__(self, span: OtelSpan) -> None:
        self.span = span

    @property
    def traceparent(self) -> str:
        """W3C: version, trace, span, flags."""
        context = self.span.get_span_context()
        return f"00-{context.trace_id:032x}-{context.span_id:016x}-{int(context.trace_flags):02x}"

    def note(self, **attributes: _Value) -> None:
        """Say more about it."""
        self.span.set_attributes(_named(attributes))

    def __enter__(self) -> _Span:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if kind is not None:
            from opentelemetry.trace import StatusCode

            self.span.set_attribute("error.type", kind.__name__)
            self.span.set_status(StatusCode.ERROR)
        self.span.end()


class _Batch:
    """Spans that end together."""

    __slots__ = ("_attributes", "_spans", "_tracer")

    def __init__(self, tracer: OtelTracer, attributes: dict[str, _Value]) -> None:
        self._tracer = tracer
        self._attributes = attributes
        self._spans: list[_Span] = []

    def open(self, name: str, parent: str | None = None) -> str:
        """Begin one of them."""
        span = self._tracer.span(name, parent=parent, **self._attributes)
        self._spans.append(span)
        return span.traceparent

    def phase(self, name: str) -> AbstractContextManager[object]:
        """Begin a child of each."""
        children = _Batch(self._tracer, self._attributes)
        for span in self._spans:
            children.open(name, span.traceparent)
        return children

    def __enter__(self) -> _Batch:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for span in self._spans:
            span.__exit__(kind, error, traceback)


def _remote(traceparent: str | None) -> Context:
    """Make the context that a traceparent stands for; an empty one where it is None or malformed."""
    from opentelemetry.context import Context
    from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags, set_span_in_context

    parts = None if traceparent is None else _TRACEPARENT.match(traceparent)
    if parts is None:
        return Context()
    trace_id, span_id, flags = (int(part, 16) for part in parts.groups())
    parent = SpanContext(trace_id, span_id, is_remote=True, trace_flags=TraceFlags(flags))
    return set_span_in_context(NonRecordingSpan(parent), Context()) if parent.is_valid else Context()


def _kind(name: str) -> SpanKind:
    """What a span is to others, as its name tells: `GET /v1/…` serves somebody, and so on."""
    from opentelemetry.trace import SpanKind

    if " /" in name:
        return SpanKind.SERVER
    kinds = {"webhook.attempt": SpanKind.CLIENT, "whatsapp.message": SpanKind.CONSUMER}
    return kinds.get(name, SpanKind.INTERNAL)


def _named(attributes: dict[str, _Value]) -> dict[str, Any]:
    return {f"whatisup.{name}": value for name, value in attributes.items()}
