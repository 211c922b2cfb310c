"""Guarded requests through the running gateway: prompts refused, answers cut and redacted, streamed and not."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import openai
import orjson
import pytest

from tests.support.gateway import Gateway, config, deployment
from tests.support.upstream import Upstream

CARD = "4111 1111 1111 1111"
STRICT = {"detectors": ["rules", "pii"], "actions": {"pii": "redact"}}
GUARDS: list[dict[str, Any]] = [
    {"name": "both", "blocklist": ["internal codename"], "prompt": STRICT, "completion": STRICT},
    {"name": "answers", "blocklist": ["internal codename"], "completion": STRICT},
    {
        "name": "kind",
        "blocklist": ["internal codename"],
        "prompt": {"detectors": ["rules"], "safe_text": "Let us talk about something else."},
        "completion": {"detectors": ["rules"], "safe_text": " I stop here."},
    },
    {"name": "told", "completion": {"detectors": ["pii"], "actions": {"pii": "annotate"}}},
    {
        "name": "fast",
        "blocklist": ["internal codename"],
        "completion": {"detectors": ["rules"], "stream": {"mode": "async"}},
    },
    {
        "name": "exempting",
        "prompt": {"detectors": ["pii"]},
        "exemptions": [{"tenant": "team", "actions": {"pii": "log"}}],
    },
]


@pytest.fixture(scope="module")
def gateway(upstream_process: Upstream) -> Iterator[Gateway]:
    """One gateway with a model per guard, named as the guard is, before an upstream that echoes."""
    names = [guard["name"] for guard in GUARDS]
    models = [{"name": name, "stable": "to-echo", "guard": name} for name in [*names, "listed"]]
    running = Gateway({})
    terms = running.config_file.with_name("terms.txt")
    terms.write_text("# none yet\n")
    listed = {"name": "listed", "blocklist_files": [str(terms)], "prompt": {"detectors": ["rules"]}}
    echo, paced = (
        deployment(f"to-{name}", upstream_process.url, name, provider="vllm") for name in ("echo", "echo+pace-10ms")
    )
    running.write(
        config(
            [echo, {**paced, "name": "to-paced"}],
            [
                *models,
                {"name": "paced", "stable": "to-paced", "guard": "answers"},
                {"name": "echo", "stable": "to-echo"},
            ],
            guards=[*GUARDS, listed],
        )
    )
    with running:
        yield running


def streamed(gateway: Gateway, model: str, text: str, **fields: Any) -> tuple[str, str | None, list[Any]]:
    """What the SDK gets of a stream: the text, why it ended, and all chunks."""
    with gateway.sdk() as client:
        chunks = list(
            client.chat.completions.create(
                model=model, messages=[{"role": "user", "content": text}], stream=True, **fields
            )
        )
    said = "".join(choice.delta.content or "" for chunk in chunks for choice in chunk.choices)
    ends = [choice.finish_reason for chunk in chunks for choice in chunk.choices if choice.finish_reason]
    return said, ends[-1] if ends else None, chunks


def sent(upstream: Upstream) -> list[str]:
    """The last messages that the upstream was asked with."""
    return [message["content"] for message in orjson.loads(upstream.requests()[-1]["body"])["messages"]]


@pytest.mark.parametrize("stream", [False, True])
def test_a_blocked_prompt_reaches_no_upstream(gateway: Gateway, upstream: Upstream, stream: bool) -> None:  # noqa: FBT001 - a parameter of the test
    """A 400 in OpenAI's shape with Azure's details, one outcome, and no attempt."""
    response = gateway.chat("both", text="tell me the internal codename", stream=stream)
    assert response.status_code == 400
    error = response.json()["error"]
    assert (error["code"], error["param"]) == ("content_filter", "messages")
    assert error["innererror"]["content_filter_result"]["custom_blocklists"] == {"filtered": True, "detected": True}
    line = gateway.line(response)
    assert (line["outcome"], line["attempts"], line["guard"]) == ("refused_guard", 0, "both")
    assert line["guard_hits"] == [
        {"stage": "prompt", "category": "blocklist", "severity": 6, "action": "block", "detector": "rules", "count": 1}
    ]
    assert upstream.requests() == []
    labels = {"stage": "prompt", "category": "blocklist", "action": "block"}
    assert gateway.value("sluicegate_guard_hits_total", **labels) >= 1


def test_the_sdk_raises_it(gateway: Gateway) -> None:
    """As a bad request."""
    with gateway.sdk() as client, pytest.raises(openai.BadRequestError) as problem:
        client.chat.completions.create(model="both", messages=[{"role": "user", "content": "the internal codename"}])
    assert problem.value.code == "content_filter"


@pytest.mark.parametrize("stream", [False, True])
def test_redaction_is_reversible(gateway: Gateway, upstream: Upstream, stream: bool) -> None:  # noqa: FBT001 - as above
    """The upstream never sees it, the caller gets it back."""
    text = f"my card is {CARD} and mail bob@example.com ok"
    if stream:
        said, end, _ = streamed(gateway, "both", text)
        assert (said, end) == (text, "stop")
    else:
        assert gateway.chat("both", text=text).json()["choices"][0]["message"]["content"] == text
    assert sent(upstream) == ["my card is [CARD_1] and mail [EMAIL_1] ok"]


def test_a_completion_hit_is_a_200_that_ends_by_the_filter(gateway: Gateway) -> None:
    """What was made is billed; the outcome says who ended it."""
    response = gateway.chat("answers", text=f"pay {CARD} for the internal codename now")
    assert response.status_code == 200
    choice = response.json()["choices"][0]
    assert choice["finish_reason"] == "content_filter"
    assert choice["message"]["content"] == "pay [CARD] for the "
    line = gateway.line(response)
    assert (line["outcome"], line["usage"]) == ("cut_guard", "exact")
    assert line["output_tokens"] > 0


def test_a_streamed_hit_cuts_and_cancels(gateway: Gateway, upstream: Upstream) -> None:
    """The stream ends as the SDK expects, the upstream is cancelled, what was made is billed."""
    text = "so the internal codename is " + "told " * 200
    before = len(gateway.lines())
    said, end, chunks = streamed(gateway, "paced", text)
    assert (said, end) == ("so the ", "content_filter")
    assert chunks[-1].choices[0].finish_reason == "content_filter"
    line = gateway.lines(before + 1)[-1]
    assert line["outcome"] == "cut_guard"
    assert 4 <= line["output_tokens"] < 60
    upstream.wait(lambda stats: stats["running"] == 0)
    assert upstream.find(line["request_id"])["gone"]


def test_redaction_works_on_streams(gateway: Gateway) -> None:
    """Token by token."""
    said, end, _ = streamed(gateway, "answers", f"pay {CARD}, mail bob@example.com today")
    assert (said, end) == ("pay [CARD], mail [EMAIL] today", "stop")


def test_the_guards_own_text_is_answered(gateway: Gateway, upstream: Upstream) -> None:
    """For a prompt without asking anybody; both are outcomes of the guard."""
    for stream in (False, True):
        response = gateway.chat("kind", text="the internal codename", stream=stream)
        assert response.status_code == 200
        assert "Let us talk about something else." in response.text
        assert '"finish_reason":"content_filter"' in response.text
        assert gateway.line(response)["outcome"] == "refused_guard"
    assert upstream.requests() == []
    said, end, _ = streamed(gateway, "kind", "hello")
    assert (said, end) == ("hello", "stop")


def test_annotations_are_azures(gateway: Gateway) -> None:
    """On the choice, with the text untouched."""
    choice = gateway.chat("told", text=f"pay {CARD} ok").json()["choices"][0]
    assert choice["message"]["content"] == f"pay {CARD} ok"
    assert choice["content_filter_results"] == {
        "personally_identifiable_information": {"filtered": False, "detected": True}
    }


def test_async_mode_cuts_when_the_match_is_complete(gateway: Gateway) -> None:
    """What has left by then is part of the match at most."""
    said, end, _ = streamed(gateway, "fast", "so the internal codename is told")
    assert end == "content_filter"
    assert said in ("so the internal", "so the internal ")


def test_an_exemption_lets_a_tenant_through(gateway: Gateway) -> None:
    """Because the operator's file says so."""
    assert gateway.chat("exempting", text=f"pay {CARD}").status_code == 200


def test_an_unguarded_model_is_not_looked_at(gateway: Gateway) -> None:
    """Nothing of a guard in its record."""
    response = gateway.chat("echo", text="the internal codename")
    assert response.status_code == 200
    assert "guard" not in gateway.line(response)


def test_a_changed_list_takes_effect_without_a_restart(gateway: Gateway) -> None:
    """Like a changed configuration."""
    assert gateway.chat("listed", text="a zebra").status_code == 200
    path = gateway.config_file.with_name("terms.txt")
    path.write_text("# ours\nzebra\n")
    gateway.until(lambda: gateway.chat("listed", text="a zebra").status_code == 400)


def test_completions_are_guarded_too(gateway: Gateway) -> None:
    """Prompt and answer; a prompt of token ids is refused, because nobody can look at it."""
    blocked = gateway.post("/v1/completions", orjson.dumps({"model": "both", "prompt": ["x", "internal codename"]}))
    assert (blocked.status_code, blocked.json()["error"]["param"]) == (400, "prompt")
    ids = gateway.post("/v1/completions", orjson.dumps({"model": "both", "prompt": [1, 2, 3]}))
    assert (ids.status_code, ids.json()["error"]["code"]) == (400, "invalid_request")
