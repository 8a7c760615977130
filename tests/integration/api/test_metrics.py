"""The numbers of a whole gateway, and what the dashboard and the alerts in `deploy/grafana` make of them."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio
import yaml
from prometheus_client.parser import text_string_to_metric_families

from actors.histogram import Histogram
from api.bootstrap import Options, Started, run_gateway
from api.demo.client import Client
from api.serving.census import Census
from api.serving.metrics import _outcome
from tests.integration.api.front import Front, settings_for
from whatisup.store import Mode

ROOT = Path(__file__).parents[3]
GRAFANA = ROOT / "deploy" / "grafana"
LABELS = {"mode", "status", "event", "before", "after", "cause", "stage", "state", "method", "route", "code"}
LABELS |= {"outcome", "version", "le"}

_NAME = re.compile(r"\b(?:whatisup|process)_[a-z_]+\b")
_SELECTOR = re.compile(r"\b((?:whatisup|process)_[a-z_]+)\{([^}]*)\}")
_LABEL = re.compile(r"([a-z_]+)(?:=~|!=|!~|=)")


@asynccontextmanager
async def running(folder: Path, **environment: str) -> AsyncIterator[Started]:
    stop = trio.Event()
    settings = settings_for(folder, **environment)
    async with trio.open_nursery() as nursery:
        with trio.fail_after(30):
            started: Started = await nursery.start(partial(run_gateway, settings, Options(has_sandbox=False), stop))
        yield started
        stop.set()


def client(started: Started, key: str | None = None) -> Client:
    return Client("127.0.0.1", int(started.urls[0].rsplit(":", 1)[1]), key)


async def scrape(started: Started) -> dict[str, Any]:
    """Every metric family of a scrape by name, after a little of everything has happened."""
    assert started.first_keys is not None
    api = client(started, started.first_keys.test)
    await api.call("POST", "/v1/instances", {"name": "a"})
    assert (await api.ask("GET", "/v1/instances/inst_unknown")).status == 404
    answer = await client(started).ask("GET", "/metrics")
    assert answer.status == 200
    return {family.name: family for family in text_string_to_metric_families(answer.body.decode())}


def exported(families: dict[str, Any]) -> dict[str, set[str]]:
    """What may stand in an expression: each name, with the labels of its samples."""
    names: dict[str, set[str]] = {}
    for family in families.values():
        names.setdefault(f"{family.name}_total" if family.type == "counter" else family.name, set())
        for sample in family.samples:
            names.setdefault(sample.name, set()).update(sample.labels)
    return names


def dashboard_expressions(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        if "expr" in node:
            yield node["expr"]
        if "definition" in node:
            yield node["definition"]
        for inner in node.values():
            yield from dashboard_expressions(inner)
    elif isinstance(node, list):
        for inner in node:
            yield from dashboard_expressions(inner)


def rules() -> list[dict[str, Any]]:
    groups = yaml.safe_load((GRAFANA / "alerts.yaml").read_text("utf-8"))["groups"]
    return [rule for group in groups for rule in group["rules"]]


@pytest.fixture
async def families(folder: Path) -> AsyncIterator[dict[str, Any]]:
    async with running(folder) as started:
        yield await scrape(started)


async def test_every_metric_says_what_it_is_and_labels_nobody(families: dict[str, Any]) -> None:
    assert [name for name, family in families.items() if not family.documentation.strip()] == []
    ours = [family for name, family in families.items() if name.startswith("whatisup_")]
    assert len(ours) >= 35
    assert {label for family in ours for sample in family.samples for label in sample.labels} <= LABELS
    values = {value for family in ours for sample in family.samples for value in sample.labels.values()}
    assert not [value for value in values if re.search(r"(inst|cust|key|evt|wh|dlv|req)_[0-9A-Z]|\d{7}", value)]


async def test_dashboard_and_alerts_use_only_what_is_exported(families: dict[str, Any]) -> None:
    known = exported(families)
    dashboard = json.loads((GRAFANA / "dashboard.json").read_text("utf-8"))
    expressions = [*dashboard_expressions(dashboard), *(rule["expr"] for rule in rules())]
    assert len(expressions) > 50
    used = {name for expression in expressions for name in _NAME.findall(expression)}
    assert used - known.keys() == set()
    for expression in expressions:
        for name, selectors in _SELECTOR.findall(expression):
            labels = set(_LABEL.findall(selectors)) - {"instance", "job"}  # Prometheus' own
            assert not known[name] or labels <= known[name], expression


def test_a_metric_that_is_missing_would_be_noticed() -> None:
    assert _NAME.findall('sum(rate(whatisup_nonsense_total{code="x"}[5m])) > process_open_fds') == [
        "whatisup_nonsense_total",
        "process_open_fds",
    ]


@pytest.mark.parametrize("rule", rules(), ids=lambda rule: rule["alert"])
def test_alert_says_how_bad_it_is_and_what_to_do(rule: dict[str, Any]) -> None:
    assert re.fullmatch("WhatIsUp[A-Za-z]+", rule["alert"])
    assert rule["labels"]["severity"] in {"page", "warn"}
    assert rule["annotations"]["summary"].endswith(".")
    assert rule["annotations"]["action"].endswith(".")
    assert rule["expr"].count("(") == rule["expr"].count(")")


async def test_numbers_follow_what_happens(families: dict[str, Any]) -> None:
    def value(name: str, **labels: str) -> float:
        family = families[name.removesuffix("_total").removesuffix("_count")]
        return sum(s.value for s in family.samples if s.name == name and labels.items() <= s.labels.items())

    assert value("whatisup_sessions", mode="test", status="pending") == 1
    assert value("whatisup_http_requests_total", method="POST", route="/v1/instances", status="201") == 1
    assert value("whatisup_http_request_seconds_count", method="POST", route="/v1/instances") == 1
    assert value("whatisup_http_problems_total", code="instance_not_found") == 1
    assert value("whatisup_http_problems_total", code="rate_limited") == 0
    assert value("whatisup_http_problems_total", code="internal_error") == 0
    assert value("whatisup_store_available") == 1
    commits = value("whatisup_commits_total")
    assert commits == value("whatisup_commit_seconds_count") == value("whatisup_commit_items_count") > 0
    assert value("whatisup_commit_wait_seconds_count") >= commits
    assert value("whatisup_webhook_queue", status="pending") == 0
    assert value("whatisup_webhook_attempts_total", outcome="ok") == 0
    assert value("process_resident_memory_bytes") > 1 << 20


async def test_undecryptable_messages_are_counted_by_how_far_their_repair_is(front: Front) -> None:
    front.edge.system.bus.unread[Mode.TEST, "ended"] += 3
    answer = await front.client.get("/metrics", scope_base={"client": ("127.0.0.1", 50_000)})
    text = await answer.get_data(as_text=True)
    assert 'whatisup_messages_undecryptable_total{mode="test",state="ended"} 3.0' in text
    assert 'whatisup_messages_undecryptable_total{mode="live",state="pending"} 0.0' in text


@pytest.mark.parametrize(
    ("slug", "label"),
    [
        ("ok", "ok"), ("timeout", "timeout"), ("http_503", "http_5xx"), ("http_418", "http_4xx"),
        ("http_999", "other"), ("http_", "other"), ("whatever-comes", "other"),
    ],
)  # fmt: skip
def test_outcomes_have_few_labels(slug: str, label: str) -> None:
    assert _outcome(slug) == label


def test_histogram_counts_up_to_each_bound() -> None:
    sizes = Histogram((1.0, 2.0))
    for value in (0.5, 1.0, 1.5, 7.0):
        sizes.observe(value)
    assert list(sizes.cumulative()) == [(1.0, 2), (2.0, 3), (float("inf"), 4)]
    assert (sizes.count, sizes.total) == (4, 10.0)


async def test_census_is_taken_a_twentieth_of_the_time(front: Front, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = 0
    real = front.store.read

    def slow(*args: Any) -> Any:
        nonlocal calls
        calls += 1
        trio.from_thread.run(trio.sleep, 0.05)
        return real(*args)

    monkeypatch.setattr(front.store, "read", slow)
    census = Census()
    first = await census.count(front.database)
    assert first is not None
    for _ in range(5):
        assert await census.count(front.database) is first
    assert calls == 1, "what took 50 ms is believed for a second"


async def test_scrape_waits_for_no_database_that_hangs(front: Front, monkeypatch: pytest.MonkeyPatch) -> None:
    release = trio.Event()
    monkeypatch.setattr("api.serving.census.COUNT_S", 0.1)
    monkeypatch.setattr(front.store, "read", lambda *_: trio.from_thread.run(release.wait))
    with trio.fail_after(5):
        answer = await front.client.get("/metrics", scope_base={"client": ("127.0.0.1", 50_000)})
        text = await answer.get_data(as_text=True)
    release.set()
    assert "whatisup_writer_queue" in text
    assert "whatisup_sessions" not in text
