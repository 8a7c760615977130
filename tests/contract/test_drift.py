"""The document, the routes, the codes, the events and the types: none may know what another does not.

Rule: whoever adds a route, a parameter, a code or an event is told here what is missing, by name.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import msgspec
import pytest
from jsonschema import Draft202012Validator
from openapi_spec_validator import OpenAPIV31SpecValidator

from api.problems import CODES, ERRORS
from api.routes import ENDPOINTS
from api.routes.openapi import codes_of, document
from api.routes.openapi.operations import PATH
from api.routes.openapi.rules import FIELDS, OBJECTS, QUERY
from api.schemas.parse import parse_json
from api.schemas.payloads import PAYLOADS
from api.serving.endpoint import JSON, Endpoint
from whatisup.webhooks.signing import sign

DOCUMENT: Final = json.loads(msgspec.json.encode(document(ENDPOINTS)))
SCHEMAS: Final = DOCUMENT["components"]["schemas"]
OPERATIONS: Final = {
    operation["operationId"]: operation for item in DOCUMENT["paths"].values() for operation in item.values()
}
ROUTES: Final = Path(__file__).resolve().parents[2] / "api" / "routes"

# Codes of requests that reach no route, and so stand in no operation.
OF_NO_ROUTE: Final = {"method_not_allowed"}

by_route = pytest.mark.parametrize("endpoint", ENDPOINTS, ids=lambda endpoint: endpoint.name)


def test_document_is_valid() -> None:
    OpenAPIV31SpecValidator(DOCUMENT).validate()


def test_every_code_is_some_routes_and_is_in_the_document() -> None:
    used = {code for endpoint in ENDPOINTS for code in codes_of(endpoint)}
    assert set(CODES) - used == OF_NO_ROUTE
    assert SCHEMAS["ErrorCode"]["enum"] == sorted(CODES)
    assert set(ERRORS.values()) <= set(CODES)
    assert set(DOCUMENT["components"]["examples"]) == used


@pytest.mark.parametrize("module", sorted(ROUTES.glob("*.py")), ids=lambda path: path.stem)
def test_codes_that_a_module_raises_are_named_by_its_routes(module: Path) -> None:
    raised = set(re.findall(r'Problem\(\s*"([a-z_]+)"', module.read_text(encoding="utf-8")))
    name = f"api.routes.{module.stem}"
    own = [endpoint for endpoint in ENDPOINTS if endpoint.handler.__module__ == name] or ENDPOINTS
    assert raised - {code for endpoint in own for code in codes_of(endpoint)} - OF_NO_ROUTE == set()


@by_route
def test_operation_is_described(endpoint: Endpoint) -> None:
    operation = OPERATIONS[endpoint.name]
    assert operation["summary"].endswith(".")
    assert operation["tags"][0] in {tag["name"] for tag in DOCUMENT["tags"]}
    assert [one["name"] for one in operation["parameters"] if not one.get("description")] == []
    assert set(re.findall(r"{(\w+)}", endpoint.path)) <= set(PATH)
    by_status = {
        int(status): set(found(response)["content"][JSON]["examples"])
        for status, response in operation["responses"].items()
        if int(status) >= 400
    }
    assert set().union(*by_status.values()) == codes_of(endpoint)
    assert all(CODES[code].status == status for status, codes in by_status.items() for code in codes)


@by_route
def test_samples_of_bodies_are_bodies(endpoint: Endpoint) -> None:
    body = OPERATIONS[endpoint.name].get("requestBody", {"content": {JSON: {}}})["content"][JSON]
    assert bool(body) is endpoint.takes_body
    for sample in samples(body):
        parse_json(json.dumps(sample).encode(), endpoint.body)
        check(sample, body["schema"])


@by_route
def test_samples_of_answers_are_answers(endpoint: Endpoint) -> None:
    for response in OPERATIONS[endpoint.name]["responses"].values():
        content = found(response).get("content", {}).get(JSON)
        for sample in samples(content or {}):
            check(sample, content["schema"])


@pytest.mark.parametrize("name", PAYLOADS)
def test_webhook_of_each_event_has_a_sample_that_fits(name: str) -> None:
    operation = DOCUMENT["webhooks"][name]["post"]
    content = operation["requestBody"]["content"][JSON]
    assert operation["summary"] != name
    assert content["example"]["event"] == name
    check(content["example"], content["schema"])


def test_document_has_every_event_and_no_other() -> None:
    assert list(DOCUMENT["webhooks"]) == list(PAYLOADS) == SCHEMAS["EventName"]["enum"]
    assert list(OPERATIONS["stream_events"]["x-events"]) == list(PAYLOADS)


def test_headers_of_a_delivery_are_those_that_are_sent() -> None:
    sent = sign(
        b"{}", secrets=["whsec_" + "A" * 44], event="e", event_id="evt_1", correlation_id=None, at=1, version="1"
    )
    described = {one["name"] for one in DOCUMENT["components"]["parameters"].values()}
    assert described == set(sent) - {"Content-Type", "User-Agent"}


def test_rules_are_about_types_that_there_are() -> None:
    queries = {endpoint.query.__name__: endpoint.query.__struct_encode_fields__ for endpoint in ENDPOINTS}
    assert set(OBJECTS) <= set(SCHEMAS)
    for place in FIELDS:
        name, _, field = place.partition(".")
        assert field in SCHEMAS[name]["properties"], place
    for place in QUERY:
        name, _, field = place.partition(".")
        assert field in queries[name], place


def test_every_schema_is_used() -> None:
    text = json.dumps(DOCUMENT)
    assert [name for name in SCHEMAS if f'"#/components/schemas/{name}"' not in text] == []


def samples(content: dict[str, Any]) -> Iterator[Any]:
    """The samples of a body or an answer."""
    if "example" in content:
        yield content["example"]
    for sample in content.get("examples", {}).values():
        yield found(sample)["value"]


def found(part: dict[str, Any]) -> dict[str, Any]:
    """A part of the document, or what it refers to."""
    if "$ref" not in part:
        return part
    kind, name = part["$ref"].split("/")[-2:]
    return DOCUMENT["components"][kind][name]


def check(value: Any, schema: dict[str, Any]) -> None:
    """Hold a value to a schema of the document."""
    Draft202012Validator({**schema, "components": {"schemas": SCHEMAS}}).validate(value)
