"""What an upstream's refusal becomes: statuses against bodies of every shape, waits, and what must not be told."""

from __future__ import annotations

import math
import re
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.errors import CODES, GatewayError, Outcome
from app.providers.refusals import LONGEST_MESSAGE, LONGEST_WAIT, refusal, retry_after, scrub
from app.table import Deployment
from tests.pipeline.parts import deployment
from tests.support.configs import ENVIRON

KEY = ENVIRON["OPENAI_API_KEY"]
TOKEN = ENVIRON["EXTRA_TOKEN"]
PLAIN = deployment("one")
KEYED = deployment("two", headers={"x-extra": "env:EXTRA_TOKEN", "x-org": "short"})
PROXIED = deployment("two", proxy="env:PROXY_URL")
CAPTURES = Path(__file__).resolve().parents[1] / "fixtures" / "vllm"


def openai(
    message: object = "No.", kind: object = "invalid_request_error", param: object = None, code: object = None
) -> bytes:
    """OpenAI's shape."""
    return orjson.dumps({"error": {"message": message, "type": kind, "param": param, "code": code}})


BODIES = {
    "openai": openai(code="context_length_exceeded"),
    "vllm": openai(kind="BadRequestError", code=400),
    "vllm, older": orjson.dumps(
        {"object": "error", "message": "No.", "type": "NotFoundError", "param": None, "code": 404}
    ),
    "bare string": b'{"error": "No."}',
    "fastapi": b'{"detail": "No."}',
    "fastapi, listed": b'{"detail": [{"loc": ["body"], "msg": "No."}]}',
    "list": b'[{"error": {"message": "No."}}]',
    "number": b"5",
    "null": b"null",
    "text": b'"No."',
    "html": b"<html><body>No.</body></html>",
    "empty": b"",
    "empty object": b"{}",
    "error is null": b'{"error": null}',
    "error is a list": b'{"error": [1]}',
    "message is an object": b'{"error": {"message": {"a": 1}}}',
    "message is empty": b'{"error": {"message": ""}}',
    "not utf-8": b'{"error": {"message": "\xff"}}',
    "surrogate": b'{"error": {"message": "\\ud800"}}',
    "cut": b'{"error": {"message": "No',
    "deep": b'{"error":' * 2000,
    "huge": openai("x" * 60_000, "y" * 60_000, "z" * 60_000, "w" * 60_000),
    "odd types": openai(5, 1.5, ["p"], {"c": True}),
}
SAYS_NO = {"openai", "vllm", "vllm, older", "bare string", "fastapi"}
STATUSES = [
    204,
    302,
    400,
    401,
    402,
    403,
    404,
    405,
    407,
    408,
    409,
    413,
    418,
    422,
    429,
    451,
    499,
    500,
    502,
    503,
    504,
    529,
    599,
]


def expected(status: int) -> tuple[int, str | None, Outcome]:
    """Status, code (None: whatever the upstream says) and outcome."""
    if status == 429:
        return 429, "rate_limit_exceeded", Outcome.UPSTREAM_ERROR
    if status in {503, 529}:
        return 503, "overloaded", Outcome.UPSTREAM_ERROR
    if status in {401, 403, 407} or not 400 <= status < 500:
        return 502, "upstream_error", Outcome.UPSTREAM_ERROR
    return status, None, Outcome.UPSTREAM_REJECTED


def sound(error: GatewayError) -> None:
    """It can be sent: a real status, texts that are texts, a wait that is a number."""
    document = orjson.loads(orjson.dumps(error.document()))["error"]
    assert document["message"]
    assert all(value is None or isinstance(value, str) for value in document.values())
    assert all(len(value) <= LONGEST_MESSAGE for value in document.values() if value)
    assert 400 <= error.status < 600
    assert error.retry_after is None or 0 <= error.retry_after <= LONGEST_WAIT
    assert error.code.name in CODES


@pytest.mark.parametrize("shape", BODIES)
@pytest.mark.parametrize("status", STATUSES)
def test_every_status_with_every_body(status: int, shape: str) -> None:
    """The status decides; a body says more, or nothing, and never breaks anything."""
    error = refusal(status, {}, BODIES[shape], KEYED)
    want, code, outcome = expected(status)
    sound(error)
    assert (error.status, error.outcome) == (want, outcome)
    assert code is None or error.code_name == code
    if outcome is Outcome.UPSTREAM_REJECTED:
        assert (error.message == "No.") is (shape in SAYS_NO)
    assert (error.retry_after is None) is (status not in {429, 503, 529})


def test_an_upstreams_4xx_keeps_its_words() -> None:
    """Message, type, param and code go through; vLLM's integer code becomes a text; what is missing is ours."""
    told = refusal(400, {}, openai("Too long.", "BadRequestError", "input_tokens", 400), PLAIN)
    assert (told.message, told.error_type, told.param, told.code_name) == (
        "Too long.",
        "BadRequestError",
        "input_tokens",
        "400",
    )
    plain = refusal(404, {}, b'{"error": "Not here."}', PLAIN)
    assert (plain.message, plain.error_type, plain.param, plain.code_name) == (
        "Not here.",
        "invalid_request_error",
        None,
        "invalid_request",
    )


@pytest.mark.parametrize("name", sorted(path.stem for path in CAPTURES.glob("error-*.json")))
def test_what_a_real_vllm_refuses(name: str) -> None:
    """Recorded refusals: the caller's own fault keeps status and message; a 401 is the gateway's own matter."""
    response = orjson.loads((CAPTURES / f"{name}.json").read_bytes())["response"]
    error = refusal(response["status"], {}, response["body"].encode(), PLAIN)
    sound(error)
    if response["status"] == 401:
        assert (error.status, "Unauthorized" in error.message) == (502, False)
    else:
        assert error.status == response["status"]
        assert orjson.dumps(error.message)[1:-1] in orjson.dumps(orjson.loads(response["body"]))


@pytest.mark.parametrize("status", [401, 403, 407])
def test_the_gateways_credentials_are_not_spoken_of(status: int) -> None:
    """OpenAI quotes a part of the key, which no scrubbing would find."""
    quoted = "Incorrect API key provided: sk-op**********6789."
    error = refusal(status, {"www-authenticate": "Bearer"}, openai(quoted, code="invalid_api_key"), KEYED)
    assert "sk-op" not in str(error.document())
    assert "invalid_api_key" not in str(error.document())


@pytest.mark.parametrize("status", [500, 502, 503, 529])
def test_a_5xx_is_not_quoted(status: int) -> None:
    """Stack traces and addresses live there."""
    error = refusal(status, {}, openai("Traceback at 10.0.0.7", "trace", "secret", "inner"), PLAIN)
    assert not re.search(r"Traceback|trace|secret|inner|10\.", str(error.document()))


ADDRESSES = [
    "https://api.example.com/v1", "https://api.example.com/v1/chat/completions", "https://api.example.com",
    "api.example.com:443", "api.example.com", "API.Example.COM", "(api.example.com)", "api.example.com.",
]  # fmt: skip


@pytest.mark.parametrize("field", ["message", "kind", "param", "code"])
@pytest.mark.parametrize("secret", [*ADDRESSES, KEY, TOKEN, TOKEN.partition(" ")[2]])
@pytest.mark.parametrize("status", [400, 429])
def test_addresses_and_credentials_are_taken_out(field: str, secret: str, status: int) -> None:
    """Wherever the upstream repeats them, in any of the texts that go through."""
    error = refusal(status, {}, openai(**{field: f"see {secret}, please"}), KEYED)
    assert not re.search(re.escape(secret.strip("().")), str(error.document()), re.IGNORECASE)
    assert "api.example" not in str(error.document()).lower()


@pytest.mark.parametrize(
    "secret", ["http://user:hidden-word@proxy.example:3128", "proxy.example:3128", "proxy.example"]
)
def test_a_proxy_is_an_address_too(secret: str) -> None:
    """Its password above all."""
    assert not re.search("hidden-word|proxy.example", scrub(f"from {secret} came nothing", PROXIED))


def test_scrubbing_leaves_other_words_alone() -> None:
    """A host is a word or nothing: one named `llm` is not taken out of `vllm`, nor `10.0.0.1` out of `10.0.0.12`."""
    named = deployment("one", base_url="http://llm:8000/v1")
    assert scrub("vllm and llms at llm:8000, llm", named) == "vllm and llms at upstream, upstream"
    numbered = deployment("one", base_url="http://10.0.0.1:8000/v1")
    assert scrub("10.0.0.12 110.0.0.1 10.0.0.1", numbered) == "10.0.0.12 110.0.0.1 upstream"
    assert scrub("short is kept", KEYED) == "short is kept"


def test_a_long_message_is_cut_after_scrubbing() -> None:
    """So that a key at the cut does not leave half of itself."""
    text = scrub("x" * (LONGEST_MESSAGE - 5) + KEY, KEYED)
    assert len(text) <= LONGEST_MESSAGE
    assert "sk-" not in text


def ahead(seconds: float) -> str:
    """An HTTP date."""
    return format_datetime(datetime.now(UTC) + timedelta(seconds=seconds), usegmt=True)


NONSENSE = [
    "",
    "-5",
    "inf",
    "-inf",
    "nan",
    "1e400",
    "soon",
    "1, 2",
    "0x10",
    "9" * 400,
    "²",
    "Mon, 01 Jan 99999 00:00:00 GMT",
]
WAITS: list[tuple[dict[str, str], float | None]] = [
    ({}, None), ({"retry-after": "7"}, 7), ({"retry-after": " 7 "}, 7), ({"retry-after": "0"}, 0),
    ({"retry-after": "1.5"}, 1.5), ({"retry-after": "9999999999"}, LONGEST_WAIT), ({"retry-after-ms": "250"}, 0.25),
    ({"retry-after-ms": "250", "retry-after": "9"}, 0.25), ({"retry-after-ms": "soon", "retry-after": "9"}, 9),
    ({"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT"}, 0), ({"retry-after": "Sun Nov  6 08:49:37 1994"}, 0),
    ({"retry-after": ahead(10**9)}, LONGEST_WAIT), *(({"retry-after": text}, None) for text in NONSENSE),
    ({"retry-after": "Mon, 01 Jan 2024 00:00:00 +9999999999999"}, None), ({"retry-after-ms": "nan"}, None),
]  # fmt: skip


@pytest.mark.parametrize(("headers", "wait"), WAITS)
def test_how_long_to_wait(headers: dict[str, str], wait: float | None) -> None:
    """Seconds, milliseconds or a date (also the obsolete form); nonsense is no wish; nobody waits for ever."""
    assert retry_after(headers) == wait


def test_a_date_ahead() -> None:
    """The time until then."""
    wait = retry_after({"retry-after": ahead(100)})
    assert wait is not None
    assert 60 < wait <= 100


@given(
    st.text(max_size=60)
    | st.floats().map(str)
    | st.integers().map(str)
    | st.from_regex(r"\w{3}, \d+ \w{3} \d+ \d+:\d+:\d+ [+-]?\w+"),
    st.sampled_from(["retry-after", "retry-after-ms"]),
)
def test_no_wait_is_a_surprise(text: str, name: str) -> None:
    """Whatever the header says: a number of seconds that can be waited and written, or None."""
    wait = retry_after({name: text})
    assert wait is None or (math.isfinite(wait) and 0 <= wait <= LONGEST_WAIT)


@given(
    st.integers(100, 999),
    st.binary(max_size=300) | st.text(max_size=99).map(lambda text: openai(text, text, text, text)),
)
def test_no_refusal_is_a_surprise(status: int, body: bytes) -> None:
    """Any status, any bytes: an error that can be sent."""
    sound(refusal(status, {}, body, KEYED))


@given(st.text(max_size=200))
def test_scrubbing_any_text(text: str) -> None:
    """Neither key nor address remains, even where taking one out joins the rest."""

    def clean(deployed: Deployment) -> str:
        return scrub(f"{text}{KEY}{text} api.example.com {text}", deployed)

    assert KEY not in clean(KEYED)
    assert " api.example.com " not in clean(KEYED)
