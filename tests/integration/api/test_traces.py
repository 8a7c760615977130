"""Traces: one from a stanza to its row to the webhook, one from a request to what became of it; or none."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from actors.tracing import UNTRACED, Tracer
from api.bootstrap import Options, Started, run_gateway
from api.bootstrap.traces import tracing, tracing_to
from api.demo.client import Client
from api.demo.receiver import WebhookReceiver
from tests.integration.actors.house import open_sandbox
from tests.integration.api.front import open_front, settings_for
from whatisup.errors import SettingsError
from whatisup.settings import Settings

WAIT_S = 20.0
PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@asynccontextmanager
async def gateway(folder: Path, monkeypatch: pytest.MonkeyPatch, exporter: SpanExporter) -> AsyncIterator[Started]:
    """A whole gateway with a sandbox, whose spans go to `exporter`."""
    monkeypatch.setattr("api.bootstrap.run.tracing", lambda _settings: tracing_to(exporter))
    async with open_sandbox(folder) as ready:
        settings = settings_for(
            folder,
            WEBHOOK_ALLOW_PRIVATE_CIDRS="127.0.0.0/8",
            WHATISUP_SANDBOX_URL=ready["url"],
            WHATISUP_SANDBOX_ROOT_KEY=ready["root_public_key"],
            WHATISUP_SANDBOX_TOKEN=ready["token"],
        )
        stop = trio.Event()
        async with trio.open_nursery() as nursery:
            with trio.fail_after(30):
                started: Started = await nursery.start(partial(run_gateway, settings, Options(), stop))
            yield started
            stop.set()


async def converse(started: Started, receiver: WebhookReceiver) -> str:
    """Pair an instance, write to somebody who echoes, and wait until webhooks told of both; the sent message's id."""
    assert started.first_keys is not None
    api = Client("127.0.0.1", int(started.urls[0].rsplit(":", 1)[1]), started.first_keys.test)
    made = await api.call("POST", "/v1/webhook-endpoints", {"url": receiver.url, "events": ["message.*"]})
    receiver.secret = made["secret"]
    path = "/v1/instances/" + (await api.call("POST", "/v1/instances", {"name": "traced"}))["id"]
    number = (await api.call("POST", "/v1/sandbox/phones", {}))["number"]
    await api.call("POST", f"/v1/sandbox/phones/{number}/scan", {"instance_id": path.rsplit("/", 1)[1]})
    friend = (await api.call("POST", "/v1/sandbox/contacts", {"name": "Ada", "persona": "echo"}))["number"]
    with trio.fail_after(WAIT_S):
        while (await api.call("GET", path))["status"] != "connected":
            await trio.sleep(0.05)
        sent = await api.call("POST", f"{path}/messages", {"to": friend, "body": {"type": "text", "text": "hello"}})
        while {"message.received", "message.delivered"} - {event["event"] for event in receiver.events}:
            await trio.sleep(0.05)
    return str(sent["message_id"])


def trace_of(span: ReadableSpan) -> int:
    return int(span.get_span_context().trace_id)


def named(spans: Sequence[ReadableSpan], name: str) -> list[ReadableSpan]:
    return [span for span in spans if span.name == name]


async def test_one_trace_leads_from_stanza_and_request_to_the_webhook(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    exporter, receiver = InMemorySpanExporter(), WebhookReceiver(refusals=0)
    async with trio.open_nursery() as nursery:
        await nursery.start(receiver.run)
        async with gateway(folder, monkeypatch, exporter) as started:
            message_id = await converse(started, receiver)
        nursery.cancel_scope.cancel()
    spans = exporter.get_finished_spans()
    attempts = {span.attributes["whatisup.event_id"]: span for span in named(spans, "webhook.attempt")}
    events = {event["event_id"]: event for event in receiver.events}

    incoming = next(e for e in events.values() if e["event"] == "message.received")
    attempt = attempts[incoming["event_id"]]
    (stanza,) = [span for span in named(spans, "whatsapp.message") if trace_of(span) == trace_of(attempt)]
    assert attempt.parent is not None
    assert attempt.parent.span_id == stanza.get_span_context().span_id
    assert attempt.attributes["whatisup.outcome"] == "ok"
    commit = [span for span in named(spans, "store.commit") if trace_of(span) == trace_of(stanza)]
    assert [span.parent.span_id for span in commit if span.parent] == [stanza.get_span_context().span_id]
    assert stanza.start_time <= commit[0].start_time
    assert commit[0].end_time <= stanza.end_time

    (request,) = named(spans, "POST /v1/instances/{instance_id}/messages")
    mine = {span.name for span in spans if trace_of(span) == trace_of(request)}
    assert mine >= {"message.seal", "store.commit", "webhook.attempt"}
    told = [e for e in events.values() if e["data"]["message_id"] == message_id]
    assert {"message.sent", "message.delivered"} <= {e["event"] for e in told}
    assert {trace_of(attempts[e["event_id"]]) for e in told} == {trace_of(request)}

    text = "".join(span.to_json() for span in spans)
    for secret in ("hello", incoming["data"]["phone"], receiver.secret):
        assert secret not in text


async def test_caller_may_bring_its_own_trace(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    exporter = InMemorySpanExporter()
    async with tracing_to(exporter) as tracer, front(folder, tracer) as (client, key):
        for traceparent in (PARENT, "nonsense", PARENT.replace("0af7", "0AF7"), "00-" + "0" * 32 + PARENT[35:]):
            headers = {"Authorization": f"Bearer {key}", "traceparent": traceparent, "X-Request-Id": "mine"}
            assert (await client.get("/v1/instances", headers=headers)).status_code == 200
    assert capsys.readouterr().out.count(f"trace_id={PARENT.split('-')[1]}") == 1, "the log names the trace"
    first, *others = exporter.get_finished_spans()
    assert f"{trace_of(first):032x}" == PARENT.split("-")[1]
    assert dict(first.attributes) == {"whatisup.request_id": "mine", "whatisup.status": 200}
    assert all(span.parent is None for span in others)
    assert len(others) == 3


@asynccontextmanager
async def front(folder: Path, tracer: Tracer) -> AsyncIterator[tuple[Any, str]]:
    async with open_front(folder) as opened:
        opened.edge.tracer = tracer
        yield opened.client, (await opened.holder()).key


class _Stuck:
    """An exporter whose collector does not answer."""

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        threading.Event().wait(10)
        return SpanExportResult.FAILURE

    def shutdown(self) -> None:
        """Nothing to close."""


async def test_collector_that_hangs_holds_nobody_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("api.bootstrap.traces.FLUSH_S", 0.2)
    with trio.fail_after(3):
        async with tracing_to(_Stuck()) as tracer:  # type: ignore[arg-type]  # all of an exporter that is called
            for _ in range(5_000):
                with tracer.span("work"):
                    pass


async def test_failed_span_says_what_and_not_why() -> None:
    exporter = InMemorySpanExporter()
    async with tracing_to(exporter) as tracer:
        with pytest.raises(ValueError, match="5511999999999"), tracer.span("work"):
            raise ValueError("no such number: 5511999999999")
        parent = None
        with suppress(KeyError), tracer.batch(instance_id="inst_1") as batch:
            parent = batch.open("one", PARENT)
            with batch.phase("commit"):
                raise KeyError("secret")
    spans = exporter.get_finished_spans()
    assert [span.name for span in spans] == ["work", "commit", "one"]
    assert [span.attributes["error.type"] for span in spans] == ["ValueError", "KeyError", "KeyError"]
    assert parent is not None
    assert parent.startswith(PARENT[:36])
    assert spans[1].parent.span_id == spans[2].get_span_context().span_id
    assert "5511999999999" not in "".join(span.to_json() for span in spans)


def test_off_is_nothing_at_all() -> None:
    with UNTRACED.span("x", parent=PARENT, a=1) as span, UNTRACED.batch(a=1) as batch:
        assert span.traceparent is None
        assert batch.open("y", PARENT) is None
        with batch.phase("z"):
            span.note(b=2)
        assert batch is span  # one object for everything: nothing is made per message


async def test_settings_choose_and_a_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    async with tracing(Settings.from_environment({})) as tracer:
        assert tracer is UNTRACED
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.http.trace_exporter", None)
    with pytest.raises(SettingsError, match=r"WHATISUP_TRACES.*\[otel\]"):
        async with tracing(Settings.from_environment({"WHATISUP_TRACES": "otlp"})):
            pass


async def test_console_writes_a_line_a_span(capsys: pytest.CaptureFixture[str]) -> None:
    async with tracing(Settings.from_environment({"WHATISUP_TRACES": "console"})) as tracer:
        with tracer.span("work", instance_id="inst_1"):
            pass
    (line,) = capsys.readouterr().err.splitlines()
    assert '"whatisup.instance_id": "inst_1"' in line
    assert '"service.name": "whatisup"' in line


async def test_otlp_goes_where_the_environment_says(monkeypatch: pytest.MonkeyPatch) -> None:
    bodies: list[bytes] = []

    async def collect(stream: trio.SocketStream) -> None:
        async with stream:
            bodies.append(await stream.receive_some(65536))
            await stream.send_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")

    async with trio.open_nursery() as nursery:
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        nursery.start_soon(trio.serve_listeners, collect, listeners)
        port = listeners[0].socket.getsockname()[1]
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{port}")
        async with tracing(Settings.from_environment({"WHATISUP_TRACES": "otlp"})) as tracer:
            with tracer.span("work"):
                pass
        nursery.cancel_scope.cancel()
    assert bodies[0].startswith(b"POST /v1/traces")


def test_nobody_imports_opentelemetry_unasked() -> None:
    code = "import sys, api.bootstrap; sys.exit(any(name.startswith('opentelemetry') for name in sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
