"""The callers' application: the data plane before FastAPI, every error in one shape, every answer with its id."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest
from fastapi import Body

from app.api.app import GatewayApp, ops_app
from app.errors import OVERLOADED, GatewayError
from app.exchange import Operation
from tests.support.gateway import PLAIN
from tests.support.serving import Message, Receive, Send, Serving


class Recording:
    """Stands where the data plane is: answers with the operation that it was called for."""

    async def __call__(self, operation: Operation, scope: Message, receive: Receive, send: Send) -> None:
        """Answer."""
        body = operation.encode()
        headers = [(b"content-length", b"%d" % len(body))]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})


def application() -> GatewayApp:
    """An application with routes that fail in every way."""
    app = GatewayApp(Recording(), "1.2.3")  # type: ignore[arg-type]  # the data plane is not what is tested

    @app.get("/bug")
    async def bug() -> None:
        raise RuntimeError("secret detail")

    @app.get("/busy")
    async def busy() -> None:
        raise GatewayError(OVERLOADED, "Later.", retry_after=1.2)

    @app.get("/number/{number}")
    async def number(number: int, wanted: int) -> int:
        return number + wanted

    @app.post("/body")
    async def body(given: dict[str, Any] = Body()) -> dict[str, Any]:  # noqa: B008  # FastAPI's way
        return given

    return app


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """Where it is served, by the gateway's own protocol."""
    with Serving(application()) as serving:
        yield serving.url


def get(url: str, path: str, **options: Any) -> httpx2.Response:
    """One request."""
    return httpx2.request(options.pop("method", "GET"), f"{url}{path}", timeout=10, **PLAIN, **options)


@pytest.mark.parametrize(
    ("path", "operation"),
    [("/v1/chat/completions", "chat"), ("/v1/completions", "text_completion"), ("/v1/embeddings?x=1", "embeddings")],
)
def test_the_data_planes_paths_go_around_fastapi(url: str, path: str, operation: str) -> None:
    """With their operation; a query changes nothing."""
    assert get(url, path, method="POST").text == operation


@pytest.mark.parametrize(
    ("path", "method", "status", "code", "param"),
    [
        ("/nowhere", "GET", 404, "not_found", None),
        ("/v1/chat/completions/", "POST", 404, "not_found", None),
        ("/V1/chat/completions", "POST", 404, "not_found", None),
        ("/bug", "POST", 405, "method_not_allowed", None),
        ("/bug", "GET", 500, "internal_error", None),
        ("/busy", "GET", 503, "overloaded", None),
        ("/number/x?wanted=1", "GET", 400, "invalid_request", "number"),
        ("/number/1", "GET", 400, "invalid_request", "wanted"),
        ("/body", "POST", 400, "invalid_request", None),
    ],
)
def test_every_error_has_openais_shape(
    url: str, path: str, method: str, status: int, code: str, param: str | None
) -> None:
    """FastAPI's own, Starlette's and ours; nothing of a bug's inside."""
    response = get(url, path, method=method)
    error = response.json()["error"]
    assert (response.status_code, error["code"], error["param"]) == (status, code, param)
    assert "secret detail" not in response.text
    assert error["message"]


def test_headers_of_errors(url: str) -> None:
    """`allow` names what would be right, `retry-after` is rounded up."""
    assert get(url, "/bug", method="POST").headers["allow"] == "GET"
    assert get(url, "/busy").headers["retry-after"] == "2"


def test_a_body_that_is_bad_json(url: str) -> None:
    """The caller's fault, as everywhere."""
    response = get(url, "/body", method="POST", content=b"{x", headers={"content-type": "application/json"})
    assert (response.status_code, response.json()["error"]["code"]) == (400, "invalid_request")


def test_every_answer_names_its_request(url: str, caplog: pytest.LogCaptureFixture) -> None:
    """A different id each time; a bug's is in the log, where it can be looked up."""
    ids = {get(url, path).headers["x-request-id"] for path in ("/nowhere", "/busy", "/docs", "/number/1?wanted=1")}
    assert len(ids) == 4
    failed = get(url, "/bug").headers["x-request-id"]
    end = time.monotonic() + 10  # the line is written after the answer
    while not [record for record in caplog.records if record.exc_info] and time.monotonic() < end:
        time.sleep(0.01)
    assert [getattr(record, "request_id", None) for record in caplog.records if record.exc_info] == [failed]


def test_the_page_is_made_once() -> None:
    """For callers and for operators; the version is the gateway's."""
    callers = application()
    operators = ops_app("1.2.3", callers)
    assert callers.openapi() is callers.openapi()
    assert operators.openapi() is operators.openapi()
    assert callers.openapi()["info"] == {"title": "Sluicegate", "version": "1.2.3"}
    assert set(operators.openapi()["paths"]) == set(callers.openapi()["paths"])
