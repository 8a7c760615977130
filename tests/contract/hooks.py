"""What the contract run does beside schemathesis's own checks; it is imported by schemathesis, in a process of its own.

Rule: the document is held to its word. An error's code must be among those that the document names for this operation
and status; every answer is written down for the test; what is forgiven is forgiven here, by name, with a reason.
"""

from __future__ import annotations

import json
import os
import re
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import schemathesis
from schemathesis.core.failures import Failure, ServerError
from schemathesis.openapi.checks import RejectedPositiveData

from tests.contract.world import DESTRUCTIVE

LOG: Final = Path(os.environ["CONTRACT_LOG"])
# What the document's samples call things -> what they are called in this world; and for operations that destroy.
NAMES: Final[Mapping[str, str]] = json.loads(os.environ["CONTRACT_NAMES"])
SPARE: Final[Mapping[str, Mapping[str, str]]] = json.loads(os.environ["CONTRACT_SPARE"])
# What the run cannot do without -> what operations that destroy get instead.
PROTECTED: Final[Mapping[str, str]] = json.loads(os.environ["CONTRACT_PROTECTED"])
RECEIVER: Final = os.environ["CONTRACT_RECEIVER"]

MAX_BURST: Final = 3

_KEY: Final = re.compile(r"[!-~]{1,255}")

# Refusals of requests that fit their schema, since no schema can say what would be right: the code itself says it.
HONEST: Final[Mapping[str, str]] = {
    "bad_cursor": "a cursor is opaque: any text fits its schema, and only ours are accepted",
    "target_not_found": "a message that is replied to must exist",
    "chat_not_supported_yet": "groups have JIDs of the same form",
    "url_not_allowed": "what a URL leads to is not in its form",
    "too_many_checks": "lookups of numbers have a budget",
}

HONEST_5XX: Final[Mapping[str, str]] = {"no_qr": "the asker did not want to wait for one (`wait_s=0`)"}

# `validation_failed` of requests that fit their schema: the field, and what its sentence must hold.
UNSAYABLE: Final = (
    # To JSON Schema 1.0 is an integer; here it is a number that somebody computed.
    ("*", "got `float`"),
    ("cursor", "send `after` or `cursor`"),
    ("body.message_id", "a message of somebody else can be revoked in groups only"),
    ("body.message_id", "only a message of our own can be edited"),
    ("message_id", "only messages from others can be read"),
    ("phone_number", "no sandbox phone of yours has this number"),
    ("body", "selectable_count is at most the number of options"),
    ("metadata", "holds a NUL character"),
    ("metadata", "holds a number beyond 64 bits"),
    ("metadata", "keep it within"),
    ("*", "there is nothing before 1970"),
    (None, "nothing to change"),
    ("*", "is no time"),
    ("headers", "`headers` is refused"),
    ("signing_secret", "`signing_secret` is refused"),
    ("expires_at", ""),
    ("chat", "an id of WhatsApp's holds within its chat"),
)


@schemathesis.hook
def before_load_schema(context: Any, raw_schema: dict[str, Any]) -> None:
    """Let the samples name what there is, so that requests reach further than a 404."""
    for item in raw_schema["paths"].values():
        for method, operation in item.items():
            names = {**NAMES, **SPARE.get(operation["operationId"], {})}
            item[method] = _renamed(operation, names)


def _renamed(value: Any, names: Mapping[str, str]) -> Any:
    if isinstance(value, dict):
        return {key: _renamed(inner, names) for key, inner in value.items()}
    if isinstance(value, list):
        return [_renamed(inner, names) for inner in value]
    return names.get(value, value) if isinstance(value, str) else value


@schemathesis.hook
def before_call(context: Any, case: Any, kwargs: dict[str, Any]) -> None:
    """Keep the run within bounds, and the world that it needs alive."""
    operation = case.operation.definition.raw["operationId"]
    # A case whose point is that it has no key would get one, were its headers touched.
    is_anonymous = case.meta is not None and getattr(case.meta.phase.data, "parameter", None) == "Authorization"
    if operation == "stream_events" and not is_anonymous:
        # A page of the log and not a stream, which has no end; streams have tests of their own.
        case.headers["Accept"] = "application/json"
    if _KEY.fullmatch(case.headers.get("Idempotency-Key", "")) and not is_anonymous:
        # One that comes twice gets the first answer again, with a row that may be gone. That has tests of its own.
        case.headers["Idempotency-Key"] = str(uuid.uuid4())
    body = case.body if isinstance(case.body, dict) else {}
    if str(body.get("url")).startswith("http"):
        # No name is looked up and nobody is called beyond this machine.
        body["url"] = RECEIVER
    if operation == "burst_as_sandbox_contact" and isinstance(body.get("count"), int) and body["count"] > MAX_BURST:
        # Each of its messages is encrypted, decrypted and pushed to every webhook.
        body["count"] = MAX_BURST
    if operation in DESTRUCTIVE:
        for part in (case.path_parameters, case.body):
            if isinstance(part, dict):
                part.update(_renamed(part, PROTECTED))


@schemathesis.hook
def after_call(context: Any, case: Any, response: Any) -> None:
    """Write down what was asked and answered."""
    line = {
        "operation": case.operation.definition.raw["operationId"],
        "asked": response.request.method,
        "declared": case.operation.method.upper(),
        "status": response.status_code,
        "code": code_of(response),
        "elapsed": round(response.elapsed, 3),
    }
    with LOG.open("a") as log:
        log.write(json.dumps(line) + "\n")


@schemathesis.check
def documented_code(ctx: Any, response: Any, case: Any) -> None:
    """Hold an error to the codes that the document names for this operation and status."""
    if response.status_code < 400 or response.request.method != case.operation.method.upper():
        return
    described = case.operation.definition.raw["responses"].get(str(response.status_code))
    if described is None:
        return  # status_code_conformance says so
    if case.operation.definition.raw["operationId"] == "get_readiness":
        return
    if "$ref" in described:
        described = case.operation.schema.raw_schema["components"]["responses"][described["$ref"].rpartition("/")[2]]
    code = code_of(response)
    codes = described["content"]["application/json"]["examples"]
    assert code in codes, f"{code} is not among the documented {sorted(codes)}"
    assert response.json()["request_id"] == response.headers["x-request-id"][0]


@schemathesis.hook
def filter_failure(context: Any, failure: Failure, case: Any, response: Any) -> bool:
    """Forgive refusals that are honest though the request fits its schema."""
    code = code_of(response)
    if isinstance(failure, ServerError):
        return code not in HONEST_5XX
    if not isinstance(failure, RejectedPositiveData):
        return True
    if code in HONEST:
        return False
    if code != "validation_failed":
        return True
    error = response.json()["error"]
    # None: of no single field.
    at = error.get("details", {}).get("field")
    return not any(field in ("*", at) and words in error["message"] for field, words in UNSAYABLE)


def code_of(response: Any) -> str | None:
    """The public code in an answer."""
    if response.status_code < 400:
        return None
    try:
        code = json.loads(response.content)["error"]["code"]
    except (ValueError, KeyError, TypeError):
        return None
    return str(code)
