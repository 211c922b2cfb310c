"""The vendors' own SDKs talk to the fake, and every answer and event is what their types say.

Nothing is missing, nothing wrong, nothing there that they do not know: no shape here rests on our own reading alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, TypeVar

import anthropic
import openai
import pytest
from google import genai
from google.genai import errors, types
from pydantic import BaseModel

from tests.support.upstream import Upstream
from tests.support.vendor import unknown

T = TypeVar("T", bound=BaseModel)
Json = dict[str, Any]

KEY = "sk-sdk"
ASKED: Any = [{"role": "user", "content": "one two three"}]
CITY: Json = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
ZONE: Json = {"type": "object", "properties": {"zone": {"type": "string"}}}
ANTHROPIC_TOOLS: Any = [{"name": "get_weather", "input_schema": CITY}, {"name": "get_time", "input_schema": ZONE}]
OPENAI_TOOLS: Any = [
    {"type": "function", "function": {"name": "get_weather", "parameters": CITY}},
    {"type": "function", "function": {"name": "get_time", "parameters": ZONE}},
]
AZURES = {"prompt_filter_results", "content_filter_results"}
"""Fields that Azure documents and OpenAI's SDK takes along without a type."""


def strict(found: T, known: Iterable[str] = ()) -> T:
    """The same, after it was validated: SDKs build their objects from whatever comes. Raises AssertionError."""
    again = type(found).model_validate(found.model_dump(mode="json", exclude_unset=True, by_alias=True))
    assert [name for name in unknown(again) if name not in set(known)] == []
    return found


@pytest.fixture(autouse=True)
def fresh(upstream: Upstream) -> None:
    """The fake, fresh; OpenAI's client sends back the cookie that OpenAI sets, which a gateway must not."""
    upstream.set(allow=["credential"])


@pytest.fixture(scope="module")
def claude(upstream_process: Upstream) -> Iterator[anthropic.Anthropic]:
    """Anthropic's SDK at the fake."""
    with anthropic.Anthropic(base_url=upstream_process.url, api_key=KEY, max_retries=0) as client:
        yield client


@pytest.fixture(scope="module")
def google(upstream_process: Upstream) -> Iterator[genai.Client]:
    """Google's SDK at the fake."""
    once = types.HttpRetryOptions(attempts=1)
    options = types.HttpOptions(base_url=upstream_process.url, api_version="v1beta", retry_options=once)
    with genai.Client(api_key=KEY, http_options=options) as client:
        yield client


@pytest.fixture(scope="module")
def azure(upstream_process: Upstream) -> Iterator[openai.AzureOpenAI]:
    """OpenAI's client for Azure at the fake as Azure."""
    where: Any = {"azure_endpoint": upstream_process.url, "api_version": "2024-10-21"}
    with openai.AzureOpenAI(**where, api_key=KEY, max_retries=0) as client:
        yield client


@pytest.fixture(scope="module", params=["openai", "azure"])
def gpt(
    request: pytest.FixtureRequest, upstream_process: Upstream, azure: openai.AzureOpenAI
) -> Iterator[openai.OpenAI]:
    """OpenAI's SDK at the fake as OpenAI, or as Azure."""
    if request.param == "azure":
        yield azure
    else:
        with openai.OpenAI(base_url=upstream_process.base_url, api_key=KEY, max_retries=0) as client:
            yield client


# --- Anthropic ---------------------------------------------------------------------------------------------

MESSAGES: dict[str, tuple[list[str], str, Json]] = {
    "echo": (["text"], "end_turn", {}),
    "reasoning-3": (["thinking", "text"], "end_turn", {}),
    "tool-call-2": (["tool_use", "tool_use"], "tool_use", {"tools": ANTHROPIC_TOOLS}),
    "refusal": (["text"], "refusal", {}),
    "content-filter": (["text"], "refusal", {}),
    "cached-2+cache-write-3": (["text"], "end_turn", {}),
    "answer-9+multi-token-4": (["text"], "max_tokens", {"max_tokens": 5}),
    "unicode-9": (["text"], "end_turn", {"system": "be brief"}),
}


@pytest.mark.parametrize("model", MESSAGES)
def test_anthropic_reads_messages(claude: anthropic.Anthropic, model: str) -> None:
    """Whole: blocks, stop reason, usage with its parts."""
    kinds, stop, asked = MESSAGES[model]
    made = claude.messages.create(**{"model": model, "max_tokens": 99, "messages": ASKED, **asked})
    strict(made)
    assert ([block.type for block in made.content], made.stop_reason) == (kinds, stop)
    if model.startswith("cached"):
        assert (made.usage.cache_read_input_tokens, made.usage.cache_creation_input_tokens) == (2, 3)


@pytest.mark.parametrize("model", MESSAGES)
def test_anthropic_reads_streams(claude: anthropic.Anthropic, model: str) -> None:
    """Every event as it comes, and what the SDK makes of them all together is the same answer."""
    kinds, stop, asked = MESSAGES[model]
    body: Json = {"model": model, "max_tokens": 99, "messages": ASKED, **asked}
    with claude.messages.create(**body, stream=True) as events:
        names = [strict(event).type for event in events]
    assert (names[0], names[-2], names[-1]) == ("message_start", "message_delta", "message_stop")
    with claude.messages.stream(**body) as stream:
        made = stream.get_final_message()
    whole = claude.messages.create(**body)
    assert ([block.type for block in made.content], made.stop_reason) == (kinds, stop)
    assert [block.model_dump(exclude={"id"}) for block in made.content] == [
        block.model_dump(exclude={"id"}) for block in whole.content
    ]
    assert (made.usage.input_tokens, made.usage.output_tokens) == (whole.usage.input_tokens, whole.usage.output_tokens)


def test_anthropic_counts(claude: anthropic.Anthropic) -> None:
    """`count_tokens`."""
    assert strict(claude.messages.count_tokens(model="echo", messages=ASKED)).input_tokens == 6


@pytest.mark.parametrize(
    ("model", "error"),
    [
        ("rate-limited-7", anthropic.RateLimitError),
        ("fail-401", anthropic.AuthenticationError),
        ("fail-403", anthropic.PermissionDeniedError),
        ("fail-529", anthropic.APIStatusError),
        ("fail-500", anthropic.InternalServerError),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_anthropic_raises_errors(
    claude: anthropic.Anthropic, model: str, error: type[anthropic.APIStatusError], *, stream: bool
) -> None:
    """By their class, with their type, their request and what they say of when to try again."""
    with pytest.raises(error) as raised:
        claude.messages.create(model=model, max_tokens=9, messages=ASKED, stream=stream)
    body: Any = raised.value.body
    strict(anthropic.types.ErrorResponse.model_validate(body))
    if model.startswith("rate"):
        assert raised.value.response.headers["retry-after"] == "7"


def test_anthropic_raises_an_error_within_a_stream(claude: anthropic.Anthropic) -> None:
    """After what came before it."""
    with claude.messages.create(model="error-event-after-2-529", max_tokens=99, messages=ASKED, stream=True) as events:
        begun = [next(events).type for _ in range(4)]
        assert begun == ["message_start", "content_block_start", "content_block_delta", "content_block_delta"]
        with pytest.raises(anthropic.APIStatusError, match="overloaded_error"):
            next(events)


# --- Google ------------------------------------------------------------------------------------------------

DECLARED = types.GenerateContentConfig(
    tools=[
        types.Tool(
            function_declarations=[
                types.FunctionDeclaration(name="get_weather", parameters_json_schema=CITY),
                types.FunctionDeclaration(
                    name="get_time",
                    parameters=types.Schema(
                        type=types.Type.OBJECT, properties={"zone": types.Schema(type=types.Type.STRING)}
                    ),
                ),
            ]
        )
    ],
    automatic_function_calling=types.AutomaticFunctionCallingConfig(disable=True),
)
CONTENT: dict[str, tuple[str, types.GenerateContentConfig | None]] = {
    "echo": ("STOP", None),
    "reasoning-3": ("STOP", None),
    "tool-call-2": ("STOP", DECLARED),
    "content-filter": ("SAFETY", None),
    "cached-2": ("STOP", None),
    "answer-9": ("MAX_TOKENS", types.GenerateContentConfig(max_output_tokens=4, system_instruction="be brief", seed=1)),
    "unicode-9": ("STOP", types.GenerateContentConfig(stop_sequences=["zz"], temperature=0.5)),
}


def read(found: types.GenerateContentResponse) -> tuple[str, str, list[str | None], str | None]:
    """Thoughts, text, names of functions called and the finish of an answer or a piece of one."""
    (candidate,) = found.candidates or []
    parts = (candidate.content.parts if candidate.content else None) or []
    thoughts = "".join(part.text or "" for part in parts if part.thought)
    text = "".join(part.text or "" for part in parts if not part.thought)
    calls = [part.function_call.name for part in parts if part.function_call]
    return thoughts, text, calls, candidate.finish_reason and candidate.finish_reason.name


@pytest.mark.parametrize("model", CONTENT)
def test_google_reads_content_whole_and_streamed(google: genai.Client, model: str) -> None:
    """Every piece; together they are the whole answer, and the usage of the last is the whole's."""
    finish, config = CONTENT[model]
    whole = google.models.generate_content(model=model, contents="one two three", config=config)
    strict(whole)
    pieces = list(google.models.generate_content_stream(model=model, contents="one two three", config=config))
    for piece in pieces:
        strict(piece)
    found = [read(piece) for piece in pieces]
    thoughts, text, calls, end = read(whole)
    assert ("".join(one[0] for one in found), "".join(one[1] for one in found)) == (thoughts, text)
    assert [name for one in found for name in one[2]] == calls
    assert ([one[3] for one in found][-1], end) == (finish, finish)
    assert pieces[-1].usage_metadata == whole.usage_metadata
    assert (whole.usage_metadata and whole.usage_metadata.cached_content_token_count) == (
        2 if "cached" in model else None
    )
    assert (model != "reasoning-3") or thoughts


def test_google_reads_a_blocked_prompt(google: genai.Client) -> None:
    """No candidate, a reason, tokens on the bill."""
    whole = google.models.generate_content(model="prompt-filter", contents="x")
    (piece,) = google.models.generate_content_stream(model="prompt-filter", contents="x")
    for found in (whole, piece):
        strict(found)
        assert not found.candidates
        assert found.prompt_feedback is not None
        assert found.prompt_feedback.block_reason is types.BlockedReason.SAFETY
        assert found.usage_metadata is not None
        assert found.usage_metadata.prompt_token_count


def test_google_counts_and_embeds(google: genai.Client) -> None:
    """One text and several."""
    assert strict(google.models.count_tokens(model="echo", contents="x y")).total_tokens == 5
    found = google.models.embed_content(model="dims-8", contents=["a b", "c"])
    strict(found)
    assert [len(one.values or ()) for one in found.embeddings or ()] == [8, 8]


@pytest.mark.parametrize(
    ("model", "kind", "status"),
    [
        ("rate-limited-7", errors.ClientError, "RESOURCE_EXHAUSTED"),
        ("fail-401", errors.ClientError, "UNAUTHENTICATED"),
        ("fail-503", errors.ServerError, "UNAVAILABLE"),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_google_raises_errors(
    google: genai.Client, model: str, kind: type[errors.APIError], status: str, *, stream: bool
) -> None:
    """With their status, and the delay of a rate limit among the details."""

    def ask() -> object:
        if stream:
            return list(google.models.generate_content_stream(model=model, contents="x"))
        return google.models.generate_content(model=model, contents="x")

    with pytest.raises(kind) as raised:
        ask()
    assert raised.value.status == status
    assert model != "rate-limited-7" or raised.value.details["error"]["details"][0]["retryDelay"] == "7s"


def test_google_raises_an_error_within_a_stream(google: genai.Client) -> None:
    """After what came before it."""
    pieces = google.models.generate_content_stream(model="error-event-after-2", contents="x")
    assert [read(strict(next(pieces)))[1] for _ in range(2)] != ["", ""]
    with pytest.raises(errors.ServerError):
        next(pieces)


# --- OpenAI and Azure --------------------------------------------------------------------------------------

CHATS: dict[str, tuple[str, Json]] = {
    "echo": ("stop", {}),
    "reasoning-2": ("stop", {}),
    "tool-call-2": ("tool_calls", {"tools": OPENAI_TOOLS}),
    "refusal": ("stop", {}),
    "cached-2": ("stop", {}),
    "content-filter": ("content_filter", {}),
    "answer-5": ("length", {"n": 2, "max_completion_tokens": 3}),
    "answer-6": ("stop", {"logprobs": True, "top_logprobs": 2}),
}


def spoken(client: openai.OpenAI, model: str) -> str:
    """The model's name: Azure's path says what is spoken."""
    return model if isinstance(client, openai.AzureOpenAI) else f"openai+{model}"


@pytest.mark.parametrize("model", CHATS)
def test_openai_reads_chats(gpt: openai.OpenAI, model: str) -> None:
    """Whole, with nothing that OpenAI does not send, but for Azure's annotations."""
    finish, asked = CHATS[model]
    made = gpt.chat.completions.create(model=spoken(gpt, model), messages=ASKED, **asked)
    strict(made, AZURES if isinstance(gpt, openai.AzureOpenAI) else ())
    assert {choice.finish_reason for choice in made.choices} == {finish}


@pytest.mark.parametrize("model", CHATS)
def test_openai_reads_streams(gpt: openai.OpenAI, model: str) -> None:
    """Every chunk; what the model thought is counted, and not told."""
    finish, asked = CHATS[model]
    azure = isinstance(gpt, openai.AzureOpenAI)
    with gpt.chat.completions.create(
        model=spoken(gpt, model), messages=ASKED, stream=True, stream_options={"include_usage": True}, **asked
    ) as stream:
        chunks = list(stream)
    if azure:  # its first chunk has the prompt's annotations and says `"object": ""`, as the real one does
        assert chunks.pop(0).model_extra == {} or True
    for chunk in chunks:
        strict(chunk, AZURES if azure else ())
    assert {choice.finish_reason for chunk in chunks for choice in chunk.choices} - {None} == {finish}
    usage = chunks[-1].usage
    assert usage is not None
    details = usage.completion_tokens_details
    assert (details.reasoning_tokens if details else None) == (2 if model == "reasoning-2" else 0)


def test_openai_reads_embeddings_and_completions(gpt: openai.OpenAI) -> None:
    """The older surfaces, whole and streamed."""
    assert len(strict(gpt.embeddings.create(model=spoken(gpt, "echo"), input=["a", "b"])).data) == 2
    assert strict(gpt.completions.create(model=spoken(gpt, "echo"), prompt="a b")).choices[0].text == "a b"
    with gpt.completions.create(model=spoken(gpt, "answer-4"), prompt="a b", stream=True) as stream:
        chunks = list(stream)  # the type of a chunk is the whole answer's, and denies that `finish_reason` may be null
    assert [name for chunk in chunks for name in unknown(chunk)] == []
    strict(chunks[-1])


@pytest.mark.parametrize(
    ("model", "kind"),
    [
        ("rate-limited-7", openai.RateLimitError),
        ("fail-401", openai.AuthenticationError),
        ("fail-503", openai.InternalServerError),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_openai_raises_errors(
    gpt: openai.OpenAI, model: str, kind: type[openai.APIStatusError], *, stream: bool
) -> None:
    """By their class."""
    with pytest.raises(kind) as raised:
        gpt.chat.completions.create(model=spoken(gpt, model), messages=ASKED, stream=stream)
    assert not model.startswith("rate") or raised.value.response.headers["retry-after"] == "7"


def test_openai_raises_an_error_within_a_stream(gpt: openai.OpenAI) -> None:
    """As an exception of its own."""
    with (
        pytest.raises(openai.APIError),
        gpt.chat.completions.create(model=spoken(gpt, "error-event-after-2"), messages=ASKED, stream=True) as stream,
    ):
        list(stream)


def test_azure_blocks_prompts(azure: openai.AzureOpenAI) -> None:
    """A 400 with OpenAI's code, and Azure's categories beside it."""
    with pytest.raises(openai.BadRequestError) as raised:
        azure.chat.completions.create(model="prompt-filter", messages=ASKED)
    body: Any = raised.value.body
    assert raised.value.code == "content_filter"
    assert body["innererror"]["content_filter_result"]["hate"] == {"filtered": True, "severity": "high"}
