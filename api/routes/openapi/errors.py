"""Every code that a route can answer with, by status: from the route's own list, its access, and what it takes.

Rule: a code that a client ever sees of a route is among `codes_of`; the contract test holds the server to it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from api.problems import CODES
from api.serving.endpoint import JSON, Access, Endpoint

_KEY: Final = ("auth_missing", "auth_malformed", "auth_invalid", "auth_expired", "rate_limited", "store_unavailable")

_SHARED: Final[Mapping[Access, tuple[str, ...]]] = {
    Access.ANYBODY: (),
    Access.KEY: _KEY,
    Access.TEST_KEY: (*_KEY, "not_found", "sandbox_unavailable"),
    Access.OPERATOR: ("operator_only",),
    Access.ADMIN: ("auth_missing", "auth_malformed", "auth_invalid", "not_found", "store_unavailable"),
}

# Of what any request may break before a route is looked at.
_ALWAYS: Final = ("validation_failed", "bad_request", "internal_error")

_BODY: Final = ("invalid_json", "body_too_large", "request_timeout", "unsupported_media_type")
_IDEMPOTENCY: Final = ("idempotency_in_progress", "idempotency_mismatch")

_HEADERS: Final = {"X-Request-Id": {"$ref": "#/components/headers/RequestId"}}

RATE_HEADERS: Final = {
    f"X-RateLimit-{name}": {"$ref": f"#/components/headers/{header}"}
    for name, header in (("Limit", "RateLimit"), ("Remaining", "RateRemaining"), ("Reset", "RateReset"))
}
"""Of every answer to a request with an API key."""


def codes_of(endpoint: Endpoint) -> frozenset[str]:
    """Every code that the route can answer with."""
    codes = {*_SHARED[endpoint.access], *endpoint.problems, *_ALWAYS, *_BODY}
    if endpoint.scopes:
        codes.add("insufficient_scope")
    if endpoint.is_customer_wide:
        codes.add("instance_scoped_key")
    if "{" in endpoint.path:
        codes.add("not_found")
    if "mailbox_full" in codes:
        codes.add("command_refused")  # an instance's actor is asked, and may say no
    if endpoint.takes_idempotency_key:
        codes.update(_IDEMPOTENCY)
    return frozenset(codes)


def error_responses(endpoint: Endpoint) -> dict[str, Any]:
    """Write a response for each status that the route's codes have."""
    by_status: dict[int, list[str]] = {}
    for code in sorted(codes_of(endpoint)):
        by_status.setdefault(CODES[code].status, []).append(code)
    shared = _HEADERS | (RATE_HEADERS if endpoint.access.needs_key else {})
    return {
        str(status): _response(status, codes, _HEADERS if status == 401 else shared)
        for status, codes in sorted(by_status.items())
    }


def _response(status: int, codes: list[str], shared: Mapping[str, Any]) -> dict[str, Any]:
    headers = dict(shared)
    if status == 401:
        headers["WWW-Authenticate"] = {"$ref": "#/components/headers/Challenge"}
    if any(CODES[code].retry_after_s is not None for code in codes) or status == 429:
        headers["Retry-After"] = {"$ref": "#/components/headers/RetryAfter"}
    return {
        "description": "\n".join(f"- `{code}`: {CODES[code].meaning}" for code in codes),
        "headers": headers,
        "content": {
            JSON: {
                "schema": {"$ref": "#/components/schemas/ErrorEnvelope"},
                "examples": {code: {"$ref": f"#/components/examples/{code}"} for code in codes},
            }
        },
    }


def share_responses(paths: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Put each response to an error once, named by its status and codes, and a reference wherever it stood."""
    shared: dict[str, Any] = {}
    for item in paths.values():
        for operation in item.values():
            for status, response in operation["responses"].items():
                if int(status) < 400:
                    continue
                name = _name_for(status, response, shared)
                shared[name] = response
                operation["responses"][status] = {"$ref": f"#/components/responses/{name}"}
    return shared


def _name_for(status: str, response: Mapping[str, Any], shared: Mapping[str, Any]) -> str:
    name = ".".join((status, *response["content"][JSON]["examples"]))
    # The same codes once with the headers of rate limits and once without.
    while name in shared and shared[name] != response:
        name += ".open"
    return name


def examples_of_errors(endpoints: Iterable[Endpoint]) -> dict[str, Any]:
    """An example of each error that some route answers with."""
    used = sorted({code for endpoint in endpoints for code in codes_of(endpoint)})
    return {code: _example(code) for code in used}


def error_code_schema() -> dict[str, Any]:
    """The public codes as an enumeration, each with its status and meaning."""
    return {
        "title": "ErrorCode",
        "description": "What went wrong, for programs. More may come: treat an unknown code by its status.",
        "type": "string",
        "enum": sorted(CODES),
        "x-codes": {
            name: {"status": code.status, "meaning": code.meaning, "retry_after_s": code.retry_after_s}
            for name, code in sorted(CODES.items())
        },
    }


def _example(code: str) -> dict[str, Any]:
    meaning = CODES[code].meaning
    return {
        "summary": meaning,
        "value": {"error": {"code": code, "message": meaning}, "request_id": "req_01KAN3Z6E5Q8W1V4T7R0M2YB9C"},
    }
