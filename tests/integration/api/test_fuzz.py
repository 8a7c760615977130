"""Whatever comes in, what goes out is an answer of the documented kind: never a 500, always the envelope."""

from __future__ import annotations

import json
import re
import tempfile
from pathlib import Path
from typing import Any
from urllib.parse import quote

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from api.problems import CODES
from api.routes import ENDPOINTS
from tests.integration.api.front import open_front

REQUESTS = 25
# 503s that say what is missing here on purpose: this front has no WhatsApp behind it.
EXPECTED_503 = {"no_qr", "sandbox_unavailable", "worker_at_capacity"}

words = st.sampled_from(
    [
        "inst_1",
        "name",
        "metadata",
        "999000000001",
        "drop",
        "*",
        "instance.*",
        "evt_1",
        "0",
        "-1",
        "nan",
        "5511999999999",
        "text",
    ]
)
texts = (
    words | st.text(max_size=20) | st.sampled_from(["\0", "\ud800".encode("utf-8", "surrogatepass").decode("latin1")])
)
scalars = st.none() | st.booleans() | st.integers() | st.floats() | texts
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3), max_leaves=6
)
fields = st.sampled_from(
    ["name", "metadata", "phone_number", "number", "instance_id", "times", "seconds", "params", "wild"]
) | st.sampled_from(["to", "body", "type", "text", "message_id", "emoji", "options", "presence", "count", "online"])
fields |= st.sampled_from(
    ["url", "events", "instance_ids", "signing_secret", "enabled", "headers", "ordering", "overlap_s", "after"]
)
bodies = (
    st.dictionaries(fields, values, max_size=5).map(lambda value: json.dumps(value).encode())
    | values.map(lambda value: json.dumps(value).encode())
    | st.binary(max_size=60)
)
parameters = st.sampled_from(
    ["limit", "cursor", "after", "events", "instance_id", "wait_s", "token", "wild", "chat", "since"]
)
queries = st.lists(st.tuples(parameters, texts), max_size=3)
headers = st.dictionaries(
    st.sampled_from(["Idempotency-Key", "Last-Event-ID", "X-Request-Id", "Content-Type"]),
    st.sampled_from(["application/json", "text/plain", "", "k", "evt_1", "9" * 300, "a b"]),
    max_size=2,
)
requests = st.tuples(st.sampled_from(ENDPOINTS), st.lists(texts, min_size=2, max_size=2), queries, headers, bodies)


def target(endpoint: Any, segments: list[str], query: list[tuple[str, str]]) -> str:
    """A path whose holes are filled, and a query string."""
    first, second = (quote(segment, safe="") or "x" for segment in segments)
    holes = iter((first, second))
    path = re.sub(r"{\w+}", lambda _: next(holes), endpoint.path)
    pairs = [(name, value) for name, value in query if not (endpoint.name == "get_qr" and name == "wait_s")]
    pairs += [("wait_s", "0")] if endpoint.name == "get_qr" else []
    return path + "?" + "&".join(f"{name}={quote(value, safe='')}" for name, value in pairs)


@given(st.lists(requests, min_size=REQUESTS, max_size=REQUESTS))
@settings(max_examples=10, deadline=None, suppress_health_check=list(HealthCheck))
async def test_any_request_gets_a_documented_answer(asked: list[Any]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        async with open_front(Path(folder), WHATISUP_MAX_BODY_BYTES="2048") as front:
            alice = await front.holder()
            known = await alice.create()
            for number, (endpoint, segments, query, extra, body) in enumerate(asked):
                if number % 3 == 0:
                    segments = [known, known]
                fields = {
                    "Authorization": f"Bearer {alice.key}",
                    "Accept": "application/json",
                    "Content-Type": "application/json",
                    **extra,
                }
                answer = await front.client.open(
                    target(endpoint, segments, query),
                    method=endpoint.method,
                    headers=fields,
                    data=body,
                    scope_base={"client": ("127.0.0.1", 1)},
                )
                if answer.status_code < 400 or endpoint.name == "get_readiness":
                    continue
                error = (await answer.get_json())["error"]
                assert CODES[error["code"]].status == answer.status_code
                assert answer.status_code != 500, error
                assert answer.status_code != 503 or error["code"] in EXPECTED_503, error
