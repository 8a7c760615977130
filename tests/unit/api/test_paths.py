"""The short way to an endpoint finds what Quart's router finds, or nothing."""

from __future__ import annotations

import pytest
from werkzeug.exceptions import HTTPException
from werkzeug.routing import Map, Rule

from api.routes import ENDPOINTS
from api.serving.paths import Paths

PATHS = Paths(ENDPOINTS)
RULES = Map([Rule(one.rule, endpoint=one.name, methods=[one.method]) for one in ENDPOINTS], merge_slashes=False).bind(
    "localhost"
)


def routed(method: str, path: str) -> tuple[str, dict[str, str]] | None:
    try:
        name, params = RULES.match(path, method=method)
    except HTTPException:
        return None
    return name, dict(params)


def found(method: str, path: str) -> tuple[str, dict[str, str]] | None:
    match = PATHS.find(method, path)
    return None if match is None else (match[0].name, match[1])


@pytest.mark.parametrize("endpoint", ENDPOINTS, ids=lambda endpoint: str(endpoint.name))
def test_every_endpoint_is_found_as_by_the_router(endpoint: object) -> None:
    for value in ("inst_1", "qr", "a b", "é", "%2F", ".", "events", "token"):
        path = endpoint.path  # type: ignore[attr-defined]  # an Endpoint
        for part in path.split("/"):
            path = path.replace(part, value, 1) if part.startswith("{") else path
        for method in ("GET", "POST", "DELETE", "PATCH"):
            assert found(method, path) == routed(method, path), (method, path)
    assert found(endpoint.method, endpoint.path) is not None  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "path",
    ["", "/v1", "/v1/instances/", "//v1/instances", "/v1//instances", "/v1/instances//qr", "/v1/instances/a/b/c/d"],
)
def test_what_is_no_path_of_ours_is_left_to_the_router(path: str) -> None:
    assert found("GET", path) is None


@pytest.mark.parametrize("method", ["HEAD", "OPTIONS", "get", "PROPFIND"])
def test_other_methods_are_left_to_the_router(method: str) -> None:
    assert found(method, "/v1/instances") is None
