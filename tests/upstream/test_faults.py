"""Every way of failing that a name can ask for."""

from __future__ import annotations

import gzip
import json
import time
import zlib

import pytest

from tests.support.upstream import Upstream
from tests.upstream.client import Client, body, raw

USAGE = {"include_usage": True}


@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 422, 429, 500, 502, 503, 504])
def test_fail_answers_the_status_with_an_error_body(client: Client, upstream: Upstream, status: int) -> None:
    """Streamed or not; nothing is made."""
    for reply in (client.chat(f"fail-{status}"), client.chat(f"fail-{status}", stream=True)):
        assert reply.status == status
        assert reply.doc == {"error": "Unauthorized"} if status == 401 else reply.doc["error"]["code"] == status
    assert [(line["made"], line["status"], line["fault"]) for line in upstream.log()] == [(0, status, str(status))] * 2


def test_every_nth_request_fails(client: Client) -> None:
    """Counted per name: a label makes another model of it."""
    assert [client.chat("flaky-3").status for _ in range(7)] == [200, 200, 500, 200, 200, 500, 200]
    assert [client.chat("flaky-2-503@other").status for _ in range(2)] == [200, 503]


def test_the_first_requests_fail(client: Client, upstream: Upstream) -> None:
    """And a reset begins anew."""
    assert [client.chat("fail-first-2").status for _ in range(3)] == [503, 503, 200]
    replies = [client.chat("rate-limited-first-1-0") for _ in range(2)]
    assert [reply.status for reply in replies] == [429, 200]
    assert replies[0].headers["retry-after"] == "0"
    upstream.reset()
    assert client.chat("fail-first-2").status == 503
    assert client.chat("rate-limited-2").headers["retry-after"] == "2"


def test_a_failure_can_say_when_to_come_back(client: Client) -> None:
    """Any status; a limit says so by itself."""
    reply = client.chat("fail-first-1+retry-after-7")
    assert (reply.status, reply.headers["retry-after"]) == (503, "7")
    assert "retry-after" not in client.chat("fail-503").headers


def test_a_stale_connection_ends_without_an_answer(client: Client, upstream: Upstream) -> None:
    """Only one that has served before: a fresh one gets its answer."""
    assert client.chat("stale").status == 200
    with pytest.raises(ConnectionError):
        client.chat("stale")
    client.close()
    assert client.chat("stale").status == 200
    assert [(line["nth"], line["fault"]) for line in upstream.log()] == [(1, None), (2, "stale"), (1, None)]


def test_hangs_takes_the_request_and_says_nothing(upstream: Upstream) -> None:
    """Until the caller gives up, which is noticed."""
    with Client(upstream, timeout=0.2) as client, pytest.raises(TimeoutError):
        client.chat("hangs")
    upstream.wait(lambda stats: stats["running"] == 0)
    line = upstream.log()[-1]
    assert (line["first"], line["made"], line["status"], line["fault"]) == (None, 0, 0, "hangs")
    assert line["gone"] > line["started"] + 0.1


def test_hangs_after_some_chunks(upstream: Upstream) -> None:
    """Head and three chunks come, then silence; three tokens were made."""
    with Client(upstream, timeout=0.2) as client:
        stream = client.stream("hangs-after-3")
        assert isinstance(stream.broken, TimeoutError)
        assert stream.text == "the river rises"
    upstream.wait(lambda stats: stats["running"] == 0)
    assert upstream.log()[-1]["made"] == 3


@pytest.mark.parametrize(("model", "error"), [("dies", ConnectionResetError), ("closes", ConnectionError)])
def test_the_connection_ends_before_the_head(
    client: Client, upstream: Upstream, model: str, error: type[Exception]
) -> None:
    """Reset, or politely."""
    with pytest.raises(error):
        client.chat(model)
    assert upstream.log()[-1]["gone"] is None


@pytest.mark.parametrize("model", ["dies-after-3", "dies-mid-stream", "closes-after-3", "truncated"])
def test_a_stream_ends_without_its_end(client: Client, upstream: Upstream, model: str) -> None:
    """Three chunks arrive, the last chunk of the transfer encoding does not."""
    stream = client.stream(model, stream_options=USAGE)
    assert stream.text == "the river rises"
    assert "[DONE]" not in stream.events
    line = upstream.log()[-1]
    assert (line["made"], line["complete"], line["reported"]) == (3, False, None)
    assert stream.broken is not None or not model.startswith("dies")


@pytest.mark.parametrize("model", ["dies-after-3", "closes-after-3", "truncated"])
def test_a_whole_answer_ends_before_its_length(client: Client, upstream: Upstream, model: str) -> None:
    """`truncated` sends all of the JSON and still less than it promised."""
    request = json.dumps(body(model)).encode()
    data = b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
    try:
        answer = raw(upstream, data + b"content-length: %d\r\n\r\n%b" % (len(request), request))
    except ConnectionResetError:
        assert model == "dies-after-3"
        return
    head, _, rest = answer.partition(b"\r\n\r\n")
    promised = int(head.partition(b"content-length: ")[2].partition(b"\r\n")[0])
    assert len(rest) < promised
    if model == "truncated":
        assert json.loads(rest)


def test_an_error_can_be_the_first_event_of_a_good_status(client: Client, upstream: Upstream) -> None:
    """As vLLM does when it is overloaded."""
    stream = client.stream("error-event-first", stream_options=USAGE)
    assert stream.status == 200
    assert stream.docs == [
        {
            "error": {
                "message": stream.docs[0]["error"]["message"],
                "type": "Service Unavailable",
                "param": None,
                "code": 503,
            }
        }
    ]
    assert stream.events[-1] == "[DONE]"
    assert upstream.log()[-1]["made"] == 0


def test_an_error_event_can_come_later(client: Client, upstream: Upstream) -> None:
    """As vLLM does when its engine dies: three tokens, the error, `[DONE]`."""
    stream = client.stream("error-event-after-3")
    assert [("error" in doc) for doc in stream.docs] == [False] * 4 + [True]
    assert stream.docs[-1]["error"]["code"] == 500
    assert stream.events[-1] == "[DONE]"
    assert upstream.log()[-1]["made"] == 3


def test_broken_json(client: Client) -> None:
    """Half an answer; a stream with a broken event in its middle."""
    with pytest.raises(json.JSONDecodeError):
        assert client.chat("bad-json").doc
    events = client.stream("bad-json-2").events
    with pytest.raises(json.JSONDecodeError):
        json.loads(events[3])
    assert events[-1] == "[DONE]"


def test_other_things_that_are_no_answer(client: Client) -> None:
    """A web page, nothing at all, a stream without events, without its end, without a finish."""
    page = client.chat("html")
    assert (page.status, page.headers["content-type"], page.body[:9]) == (200, "text/html; charset=utf-8", b"<!DOCTYPE")
    assert client.chat("empty-body").body == b""
    assert not client.stream("empty-stream").raw
    assert client.stream("no-done+answer-2").events[-1] != "[DONE]"
    unfinished = client.stream("no-finish+answer-2", stream_options=USAGE)
    assert [doc["choices"][0]["finish_reason"] for doc in unfinished.docs] == [None] * 3
    assert unfinished.events[-1] == "[DONE]"


def test_gzip_is_sent_to_those_who_did_not_ask(client: Client) -> None:
    """Whole and streamed; each chunk of a stream can be unpacked when it comes."""
    reply = client.chat("gzip+answer-3")
    assert reply.headers["content-encoding"] == "gzip"
    assert json.loads(gzip.decompress(reply.body))["usage"]["completion_tokens"] == 3
    response = client.open(body("gzip+answer-3+pace-20ms", stream=True))
    unpacker = zlib.decompressobj(31)
    first = unpacker.decompress(response.read1())
    assert b'"content":"the"' in first
    assert b"[DONE]" not in first
    assert unpacker.decompress(response.read()).endswith(b"data: [DONE]\n\n")


def test_connections_can_end_with_the_answer(client: Client, upstream: Upstream) -> None:
    """Said so with a header, or shown by the end itself."""
    assert client.chat("connection-close").headers["connection"] == "close"
    reply = client.chat("until-close", "some words")
    assert "content-length" not in reply.headers
    assert reply.doc["choices"][0]["message"]["content"] == "some words"
    assert client.stream("until-close+answer-3").events[-1] == "[DONE]"
    assert upstream.stats()["connections"] == 3


@pytest.mark.parametrize(
    ("item", "sign"),
    [("crlf", b"\r\n\r\n"), ("comments", b": still here\n\n"), ("nospace", b"data:{")],
)
def test_events_come_in_every_legal_style(client: Client, item: str, sign: bytes) -> None:
    """The same events, other bytes."""
    stream = client.stream(f"{item}+answer-4")
    assert sign in stream.raw
    assert stream.events[-1] == "[DONE]"
    assert stream.text == "the river rises behind"


@pytest.mark.parametrize("item", ["split-1", "split-7", "joined-3", "joined-100", "split-5+gzip"])
def test_events_are_cut_and_joined_without_loss(client: Client, upstream: Upstream, item: str) -> None:
    """However the chunks of the transfer encoding lie."""
    plain, odd = client.stream("unicode-20").events, client.open(body(f"unicode-20+{item}", stream=True)).read()
    odd = gzip.decompress(odd) if "gzip" in item else odd
    ours = [line[6:] for line in odd.decode().splitlines() if line.startswith("data: ")]
    strip = [json.loads(event)["choices"] for event in plain[:-1]]
    assert [json.loads(event)["choices"] for event in ours[:-1]] == strip
    assert upstream.log()[-1]["made"] == 20


def test_a_large_token_and_ten_thousand_small_ones(client: Client, upstream: Upstream) -> None:
    """Size is no fault."""
    assert len(client.chat("big-64k").doc["choices"][0]["message"]["content"]) == 65536
    assert len(client.stream("big-1m").text) == 1 << 20
    assert len(client.stream("answer-10000").docs) == 10002
    assert upstream.log()[-1]["written"] == 10000


def test_early_hints_come_before_the_answer(upstream: Upstream) -> None:
    """A 103 that a client must skip."""
    request = json.dumps(body("early-hints", "hi")).encode()
    data = b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-type: application/json\r\n"
    answer = raw(upstream, data + b"content-length: %d\r\n\r\n%b" % (len(request), request))
    assert answer.startswith(b"HTTP/1.1 103 ")
    assert b"HTTP/1.1 200 OK" in answer


def test_health_can_be_lost_with_a_request(client: Client) -> None:
    """From then on, until a reset."""
    assert client.request("GET", "/health").status == 200
    assert client.chat("health-503").status == 200
    assert client.request("GET", "/health").status == 503


def test_an_unknown_model_is_named(client: Client) -> None:
    """404, `param: model`; an alias makes it known."""
    reply = client.chat("gpt-4o-mini")
    assert reply.status == 404
    assert reply.doc["error"]["param"] == "model"


def test_waiting_takes_the_stated_time(client: Client) -> None:
    """Time to the first token, and from token to token, whole and streamed."""
    start = time.monotonic()
    assert client.chat("answer-5+ttft-60ms+pace-10ms").status == 200
    assert 0.095 <= time.monotonic() - start < 0.5
    stream = client.stream("answer-5+slow-60ms+pace-20ms")
    assert stream.at[1] >= 0.05
    assert stream.at[-1] >= 0.13
