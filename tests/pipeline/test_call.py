"""Retries, fallbacks and deadlines through a real gateway before real upstreams that fail in every way."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any

import httpx2
import openai
import orjson
import pytest

from app.exchange import Arm, Count, CountMethod, Operation, Principal
from app.pipeline.call import MOST_ATTEMPTS
from app.pipeline.plan import Plan
from app.pipeline.progress import Progress
from app.pipeline.retries import EARNED, FLOAT
from tests.pipeline.books import attempts, balanced, seen, total
from tests.pipeline.parts import call
from tests.pipeline.scene import TIMEOUTS, closed_port, document, silent_port
from tests.pipeline.script import Path, Reply
from tests.support.gateway import Gateway, Json
from tests.support.sockets import chat_request, connect, read_until
from tests.support.upstream import Upstream


@pytest.fixture(scope="module")
def rescue_process() -> Iterator[Upstream]:
    """The upstream behind the fallbacks."""
    with Upstream() as upstream:
        yield upstream


@pytest.fixture(scope="module")
def running(upstream_process: Upstream, rescue_process: Upstream) -> Iterator[Gateway]:
    """One gateway for all."""
    with ExitStack() as stack:
        closed, silent = stack.enter_context(closed_port()), stack.enter_context(silent_port())
        yield stack.enter_context(Gateway(document(upstream_process.url, rescue_process.url, closed, silent)))


@pytest.fixture
def rescue(rescue_process: Upstream) -> Iterator[Upstream]:
    """The fallbacks' upstream, fresh."""
    rescue_process.reset()
    yield rescue_process
    rescue_process.check()


@pytest.fixture
def gateway(running: Gateway, upstream: Upstream, rescue: Upstream) -> Iterator[Gateway]:
    """The gateway, no grudge held from the test before; afterwards all the books balance."""
    assert running.chat("echo").status_code == 200
    upstream.reset()
    with balanced(running, upstream, rescue):
        yield running


def outcome(gateway: Gateway, response: httpx2.Response) -> tuple[int, str, int]:
    """Status, outcome and attempts of a request."""
    line = gateway.line(response)
    assert line["status"] == response.status_code
    return response.status_code, line["outcome"], line["attempts"]


def code(response: httpx2.Response) -> str:
    """The code of an error; its message names no address."""
    assert "127.0.0.1" not in response.text
    found: str = response.json()["error"]["code"]
    return found


def raised(gateway: Gateway, model: str) -> tuple[Exception, Json]:
    """What the SDK raises in the middle of a stream, and the access line."""
    before = len(gateway.lines(int(total(gateway, "sluicegate_requests_total"))))
    with gateway.sdk() as client, pytest.raises(openai.APIError) as caught:
        for _ in client.chat.completions.create(model=model, stream=True, messages=[{"role": "user", "content": "go"}]):
            pass
    assert "127.0.0.1" not in str(caught.value)
    return caught.value, gateway.lines(before + 1)[-1]


@pytest.mark.parametrize(
    ("model", "stream", "expected"),
    [
        ("fail-first-1+retry-after-0", False, (200, "ok", 2)),
        ("fail-first-1+retry-after-0", True, (200, "ok", 2)),
        ("fail-first-2+retry-after-0", True, (200, "ok", 3)),
        ("fail-first-3+retry-after-0", False, (503, "upstream_error", 3)),
        ("rate-limited-first-1-0", True, (200, "ok", 2)),
        ("error-event-first-500", True, (502, "upstream_error", 3)),
        ("fail-500", False, (502, "upstream_error", 1)),
        ("fail-504", True, (502, "upstream_error", 1)),
        ("dies", True, (502, "upstream_error", 1)),
        ("empty-body", False, (502, "upstream_error", 1)),
        ("fail-400", True, (400, "upstream_rejected", 1)),
        ("error-event-first-400", True, (400, "upstream_rejected", 1)),
    ],
)
def test_what_is_retried(
    gateway: Gateway, upstream: Upstream, model: str, *, stream: bool, expected: tuple[int, str, int]
) -> None:
    """A 503, a 429 and an error as first event; nothing that may have been billed, and nothing that is the caller's."""
    assert outcome(gateway, gateway.chat(model, stream=stream)) == expected
    assert seen([upstream]) == expected[2]


def test_a_sole_endpoint_that_is_down_is_tried_once_a_request(gateway: Gateway, upstream: Upstream) -> None:
    """After three 5xx it is down, and still tried for want of another; that is no reason to try it twice."""
    responses = [gateway.chat("fail-500") for _ in range(6)]
    assert {outcome(gateway, response) for response in responses} == {(502, "upstream_error", 1)}
    assert upstream.stats()["requests"] == 6


def test_an_overloaded_vllm_that_says_so_in_the_stream(gateway: Gateway, upstream: Upstream) -> None:
    """HTTP 200 whose first event is a 503: the caller never learns of it when the retry succeeds."""
    upstream.set(max_running=1, overload="event")
    with connect(gateway.url) as other:
        other.sendall(chat_request("answer-400+pace-20ms", stream=True))
        read_until(other, b"data: ")
        answers: list[httpx2.Response] = []
        thread = threading.Thread(target=lambda: answers.append(gateway.chat("echo", stream=True)))
        thread.start()
        upstream.wait(lambda stats: stats["per_model"].get("echo") == 1)
    thread.join(20)
    assert outcome(gateway, answers[0]) == (200, "ok", 2)
    assert answers[0].text.endswith("data: [DONE]\n\n")


def test_retry_after_is_waited_for(gateway: Gateway, upstream: Upstream) -> None:
    """The second attempt comes when the upstream said, and the wait is not the gateway's own time."""
    response = gateway.chat("rate-limited-first-1-1")
    assert outcome(gateway, response) == (200, "ok", 2)
    first, second = (line["started"] for line in upstream.log())
    assert second - first >= 0.99
    assert gateway.line(response)["overhead_ms"] < 900


@pytest.mark.parametrize("model", ["rate-limited-9", "rate-limited-5"])
def test_a_wait_that_is_too_long_is_the_callers(gateway: Gateway, model: str) -> None:
    """Over five seconds, or over what is left of the total: 429 at once, with the upstream's own retry-after."""
    response = gateway.chat(model)
    assert outcome(gateway, response) == (429, "upstream_error", 1)
    assert response.headers["retry-after"] == model[-1]
    assert code(response) == "rate_limit_exceeded"


def test_a_caller_who_leaves_while_a_retry_is_due(gateway: Gateway, upstream: Upstream) -> None:
    """No attempt is made for somebody who has gone, and the one that was refused costs nothing."""
    with connect(gateway.url) as connection:
        connection.sendall(chat_request("rate-limited-first-1-2", stream=False))
        upstream.wait(lambda stats: stats["requests"] == 1)
        time.sleep(0.2)
    gateway.until(lambda: total(gateway, "sluicegate_requests_total", deployment="to-rate-limited-first-1-2") == 1)
    line = gateway.lines(int(total(gateway, "sluicegate_requests_total")))[-1]
    assert (line["outcome"], line["attempts"], line["usage"]) == ("client_closed", 1, "nothing_sent")
    time.sleep(0.2)
    assert upstream.stats()["requests"] == 1


def test_retries_never_multiply_an_outage(gateway: Gateway, upstream: Upstream) -> None:
    """Everything fails: three attempts for the first few requests, then one each and a tenth."""
    responses = [gateway.chat("fail-503+retry-after-0@budget") for _ in range(40)]
    assert {response.status_code for response in responses} == {503}
    assert gateway.line(responses[0])["attempts"] == MOST_ATTEMPTS
    assert gateway.line(responses[-1])["attempts"] == 1
    made = upstream.stats()["requests"]
    assert 40 + FLOAT <= made <= 40 * (1 + EARNED) + FLOAT
    assert total(gateway, "sluicegate_retries_denied_total", deployment="to-fail-503+retry-after-0@budget") > 0


@pytest.mark.parametrize(
    ("model", "stream"),
    [
        ("fail-500", False), ("fail-503+retry-after-0", True), ("fail-529", False), ("rate-limited-9", False),
        ("fail-401", False), ("fail-403", True), ("bad-json", False), ("html", True), ("dies", True),
        ("empty-body", False), ("empty-stream", True), ("error-event-first-500", True),
        ("error-event-first-503", True), ("hangs", True),
        ("dead", False), ("silent", True),
    ],
)  # fmt: skip
def test_a_fallback_makes_it_good(gateway: Gateway, rescue: Upstream, model: str, *, stream: bool) -> None:
    """Every fault of the upstream: the caller gets the fallback's answer, and reads in the headers that it is one."""
    response = gateway.chat(f"{model}/rescue", stream=stream)
    assert response.status_code == 200
    assert response.headers["x-sluicegate-arm"] == "fallback"
    assert response.headers["x-sluicegate-deployment"] == "rescue"
    line = gateway.line(response)
    assert (line["deployment"], line["arm"], line["outcome"], line["output_tokens"]) == ("rescue", "fallback", "ok", 5)
    assert rescue.stats()["requests"] == 1


@pytest.mark.parametrize(
    ("model", "stream"),
    [("fail-400", False), ("fail-404", True), ("fail-422", False), ("error-event-first-400", True)],
)
def test_no_fallback_for_the_callers_own_fault(gateway: Gateway, rescue: Upstream, model: str, *, stream: bool) -> None:
    """Another deployment would say the same."""
    response = gateway.chat(f"{model}/rescue", stream=stream)
    assert outcome(gateway, response)[1:] == ("upstream_rejected", 1)
    assert response.headers["x-sluicegate-arm"] == "stable"
    assert rescue.stats()["requests"] == 0


def test_fallbacks_in_their_order(gateway: Gateway, rescue: Upstream) -> None:
    """One after the other, and no further than the first that answers."""
    response = gateway.chat("chain")
    assert (response.status_code, response.headers["x-sluicegate-deployment"]) == (200, "rescue")
    assert gateway.line(response)["attempts"] == 4
    assert rescue.stats()["per_model"] == {"answer-5": 1}


def test_when_every_fallback_fails(gateway: Gateway) -> None:
    """The last one's error is the caller's, and says which deployment it was."""
    response = gateway.chat("hopeless")
    assert outcome(gateway, response) == (429, "upstream_error", 3)
    assert response.headers["x-sluicegate-deployment"] == "busy"
    assert response.headers["retry-after"] == "9"


@pytest.mark.parametrize(
    "model", ["dies-after-3+answer-9", "closes-after-3+answer-9", "error-event-after-3", "hangs-after-3"]
)
def test_never_again_after_the_first_byte(gateway: Gateway, rescue: Upstream, model: str) -> None:
    """The caller holds a part of this answer: no retry, no fallback, an error that the SDK raises."""
    _, line = raised(gateway, f"{model}/rescue")
    kind = "upstream_timeout" if model.startswith("hangs") else "upstream_error"
    assert (line["outcome"], line["attempts"], line["arm"], line["status"]) == (kind, 1, "stable", 200)
    assert (line["usage"], line["output_tokens"]) == ("at_least", 3 + 16)
    assert rescue.stats()["requests"] == 0


def test_a_stream_without_a_first_token(gateway: Gateway) -> None:
    """504 after `first_token`; it may have been billed, so the prompt and the allowance are charged."""
    response = gateway.chat("hangs", stream=True)
    line = gateway.line(response)
    assert outcome(gateway, response) == (504, "upstream_timeout", 1)
    assert code(response) == "upstream_timeout"
    assert (line["usage"], line["output_tokens"]) == ("at_least", 16)
    assert line["overhead_ms"] < 1000 < line["duration_ms"]


def left(gateway: Gateway, upstream: Upstream, model: str, chunks: int, **fields: Any) -> tuple[Json, Json]:
    """A stream that its caller leaves after so many chunks: the access line, and what the upstream saw."""
    with connect(gateway.url) as connection:
        connection.sendall(chat_request(model, stream=True, **fields))
        data = b""
        while data.count(b'"content":') < chunks:
            data += connection.recv(65536)
    assert b'"usage":' not in data
    upstream.wait(lambda stats: stats["requests"] == 1)
    seen_there = upstream.log()[-1]
    gateway.until(lambda: seen_there["id"].encode() in gateway.access_log.read_bytes())
    return next(line for line in gateway.lines() if line["request_id"] == seen_there["id"]), seen_there


@pytest.mark.parametrize(("model", "allowance"), [("vllm", 16), ("generous", 40)])
@pytest.mark.parametrize("n", [1, 3])
def test_a_cut_stream_costs_what_the_engine_made(
    gateway: Gateway, upstream: Upstream, model: str, allowance: int, n: int
) -> None:
    """Four tokens a chunk: vLLM's running usage counts them all, over all choices, and the caller never sees it."""
    line, there = left(gateway, upstream, model, 9, n=n)
    assert (line["outcome"], line["usage"], line["input_tokens"]) == (
        "client_closed",
        "at_least",
        there["prompt_tokens"],
    )
    reported = line["output_tokens"] - allowance
    assert reported % 4 == 0
    assert 4 * (9 - n) <= reported <= there["written"]  # n of the nine said the role alone


def test_a_cut_stream_of_a_provider_that_bills_on(gateway: Gateway, upstream: Upstream) -> None:
    """`cancel_allowance: full` charges the whole bound."""
    line, _ = left(gateway, upstream, "full", 3, max_tokens=333)
    assert (line["usage"], line["output_tokens"]) == ("bound", 333)


def test_total_holds_for_everything(gateway: Gateway, rescue: Upstream) -> None:
    """A whole answer that never comes uses up the total: no fallback after it, and the bound is charged."""
    began = time.monotonic()
    response = gateway.chat("hangs/rescue")
    assert TIMEOUTS["total"] <= time.monotonic() - began < TIMEOUTS["total"] + 5
    assert outcome(gateway, response) == (504, "upstream_timeout", 1)
    assert (gateway.line(response)["usage"], gateway.line(response)["output_tokens"]) == ("bound", 512)
    assert rescue.stats()["requests"] == 0


def test_a_stream_that_is_too_long(gateway: Gateway, upstream: Upstream) -> None:
    """The total cuts it: an error event, the upstream is told to stop, what was counted is charged."""
    error, line = raised(gateway, "answer-3000+pace-10ms")
    assert getattr(error, "code", None) == "upstream_timeout"
    upstream.wait(lambda stats: stats["running"] == 0)
    made = upstream.find(line["request_id"])["made"]
    assert (line["outcome"], line["usage"]) == ("upstream_timeout", "at_least")
    assert line["output_tokens"] == 512 or made <= line["output_tokens"] <= made + 16


@pytest.mark.parametrize(
    ("model", "expected", "result"),
    [("dead", (502, "upstream_error"), "connect"), ("silent", (504, "upstream_timeout"), "connect_timeout")],
)
def test_nobody_there(gateway: Gateway, model: str, expected: tuple[int, str], result: str) -> None:
    """Refused or not accepted in time: told apart, retried within the total, free of charge."""
    before = attempts(gateway, deployment=f"to-{model}")
    response = gateway.chat(model)
    line = gateway.line(response)
    assert (response.status_code, code(response)) == expected
    assert (line["outcome"], line["usage"], line["cost_usd"]) == (expected[1], "nothing_sent", 0)
    made = attempts(gateway, deployment=f"to-{model}")
    assert made.keys() == {result}
    assert made[result] - before.get(result, 0) == line["attempts"] <= MOST_ATTEMPTS


def test_a_body_too_deep_to_be_written(gateway: Gateway, upstream: Upstream) -> None:
    """What can be read but not sent on is the caller's fault, and no attempt."""
    body = orjson.dumps({"model": "echo", "messages": [{"role": "user", "content": "x"}]})[:-1]
    text = body + b',"x":' + b"[" * 400 + b"]" * 400 + b"}"
    response = gateway.post("/v1/chat/completions", text)
    assert (code(response), outcome(gateway, response)) == ("invalid_request", (400, "refused_invalid", 0))
    assert upstream.stats()["requests"] == 0


def test_many_at_once_with_every_ending(gateway: Gateway) -> None:
    """Forty requests of all kinds together: the books balance (see the fixture), and good ones are good."""
    good = ["echo", "slow-300ms", "fail-500/rescue", "error-event-first-503/rescue"]
    bad = ["fail-400", "dies", "empty-body", "html"]
    with ThreadPoolExecutor(40) as pool:
        asked = [
            (model, pool.submit(gateway.chat, model, stream=number % 2 == 0))
            for model in good + bad
            for number in range(5)
        ]
    statuses = [(model, one.result().status_code) for model, one in asked]
    assert {status for model, status in statuses if model in good} == {200}
    assert 200 not in {status for model, status in statuses if model in bad and model != "empty-body"}


@pytest.mark.parametrize(("arm", "cap"), [(Arm.SHADOW, 1024), (Arm.STABLE, None)])
async def test_a_copy_of_a_completion_has_a_cap(arm: Arm, cap: int | None) -> None:
    """Its budget holds what the deployment makes at most; without one, a caller's goes up as it came."""
    path = Path(Reply(orjson.dumps({"choices": [{"text": "x"}]})))
    progress = Progress("shd_1", Operation.COMPLETION)
    progress.prompt = Count(10, 10, 0, CountMethod.BOUND)
    progress.principal = Principal("team", "key")
    plan = Plan(((arm, path.state.table.deployments["one"]),))
    with await path.services.caller.call(call(Operation.COMPLETION), plan, progress):
        pass
    (sent,) = path.sent
    assert orjson.loads(sent.body).get("max_tokens") == cap
