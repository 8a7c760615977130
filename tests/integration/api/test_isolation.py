"""Nobody reaches what is another's: every route, for a stranger's key, one of the other mode, one that is bound to
another instance, and one that lacks a scope.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import pytest
import trio

from api.problems import CODES
from api.serving.endpoint import Access, Endpoint
from tests.integration.api.front import WAIT_S, Front, Holder, Json
from tests.integration.api.walk import KNOCKS, OWN, WALKED, Knock
from whatisup.store import KeyScope, Mode

HOOK = "https://hooks.example.com/whatisup"


@dataclass(frozen=True)
class Estate:
    """What the owner has: `things` by the name of the hole that they fill in a path."""

    owner: Holder
    things: Mapping[str, str]

    async def snapshot(self) -> Json:
        """Everything that a stranger might have changed."""
        ask = partial(self.owner.call, "GET")
        instance = f"/v1/instances/{self.things['instance_id']}"
        paths = [instance, f"{instance}/messages", "/v1/audit-events?limit=100", "/v1/api-keys", "/v1/instances"]
        paths += ["/v1/webhook-endpoints", "/v1/webhook-deliveries", "/v1/sandbox/faults", "/v1/sandbox/contacts"]
        paths += [f"/v1/sandbox/contacts/{self.things['number']}/received"]
        seen = {path: await ask(path) for path in paths}
        for row in (seen[instance], *seen["/v1/instances"]["data"]):
            row.pop("last_seen_at")
        return seen


async def _status(owner: Holder, instance_id: str, message_id: str) -> str:
    row = await owner.call("GET", f"/v1/instances/{instance_id}/messages/{message_id}")
    return str(row["status"])


async def build(front: Front) -> Estate:
    owner = await front.holder("owner")
    instance_id, number = await owner.pair()
    made: Json = {}
    for thing, path, body, status in (
        ("fault_id", "/v1/sandbox/faults", {"name": "lid-only", "number": number, "times": 9}, 201),
        ("endpoint_id", "/v1/webhook-endpoints", {"url": HOOK, "events": ["*"], "instance_ids": [instance_id]}, 201),
        ("key_id", "/v1/api-keys", {"name": "second"}, 201),
    ):
        made[thing] = (await owner.call("POST", path, body, status))["id"]
    tested = await owner.call("POST", f"/v1/webhook-endpoints/{made['endpoint_id']}/test", {}, 202)
    friend = await owner.create_phone()
    said = {"to": friend, "body": {"type": "text", "text": "owners-words"}}
    sent = await owner.call("POST", f"/v1/instances/{instance_id}/messages", said, 202)
    with trio.fail_after(WAIT_S):  # so that nothing changes any more by itself
        while await _status(owner, instance_id, sent["message_id"]) != "delivered":
            await trio.sleep(0.02)
    events = await owner.call("GET", "/v1/events", Accept="application/json")
    audited = await owner.call("GET", "/v1/audit-events?action=api_key")
    things = {
        **made,
        "instance_id": instance_id,
        "number": number,
        "delivery_id": tested["id"],
        "message_id": sent["message_id"],
        "event_id": events["data"][-1]["event_id"],
        "audit_id": audited["data"][0]["id"],
        "jid": friend,
        "phone": friend,
    }
    return Estate(owner, things)


def test_every_route_that_wants_a_key_is_walked() -> None:
    assert set(KNOCKS) == {endpoint.name for endpoint in WALKED}


async def failures(
    estate: Estate, holder: Holder, expected: Any, own: Mapping[str, str], hidden: set[str]
) -> list[str]:
    """Knock at every route with `holder`'s key; what was not answered as `expected` says."""
    wrong: list[str] = []
    for endpoint in WALKED:
        for knock in KNOCKS[endpoint.name]:
            things = {**estate.things, **own}
            said, text = await _said(holder, endpoint, knock, things)
            wanted = expected(endpoint, knock)
            leaked = sorted(one for one in hidden if one in text)
            if said != wanted or leaked:
                wrong.append(f"{endpoint.name} {knock.query} {knock.body}: {said}, not {wanted}; shows {leaked}")
    return wrong


async def _said(holder: Holder, endpoint: Endpoint, knock: Knock, things: Mapping[str, str]) -> tuple[str, str]:
    """The code of the answer, or `OWN`, and what it shows but for the request's own words."""
    answer = await holder.ask(
        endpoint.method, knock.path(endpoint, things), knock.sent(things), Accept="application/json"
    )
    text = await answer.get_data(as_text=True)
    if answer.status_code < 300:
        return OWN, text
    error = (await answer.get_json())["error"]
    assert answer.status_code == CODES[error["code"]].status
    return error["code"], ""


async def test_a_stranger_reaches_nothing(paired_front: Front) -> None:
    estate, stranger = await build(paired_front), await paired_front.holder("stranger")
    own = {"own_number": await stranger.create_phone(), "own_instance": await stranger.create()}
    before = await estate.snapshot()
    hidden = {*estate.things.values(), estate.owner.customer_id, "owners-words"} - {""}
    wrong = await failures(estate, stranger, lambda endpoint, knock: knock.for_stranger(endpoint), own, hidden)
    assert wrong == []
    assert await estate.snapshot() == before


async def test_a_key_of_the_other_mode_reaches_nothing(paired_front: Front) -> None:
    estate, live = await build(paired_front), await paired_front.holder("owner", Mode.LIVE)
    own = {"own_number": "999000000000", "own_instance": await live.create()}
    before = await estate.snapshot()

    def expected(endpoint: Endpoint, knock: Knock) -> str:
        return "not_found" if endpoint.access is Access.TEST_KEY else knock.for_stranger(endpoint)

    hidden = {*estate.things.values(), "owners-words"}
    assert await failures(estate, live, expected, own, hidden) == []
    assert await estate.snapshot() == before


async def test_a_key_that_is_bound_to_another_instance_reaches_nothing(paired_front: Front) -> None:
    estate = await build(paired_front)
    owner = estate.owner
    own = {"own_instance": await owner.create("other"), "own_number": await owner.create_phone()}
    issued = await owner.call("POST", "/v1/api-keys", {"name": "bound", "instance_id": own["own_instance"]}, 201)
    before = await estate.snapshot()
    bound = replace(owner, key=issued["secret"])
    wrong = await failures(
        estate, bound, lambda endpoint, knock: knock.for_bound(endpoint), own, set(estate.things.values())
    )
    assert wrong == []
    after = await estate.snapshot()
    made_by_bound = ("/v1/audit-events?limit=100", "/v1/api-keys", "/v1/webhook-endpoints")
    assert {path: after[path] for path in after if path not in made_by_bound} == {
        path: before[path] for path in before if path not in made_by_bound
    }
    for path in made_by_bound:
        known = [row["id"] for row in before[path]["data"]]
        assert [row for row in after[path]["data"] if row["id"] in known] == before[path]["data"]


@pytest.mark.parametrize("missing", KeyScope)
async def test_a_key_that_lacks_a_scope_is_refused_wherever_it_is_needed(
    paired_front: Front, missing: KeyScope
) -> None:
    estate = await build(paired_front)
    scopes = [scope.value for scope in KeyScope if scope is not missing]
    narrow = await paired_front.holder("owner", scopes=scopes)
    stranger = await paired_front.holder("stranger", scopes=scopes)
    own = {"own_number": await estate.owner.create_phone(), "own_instance": await estate.owner.create()}
    before = await estate.snapshot()
    things = {**estate.things, **own}
    for endpoint in WALKED:
        knock = KNOCKS[endpoint.name][0]
        needs_it = missing in endpoint.scopes
        # What is not refused would be done: it is asked for by somebody to whom these things do not exist.
        said, _ = await _said(narrow if needs_it else stranger, endpoint, knock, things)
        assert (said == "insufficient_scope") == needs_it, endpoint.name
    assert await estate.snapshot() == before
