"""One page documents everything that is served, and nothing else; it is valid, and it is served."""

from __future__ import annotations

from typing import Any

import pytest
from openapi_spec_validator import validate

from app.api.hot import OPERATIONS, SURFACES
from app.api.openapi import SHAPES
from app.errors import CODES
from app.exchange import UPSTREAM_OPERATIONS
from tests.support.gateway import Gateway

CALLERS = {
    "/livez",
    "/readyz",
    "/v1/models",
    "/v1/models/{name}",
    "/v1/usage",
    "/v1/feedback",
    "/v1/moderations",
    *OPERATIONS,
}
OPERATORS = {
    "/metrics",
    *(f"/admin/v1/{path}" for path in ("config", "config/reload", "tenants", "keys", "audit", "usage", "budgets")),
    *(f"/admin/v1/keys/{{key_id}}{action}" for action in ("", "/rotate")),
    "/admin/v1/tenants/{name}",
    *(f"/admin/v1/rollouts{path}" for path in ("", "/{model}", "/{model}/shadow-report")),
    *(f"/admin/v1/rollouts/{{model}}/{act}" for act in ("start", "pause", "resume", "advance", "promote", "abort")),
    "/admin/v1/rollouts/{model}/set-weight",
}


@pytest.fixture(scope="module", params=["callers", "operators"])
def page(request: pytest.FixtureRequest, tight: Gateway) -> dict[str, Any]:
    """The page as either listener serves it."""
    ask = tight.get if request.param == "callers" else tight.ops
    response = ask("/openapi.json", key=None)
    assert response.status_code == 200
    found: dict[str, Any] = response.json()
    found["listener"] = request.param
    return found


def test_the_page_is_valid(page: dict[str, Any]) -> None:
    """OpenAPI 3.1, every reference leads somewhere."""
    assert page["openapi"].startswith("3.1")
    validate({name: value for name, value in page.items() if name != "listener"})


def test_the_page_holds_what_is_served(page: dict[str, Any]) -> None:
    """The operators' page holds the callers' paths too."""
    assert set(page["paths"]) == CALLERS | (OPERATORS if page["listener"] == "operators" else set())
    assert list(page["paths"]) == sorted(page["paths"])


def test_the_hot_paths_are_the_documented_ones(page: dict[str, Any]) -> None:
    """What bare ASGI dispatches is what stands in the page as the data plane: POST alone."""
    tags = {path: [tag for one in methods.values() for tag in one["tags"]] for path, methods in page["paths"].items()}
    assert {path for path, found in tags.items() if "data plane" in found} == set(OPERATIONS)
    assert all(list(page["paths"][path]) == ["post"] for path in OPERATIONS)
    assert set(OPERATIONS.values()) == set(UPSTREAM_OPERATIONS)
    assert set(OPERATIONS) == set(SHAPES)
    assert set(SURFACES) <= set(OPERATIONS)


def test_every_path_is_served_as_documented(page: dict[str, Any], tight: Gateway) -> None:
    """A documented method is none that is not allowed; the other one is. Callers' paths are served to callers."""
    for path, methods in page["paths"].items():
        target = path.replace("{name}", "echo")
        if path in OPERATORS:
            tried = ("get", "post", "put", "delete")
            statuses = {method: tight.ops(target, method=method.upper()).status_code for method in tried}
        else:
            statuses = {"get": tight.get(target).status_code, "post": tight.post(target, b"{}").status_code}
        assert {method for method, status in statuses.items() if status != 405} == set(methods), path
        assert not {404, 500} & set(statuses.values())


def test_every_operation_says_what_it_needs_and_what_may_go_wrong(page: dict[str, Any]) -> None:
    """A summary, a key where one is needed, and errors in the one shape, each code at its status."""
    for path, methods in page["paths"].items():
        for operation in methods.values():
            assert operation["summary"]
            assert bool(operation.get("security")) is (path in OPERATIONS or path.startswith(("/v1/", "/admin/")))
            assert "422" not in operation["responses"]
    for path in OPERATIONS:
        responses = page["paths"][path]["post"]["responses"]
        for code in CODES.values():
            assert f"`{code.name}`" in responses[str(code.status)]["description"]
        assert ("text/event-stream" in responses["200"]["content"]) is SHAPES[path][3]
    assert not {"HTTPValidationError", "ValidationError"} & set(page["components"]["schemas"])


def test_operation_ids_are_unique(page: dict[str, Any]) -> None:
    """Generators of clients name their functions by them."""
    names = [one["operationId"] for methods in page["paths"].values() for one in methods.values()]
    assert len(names) == len(set(names))


def test_the_page_is_there_to_be_read(tight: Gateway) -> None:
    """As HTML too, for both; it refers to the JSON beside it."""
    for response in (tight.get("/docs", key=None), tight.ops("/docs", key=None)):
        assert (response.status_code, response.headers["content-type"]) == (200, "text/html; charset=utf-8")
        assert "/openapi.json" in response.text
