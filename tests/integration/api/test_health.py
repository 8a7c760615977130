"""Liveness, readiness, numbers and the OpenAPI document; what strangers may see of them."""

from __future__ import annotations

from typing import Any

import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator
from quart import Response

from api.routes import ENDPOINTS
from tests.integration.api.front import OPERATOR_TOKEN, Front, refusal
from whatisup.errors import StoreUnavailable
from whatisup.store import Mode

LOOPBACK = {"client": ("127.0.0.1", 50_000)}
STRANGER = {"client": ("203.0.113.9", 50_000)}


async def get(front: Front, path: str, scope: Any, **headers: str) -> Response:
    return await front.client.get(path, scope_base=scope, headers=headers)


async def test_liveness_answers_anybody(front: Front) -> None:
    assert await (await get(front, "/healthz", STRANGER)).get_json() == {"status": "ok"}


async def test_readiness_shows_every_part_and_totals(front: Front) -> None:
    alice = await front.holder()
    await alice.create()
    answer = await get(front, "/readyz", STRANGER)
    body = await answer.get_json()
    assert (answer.status_code, body["status"]) == (200, "ready")
    assert set(body["checks"]) == {"database", "writer", "heartbeat", "sandbox", "client"}
    assert body["sessions"] == {
        "pending": 1, "qr_required": 0, "connected": 0, "reconnecting": 0, "disconnected": 0
    }  # fmt: skip
    assert b"inst_" not in await answer.get_data()


async def test_readiness_shows_a_client_version_that_whatsapp_lets_in_no_longer(front: Front) -> None:
    front.edge.system.counts.client_expires_at = front.edge.now() // 1000 + 60
    assert (await (await get(front, "/readyz", STRANGER)).get_json())["checks"]["client"]["ok"]
    front.edge.system.counts.client_expires_at = front.edge.now() // 1000 - 1
    body = await (await get(front, "/readyz", STRANGER)).get_json()
    assert (body["status"], body["checks"]["client"]["ok"]) == ("ready", False)
    assert body["checks"]["client"]["detail"] == str(front.edge.system.profile.version)


async def test_readiness_is_503_while_draining(front: Front) -> None:
    front.edge.drain()
    answer = await get(front, "/readyz", LOOPBACK)
    assert (answer.status_code, (await answer.get_json())["status"]) == (503, "draining")


async def test_readiness_is_503_when_the_database_is_gone(front: Front, monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(*_: object) -> None:
        raise StoreUnavailable("no route to postgres")

    alice = await front.holder()
    for way in ("read", "glance"):
        monkeypatch.setattr(front.store, way, gone)
    answer = await get(front, "/readyz", LOOPBACK)
    body = await answer.get_json()
    assert (answer.status_code, body["status"], body["checks"]["database"]["ok"]) == (503, "unhealthy", False)
    numbers = await (await get(front, "/metrics", LOOPBACK)).get_data(as_text=True)
    assert "whatisup_writer_queue" in numbers
    assert "whatisup_sessions" not in numbers, "what is not known is not 0"
    assert "whatisup_outbox" not in numbers
    refused = await alice.ask("GET", "/v1/instances")
    assert await refusal(refused) == (503, "store_unavailable")
    assert b"postgres" not in await refused.get_data()


@pytest.mark.parametrize(
    ("scope", "headers", "status"),
    [
        (LOOPBACK, {}, 200),
        (LOOPBACK, {"X-Forwarded-For": "203.0.113.9"}, 403),
        (LOOPBACK, {"Forwarded": "for=203.0.113.9"}, 403),
        (STRANGER, {}, 403),
        (STRANGER, {"Authorization": f"Bearer {OPERATOR_TOKEN}"}, 200),
        (STRANGER, {"Authorization": "Bearer wrong"}, 403),
    ],
)
async def test_metrics_are_for_operators(front: Front, scope: Any, headers: dict[str, str], status: int) -> None:
    assert (await get(front, "/metrics", scope, **headers)).status_code == status


async def test_metrics_count_and_name_nobody(front: Front) -> None:
    alice = await front.holder()
    instance_id = await alice.create()
    await front.client.open("/v1/instances/5511999999999", method="FROBNICATE")
    front.edge.system.bus.told[Mode.TEST, "message.sent"] += 2
    text = await (await get(front, "/metrics", LOOPBACK)).get_data(as_text=True)
    assert 'whatisup_sessions{mode="test",status="pending"} 1.0' in text
    assert 'route="/v1/instances",status="201"} 1.0' in text
    assert 'whatisup_outbox_messages{stage="queued"} 0.0' in text
    assert 'whatisup_events_total{event="message.sent",mode="test"} 2.0' in text
    for family in ("commits_total", "writer_queue", "writer_lag_seconds", "event_streams", "event_loop_lag_seconds"):
        assert f"\nwhatisup_{family} " in text
    for name in (instance_id, alice.customer_id, "5511999999999", "FROBNICATE"):
        assert name not in text


async def document(front: Front) -> Any:
    return await (await get(front, "/openapi.json", STRANGER)).get_json()


async def test_openapi_document_is_valid(front: Front) -> None:
    described = await document(front)
    assert described["openapi"] == "3.1.0"
    OpenAPIV31SpecValidator(described).validate()


async def test_openapi_document_has_every_route_and_no_other(front: Front) -> None:
    app = front.client.app  # type: ignore[attr-defined]  # Quart's own client has it
    routed = {
        (rule.rule.replace("<", "{").replace(">", "}"), method.lower())
        for rule in app.url_map.iter_rules()
        for method in rule.methods - {"HEAD"}
    }
    described = {(path, method) for path, item in (await document(front))["paths"].items() for method in item}
    assert described == routed
    assert len(routed) == len(ENDPOINTS)


@pytest.mark.parametrize("endpoint", ENDPOINTS, ids=lambda e: e.name)
async def test_openapi_operation_tells_how_it_fails(front: Front, endpoint: Any) -> None:
    operation = (await document(front))["paths"][endpoint.path][endpoint.method.lower()]
    assert str(endpoint.status) in operation["responses"]
    assert "500" in operation["responses"]
    named = {parameter["name"] for parameter in operation["parameters"]}
    assert named >= set(endpoint.query.__struct_fields__) - {"token"}  # a way to authenticate
    assert named >= {part[1:-1] for part in endpoint.path.split("/") if part.startswith("{")}
