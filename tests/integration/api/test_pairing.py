"""Test keys pair against the sandbox through the API: by QR, by linking code; phones and faults of one's own alone."""

from __future__ import annotations

import pytest
import trio

from api.routes import sandbox
from tests.integration.api.front import Front

PHONES = "/v1/sandbox/phones"
FAULTS = "/v1/sandbox/faults"


async def test_qr_is_json_or_a_picture_by_accept(paired_front: Front) -> None:
    alice = await paired_front.holder()
    path = f"/v1/instances/{await alice.create()}/qr"
    body = await alice.call("GET", path)
    assert set(body) == {"qr", "code", "status", "expires_at"}
    assert body["qr"].startswith("data:image/png;base64,")
    assert (body["status"], body["expires_at"][-1]) == ("qr_required", "Z")
    assert "," in body["code"]
    png = await alice.ask("GET", path, Accept="image/png")
    assert (png.content_type, (await png.get_data())[:8]) == ("image/png", b"\x89PNG\r\n\x1a\n")
    svg = await alice.ask("GET", path, Accept="image/svg+xml")
    assert (svg.content_type, b"<svg" in await svg.get_data()) == ("image/svg+xml", True)
    art = await alice.ask("GET", path, Accept="text/plain")
    assert art.content_type == "text/plain; charset=utf-8"
    assert "▄" in await art.get_data(as_text=True)
    browser = await alice.ask("GET", path, Accept="image/avif,image/webp,image/*,*/*;q=0.8")
    assert browser.content_type == "image/png"


async def test_qr_that_nobody_waits_for_is_503_and_comes_later(paired_front: Front) -> None:
    alice = await paired_front.holder()
    path = f"/v1/instances/{await alice.create()}/qr"
    answer = await alice.ask("GET", f"{path}?wait_s=0")
    assert (answer.status_code, (await answer.get_json())["error"]["code"]) == (503, "no_qr")
    assert answer.headers["Retry-After"] == "2"
    assert (await alice.call("GET", path))["status"] == "qr_required"


async def test_scan_links_the_phone_and_the_session_lives(paired_front: Front) -> None:
    alice = await paired_front.holder()
    instance_id, number = await alice.create(), await alice.create_phone()
    linked = await alice.call("POST", f"{PHONES}/{number}/scan", {"instance_id": instance_id})
    assert linked == {"number": number, "device": linked["device"], "instance_id": instance_id, "method": "qr"}
    row = await alice.status(instance_id, "connected")
    assert row["phone_number"] == number
    (phone,) = (await alice.call("GET", PHONES))["data"]
    assert [device["device"] for device in phone["devices"]] == [linked["device"]]
    assert await alice.refused("GET", f"/v1/instances/{instance_id}/qr") == (409, "session_exists")
    code = await alice.refused("POST", f"/v1/instances/{instance_id}/pair-code", {"phone_number": number})
    assert code == (409, "session_exists")


async def test_stop_start_and_logout(paired_front: Front) -> None:
    alice = await paired_front.holder()
    instance_id, _ = await alice.pair()
    path = f"/v1/instances/{instance_id}"
    stopped = await alice.call("POST", f"{path}/stop")
    assert (stopped["status"], stopped["detail"]) == ("disconnected", "stopped")
    assert (await alice.call("POST", f"{path}/start"))["status"] == "reconnecting"
    await alice.status(instance_id, "connected")
    out = await alice.call("POST", f"{path}/logout")
    assert (out["unlinked"], out["status"], out["reason"], out["phone_number"]) == (
        True,
        "disconnected",
        "logout",
        None,
    )


async def test_pair_code_is_typed_by_the_phone(paired_front: Front) -> None:
    alice = await paired_front.holder()
    instance_id, number = await alice.create(), await alice.create_phone()
    path = f"/v1/instances/{instance_id}/pair-code"
    offer = await alice.call("POST", path, {"phone_number": f"+{number}"}, Idempotency_Key="k")
    assert set(offer) == {"code", "status", "expires_at"}
    assert len(offer["code"]) == 9
    assert offer["code"][4] == "-"
    assert await alice.call("POST", path, {"phone_number": f"+{number}"}, Idempotency_Key="k") == offer
    linked = await alice.call("POST", f"{PHONES}/{number}/scan", {"instance_id": instance_id})
    assert linked["method"] == "linking_code"
    await alice.status(instance_id, "connected")


async def test_pair_code_for_somebody_elses_phone_is_refused(paired_front: Front) -> None:
    alice, bob = await paired_front.holder("alice"), await paired_front.holder("bob")
    theirs = await bob.create_phone()
    path = f"/v1/instances/{await alice.create()}/pair-code"
    for number in (theirs, "999000000000"):
        assert await alice.refused("POST", path, {"phone_number": number}) == (422, "validation_failed")


async def test_phone_of_somebody_else_does_not_exist(paired_front: Front) -> None:
    alice, bob = await paired_front.holder("alice"), await paired_front.holder("bob")
    number, mine = await alice.create_phone(), await bob.create()
    for action in ("scan", "unlink"):
        path = f"{PHONES}/{number}/{action}"
        assert await bob.refused("POST", path, {"instance_id": mine}) == (404, "phone_not_found")
    assert (await bob.call("GET", PHONES))["data"] == []
    assert await bob.refused("POST", PHONES, {"number": number}) == (409, "phone_exists")
    fault = {"name": "drop", "number": number}
    assert await bob.refused("POST", FAULTS, fault) == (404, "phone_not_found")


async def test_own_phone_does_not_scan_somebody_elses_instance(paired_front: Front) -> None:
    alice, bob = await paired_front.holder("alice"), await paired_front.holder("bob")
    number, theirs = await alice.create_phone(), await bob.create()
    for action in ("scan", "unlink"):
        path = f"{PHONES}/{number}/{action}"
        assert await alice.refused("POST", path, {"instance_id": theirs}) == (404, "instance_not_found")
    fault = {"name": "drop", "instance_id": theirs}
    assert await alice.refused("POST", FAULTS, fault) == (404, "instance_not_found")


async def test_phones_page_and_may_choose_their_number(paired_front: Front) -> None:
    alice = await paired_front.holder()
    chosen = await alice.call("POST", PHONES, {"number": "999123456789", "name": "Ada"}, 201)
    assert (chosen["number"], chosen["name"], chosen["devices"]) == ("999123456789", "Ada", [])
    assert await alice.refused("POST", PHONES, {"number": "999123456789"}) == (409, "phone_exists")
    made = {chosen["number"], await alice.create_phone(), await alice.create_phone()}
    first = await alice.call("GET", f"{PHONES}?limit=2")
    rest = await alice.call("GET", f"{PHONES}?limit=2&cursor={first['next_cursor']}")
    assert {phone["number"] for phone in first["data"] + rest["data"]} == made
    assert rest["next_cursor"] is None


async def test_phone_is_created_once_per_idempotency_key(paired_front: Front) -> None:
    alice = await paired_front.holder()
    numbers: list[str] = []

    async def post() -> None:
        numbers.append((await alice.call("POST", PHONES, {}, 201, Idempotency_Key="k"))["number"])

    async with trio.open_nursery() as nursery:
        for _ in range(4):
            nursery.start_soon(post)
    assert len(set(numbers)) == 1
    assert len((await alice.call("GET", PHONES))["data"]) == 1


async def test_unlink_on_the_phone_ends_the_session(paired_front: Front) -> None:
    alice = await paired_front.holder()
    instance_id, number = await alice.pair()
    await alice.call("POST", f"{PHONES}/{number}/unlink", {"instance_id": instance_id}, 204)
    row = await alice.status(instance_id, "disconnected")
    assert (row["reason"], row["detail"]) == ("logout", "logged_out")
    again = await alice.refused("POST", f"{PHONES}/{number}/unlink", {"instance_id": instance_id})
    assert again == (409, "sandbox_refused")


async def test_unlink_by_the_wrong_phone_is_refused(paired_front: Front) -> None:
    alice = await paired_front.holder()
    instance_id, _ = await alice.pair()
    other = await alice.create_phone()
    path = f"{PHONES}/{other}/unlink"
    assert await alice.refused("POST", path, {"instance_id": instance_id}) == (409, "sandbox_refused")


async def test_fault_strikes_the_instance_it_names(paired_front: Front) -> None:
    alice = await paired_front.holder()
    (struck, _), (spared, _) = await alice.pair(), await alice.pair()
    fault = await alice.call("POST", FAULTS, {"name": "conflict-replaced", "instance_id": struck}, 201)
    assert fault["name"] == "conflict-replaced"
    assert (await alice.status(struck, "disconnected"))["reason"] == "kicked_other_device"
    assert (await alice.call("GET", f"/v1/instances/{spared}"))["status"] == "connected"


async def test_faults_of_others_are_neither_seen_nor_disarmed(paired_front: Front) -> None:
    alice, bob = await paired_front.holder("alice"), await paired_front.holder("bob")
    number = await alice.create_phone()
    fault = await alice.call("POST", FAULTS, {"name": "failure-503", "number": number, "times": 3}, 201)
    assert (await bob.call("GET", FAULTS))["data"] == []
    assert await bob.refused("DELETE", f"{FAULTS}/{fault['id']}") == (404, "fault_not_found")
    await bob.call("DELETE", FAULTS, status=204)
    assert [row["id"] for row in (await alice.call("GET", FAULTS))["data"]] == [fault["id"]]
    await alice.call("DELETE", f"{FAULTS}/{fault['id']}", status=204)
    assert (await alice.call("GET", FAULTS))["data"] == []
    await alice.call("POST", FAULTS, {"name": "failure-503", "number": number}, 201)
    await alice.call("DELETE", FAULTS, status=204)
    assert (await alice.call("GET", FAULTS))["data"] == []


@pytest.mark.parametrize(
    "body",
    [
        {"name": "drop"},
        {"name": "explode", "number": "999000000001"},
        {"name": "drop", "number": "999000000001", "instance_id": "inst_1"},
        {"name": "drop", "number": "999000000001", "times": 0},
        {"name": "drop", "number": "999000000001", "times": 1, "seconds": 1},
        {"name": "slow", "number": "999000000001", "params": {"latency_ms": "a"}},
    ],
)
async def test_fault_of_another_shape_is_422(front: Front, body: dict[str, object]) -> None:
    assert await (await front.holder()).refused("POST", FAULTS, body) == (422, "validation_failed")


async def test_one_customer_cannot_fill_the_sandbox_of_all(
    paired_front: Front, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sandbox, "MAX_PHONES", 2)
    monkeypatch.setattr(sandbox, "MAX_FAULTS", 2)
    alice, bob = await paired_front.holder("alice"), await paired_front.holder("bob")
    numbers = [await alice.create_phone() for _ in range(2)]
    assert await alice.refused("POST", "/v1/sandbox/phones", {}) == (409, "sandbox_refused")
    other = await bob.create_phone()
    fault = {"name": "drop", "number": numbers[0]}
    for _ in range(2):
        await alice.call("POST", "/v1/sandbox/faults", fault, 201)
    assert await alice.refused("POST", "/v1/sandbox/faults", fault) == (409, "sandbox_refused")
    await bob.call("POST", "/v1/sandbox/faults", {"name": "drop", "number": other}, 201)
    await alice.call("DELETE", "/v1/sandbox/faults", status=204)
    await alice.call("POST", "/v1/sandbox/faults", fault, 201)
