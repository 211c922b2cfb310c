"""What capture.py asks of each server."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

PARIS = [{"role": "user", "content": "What is the capital of France?"}]
STORY = [{"role": "user", "content": "Tell me a long story about a river."}]
WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather in a city now.",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}
PERSON = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 12},
        "age": {"type": "integer", "minimum": 0, "maximum": 99},
    },
    "required": ["name", "age"],
    "additionalProperties": False,
}
PIXEL = (
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJ"
    "AAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)


@dataclass(frozen=True, slots=True)
class Case:
    """One request; a `str` body goes out as it stands."""

    name: str
    method: str
    path: str
    body: Any = None
    headers: tuple[tuple[str, str], ...] = ()


def post(path: str, name: str, body: Any, **headers: str) -> Case:
    """A POST; header names are written with underscores."""
    return Case(name, "POST", path, body, tuple((key.replace("_", "-"), value) for key, value in headers.items()))


def chat(name: str, model: str = "smollm2", **fields: Any) -> Case:
    """A short, greedy chat unless told otherwise."""
    body = {"model": model, "messages": PARIS, "max_tokens": 24, "temperature": 0} | fields
    return post("/v1/chat/completions", name, body)


def completion(name: str, **fields: Any) -> Case:
    """A short, greedy completion unless told otherwise."""
    return post(
        "/v1/completions",
        name,
        {"model": "smollm2", "prompt": "Once upon a", "max_tokens": 8, "temperature": 0} | fields,
    )


def embedding(name: str, given: Any, **fields: Any) -> Case:
    """An embedding of `given`."""
    return post("/v1/embeddings", name, {"model": "minilm", "input": given} | fields)


def long_stream(name: str, *, stream: bool = True) -> Case:
    """A thousand tokens of the tiny model."""
    return chat(name, "tiny", messages=STORY, max_tokens=1000, ignore_eos=True, stream=stream)


NAMED = {"type": "function", "function": {"name": "get_weather"}}
SCHEMA = {"type": "json_schema", "json_schema": {"name": "person", "schema": PERSON}}
USAGE = {"include_usage": True}
RUNNING = {"include_usage": True, "continuous_usage_stats": True}
PROMPTS = ["One two three", "Red green"]


def chat_cases() -> list[Case]:
    """Chats that succeed."""
    short = {"messages": PARIS, "max_tokens": 4, "temperature": 0}
    return [
        chat("chat"),
        chat("chat-length", max_tokens=3),
        chat("chat-n2", n=2, temperature=0.8, seed=11, max_tokens=8),
        chat("chat-logprobs", logprobs=True, top_logprobs=2, max_tokens=4),
        chat("chat-stop", stop=[" is"]),
        chat("chat-tools-named", tools=[WEATHER], tool_choice=NAMED, max_tokens=60),
        chat("chat-tools-required", tools=[WEATHER], tool_choice="required", max_tokens=120),
        chat("chat-json-schema", response_format=SCHEMA, max_tokens=60),
        chat("chat-structured-choice", structured_outputs={"choice": ["yes", "no"]}),
        post("/v1/chat/completions", "chat-without-model", short),
        post("/v1/chat/completions", "chat-request-id", {"model": "smollm2", **short}, x_request_id="the-callers-own"),
    ]


def stream_cases() -> list[Case]:
    """Streams that succeed."""
    return [
        chat("chat-stream", stream=True),
        chat("chat-stream-usage", stream=True, stream_options=USAGE),
        chat("chat-stream-usage-each", stream=True, stream_options=RUNNING, max_tokens=4),
        chat("chat-stream-n2", stream=True, n=2, temperature=0.8, seed=11, max_tokens=8),
        chat("chat-stream-logprobs", stream=True, logprobs=True, top_logprobs=1, max_tokens=4),
        chat("chat-stream-length", stream=True, messages=STORY, max_tokens=40),
        chat("chat-stream-tools-named", stream=True, tools=[WEATHER], tool_choice=NAMED, max_tokens=60),
        chat(
            "chat-stream-structured",
            stream=True,
            structured_outputs={"choice": ["żółć 🦔 ok", "日本語"]},
            max_tokens=30,
        ),
        completion("completion-stream-usage", stream=True, stream_options=USAGE),
        completion(
            "completion-stream-usage-each", prompt=PROMPTS, stream=True, stream_options=RUNNING, ignore_eos=True
        ),
        completion("completion-stream-echo", stream=True, echo=True),
        completion("completion-stream-two-prompts", stream=True, prompt=PROMPTS),
    ]


def completion_cases() -> list[Case]:
    """Completions that succeed."""
    return [
        completion("completion"),
        completion("completion-n2", n=2, temperature=0.8, seed=11),
        completion("completion-echo-logprobs", echo=True, logprobs=1, max_tokens=3),
        completion("completion-two-prompts", prompt=PROMPTS),
        completion("completion-token-ids", prompt=[6403, 5005, 253]),
    ]


def error_cases() -> list[Case]:
    """What vLLM refuses, and how."""
    chats = "/v1/chat/completions"
    return [
        chat("error-unknown-model", model="nobody"),
        chat("error-unknown-model-stream", model="nobody", stream=True),
        post(chats, "error-bad-json", '{"model": "smollm2", '),
        post(chats, "error-array-body", []),
        post(chats, "error-no-messages", {"model": "smollm2"}),
        chat("error-temperature-type", temperature="hot"),
        chat("error-temperature-range", temperature=-1),
        chat("error-n-zero", n=0),
        chat("error-max-tokens-over-context", max_tokens=5000),
        chat("error-prompt-over-context", messages=[{"role": "user", "content": "word " * 2100}]),
        chat("error-prompt-over-context-stream", messages=[{"role": "user", "content": "word " * 2100}], stream=True),
        chat(
            "error-json-schema",
            response_format={"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": 1}}},
        ),
        chat(
            "error-image-for-a-text-model",
            messages=[{"role": "user", "content": [{"type": "image_url", "image_url": {"url": PIXEL}}]}],
        ),
        completion("error-completion-prompt-type", prompt=7),
        embedding("error-embeddings-on-a-chat-model", "hello"),
        post("/v1/moderations", "error-no-such-path", {"input": "x"}),
        Case("error-method", "GET", chats),
    ]


def other_cases() -> list[Case]:
    """What is no inference."""
    return [
        Case("models", "GET", "/v1/models"),
        Case("model", "GET", "/v1/models/smollm2"),
        Case("version", "GET", "/version"),
        Case("health", "GET", "/health"),
        Case("load", "GET", "/load"),
        post("/tokenize", "tokenize", {"model": "smollm2", "prompt": "Hello there"}),
        post("/tokenize", "tokenize-chat", {"model": "smollm2", "messages": PARIS}),
    ]


def generate_cases() -> list[Case]:
    """For a server of SmolLM2."""
    return [*chat_cases(), *stream_cases(), *completion_cases(), *error_cases(), *other_cases()]


def embed_cases() -> list[Case]:
    """For a server of all-MiniLM-L6-v2."""
    documents = ["Paris is a city.", "Cheese is food."]
    return [
        embedding("embedding", "hello"),
        embedding("embedding-list", ["hello", "world"]),
        embedding("embedding-base64", "hello", encoding_format="base64"),
        embedding("embedding-token-ids", [7592, 2088]),
        embedding("error-embedding-too-long", "word " * 600),
        embedding("error-embedding-dimensions", "hello", dimensions=64),
        embedding("error-embedding-empty-list", []),
        chat("error-chat-on-an-embedding-model", model="minilm"),
        post("/v1/rerank", "rerank", {"model": "minilm", "query": "capital of France", "documents": documents}),
        post("/v1/score", "score", {"model": "minilm", "text_1": "capital of France", "text_2": documents}),
    ]


def locked_cases() -> list[Case]:
    """For a server of the tiny model with `--api-key sesame`."""
    tiny = {"model": "tiny", "messages": PARIS, "max_tokens": 2, "temperature": 0}
    return [
        post("/v1/chat/completions", "error-no-key", tiny),
        post("/v1/chat/completions", "error-wrong-key", tiny, authorization="Bearer wrong"),
        post("/v1/chat/completions", "chat-right-key", tiny, authorization="Bearer sesame"),
        post("/tokenize", "tokenize-without-key", {"model": "tiny", "prompt": "Hello"}),
    ]
