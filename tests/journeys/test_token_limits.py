"""`token_limit` as callers meet it: through a running gateway, with the real SDK, before a real server."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import openai
import pytest

from tests.support.gateway import Gateway, config, deployment
from tests.support.upstream import Upstream

WINDOW = {"context_window": 100, "max_output_tokens": 40}
CHAT: Any = [{"role": "user", "content": "word " * 400}]
"""400 tokens of the fake upstream, and 3 for the message."""


@pytest.fixture(scope="module")
def gateway(upstream_process: Upstream) -> Iterator[Gateway]:
    """Models by policy and by what counts for them; `large` is what a long prompt may fall back on."""
    url = upstream_process.url
    deployments = [
        deployment("asked", url, "echo", provider="vllm", **WINDOW),
        deployment("bounded", url, "echo", **WINDOW),
        deployment("o200k", url, "echo", tokenizer="o200k", **WINDOW),
        deployment("large", url, "echo", context_window=5000, max_output_tokens=40, tokenizer="o200k"),
    ]
    models: list[dict[str, Any]] = [{"name": one["name"], "stable": one["name"]} for one in deployments]
    models += [{"name": f"{name}/clamp", "stable": name, "token_limit": "clamp"} for name in ("asked", "o200k")]
    models += [{"name": "roomy", "stable": "o200k", "fallbacks": ["large"]}, {"name": "echo", "stable": "bounded"}]
    with Gateway(config(deployments, models)) as running:
        yield running


@pytest.mark.parametrize("model", ["asked", "o200k"])
def test_what_cannot_fit_is_refused_before_it_is_sent(gateway: Gateway, upstream: Upstream, model: str) -> None:
    """OpenAI's SDK sees its own error, with the numbers; no completion is asked for, nothing is charged."""
    with gateway.sdk() as client, pytest.raises(openai.BadRequestError) as refused:
        client.chat.completions.create(model=model, messages=CHAT, max_tokens=10)
    assert refused.value.code == "context_length_exceeded"
    assert "maximum context length is 100 tokens" in refused.value.message
    assert not [line for line in upstream.log() if line["path"] == "/v1/chat/completions"]
    line = gateway.line(refused.value.response)
    assert (line["outcome"], line["attempts"]) == ("refused_invalid", 0)
    assert gateway.value("sluicegate_fit_total", model=model, action="reject") == 1


def test_a_bound_refuses_nothing(gateway: Gateway, upstream: Upstream) -> None:
    """Where nobody can count, the upstream decides: 403 of its tokens fit its own window."""
    answer = gateway.chat("bounded", text="word " * 400)
    assert answer.status_code == 200
    line = gateway.line(answer)
    assert line["count"] == "bound"
    assert line["prompt_bound"] >= line["input_tokens"] == 404


def test_a_long_text_of_few_tokens_is_no_long_prompt(gateway: Gateway, upstream: Upstream) -> None:
    """By bytes it might not fit; the upstream counts, and it does."""
    answer = gateway.chat("asked", text="internationalisation" * 20, max_tokens=40)
    assert answer.status_code == 200
    line = gateway.line(answer)
    assert (line["count"], line["prompt_bound"], line["input_tokens"]) == ("exact", 4, 4)


def test_clamp_lowers_max_tokens_to_what_fits(gateway: Gateway, upstream: Upstream) -> None:
    """83 tokens of prompt leave room for 17; header, log and counter say so."""
    answer = gateway.chat("asked/clamp", text="word " * 79 + "word", max_tokens=40)
    assert answer.headers["x-sluicegate-fit"] == "clamp; max_tokens=17"
    assert upstream.bodies()[-1]["max_tokens"] == 17
    assert gateway.line(answer)["fit"] == "clamp; max_tokens=17"
    assert gateway.value("sluicegate_fit_total", model="asked/clamp", action="clamp") == 1
    refused = gateway.chat("asked/clamp", text="word " * 400, max_tokens=40)
    assert refused.json()["error"]["code"] == "context_length_exceeded"


def test_every_answer_has_a_cap(gateway: Gateway, upstream: Upstream) -> None:
    """The deployment's where the caller gave none or a higher one."""
    gateway.chat("large", text="hi")
    gateway.chat("large", text="hi", max_tokens=4000)
    gateway.chat("large", text="hi", max_tokens=4)
    sent = [{name: value for name, value in body.items() if name.startswith("max_")} for body in upstream.bodies()]
    assert sent == [{"max_tokens": 40}, {"max_tokens": 40}, {"max_tokens": 4}]


def test_a_fallback_with_room_serves_what_the_first_cannot_take(gateway: Gateway, upstream: Upstream) -> None:
    """As if the first had failed."""
    answer = gateway.chat("roomy", text="word " * 400)
    assert answer.headers["x-sluicegate-deployment"] == "large"
    assert answer.headers["x-sluicegate-arm"] == "fallback"
    assert gateway.chat("roomy", text="word").headers["x-sluicegate-deployment"] == "o200k"


def test_a_stream_is_fitted_alike(gateway: Gateway, upstream: Upstream) -> None:
    """The refusal is a status, as for any stream that has not begun."""
    with gateway.sdk() as client, pytest.raises(openai.BadRequestError):
        client.chat.completions.create(model="asked", messages=CHAT, stream=True)
    with gateway.sdk() as client:
        raw = client.chat.completions.with_raw_response.create(
            model="asked/clamp", messages=[{"role": "user", "content": "word " * 80}], max_tokens=40, stream=True
        )
        assert raw.headers["x-sluicegate-fit"] == "clamp; max_tokens=16"
        assert len(list(raw.parse())) > 0
