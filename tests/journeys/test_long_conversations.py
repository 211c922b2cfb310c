"""Conversations and texts that are longer than the window, through a running gateway: what is sent, told and billed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.gateway import PRICE, Gateway, Json, config, deployment
from tests.support.upstream import Upstream

WINDOW = {"provider": "vllm", "context_window": 300, "max_output_tokens": 40, "template_tokens": 0}
SYSTEM = {"role": "system", "content": "be brief"}
TOOL = {
    "role": "assistant",
    "content": None,
    "tool_calls": [{"id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}}],
}


def said(role: str, words: int) -> Json:
    """A message of so many words."""
    return {"role": role, "content": " ".join(["word"] * words)}


LONG = [
    SYSTEM,
    said("user", 100),
    TOOL,
    {"role": "tool", "tool_call_id": "a", "content": "x " * 90},
    said("assistant", 50),
    said("user", 60),
    said("assistant", 60),
    said("user", 20),
]


@pytest.fixture(scope="module")
def gateway(upstream_process: Upstream) -> Iterator[Gateway]:
    """A model for each policy; `echo` says again what the user said last, `answer-5` five words."""
    url = upstream_process.url
    deployments = [
        deployment("small", url, "echo", **WINDOW),
        deployment("five", url, "answer-5", **WINDOW),
        deployment("broken", url, "fail-500", context_window=100_000, max_output_tokens=200),
        deployment("large", url, "answer-7", context_window=100_000, max_output_tokens=200),
    ]
    models: list[dict[str, Any]] = [{"name": one["name"], "stable": one["name"]} for one in deployments]
    models += [
        {"name": "truncate", "stable": "small", "token_limit": "truncate"},
        {
            "name": "summarise",
            "stable": "small",
            "token_limit": "summarise",
            "summarise_with": "large",
            "summary_tokens": 60,
        },
        {
            "name": "sorry",
            "stable": "small",
            "token_limit": "summarise",
            "summarise_with": "broken",
            "summary_tokens": 60,
        },
        {"name": "chunk", "stable": "five", "token_limit": "chunk", "max_chunks": 20},
        {"name": "echo", "stable": "small"},
    ]
    with Gateway(config(deployments, models)) as running:
        yield running


def ask(gateway: Gateway, model: str, messages: list[Json], **fields: Any) -> tuple[Json, dict[str, str], Json]:
    """The answer, its headers, and its access line."""
    response = gateway.chat(model, messages=messages, **fields)
    assert response.status_code == 200, response.text
    wanted = response.headers["x-request-id"]  # calls on the way have it in theirs, and are written first
    gateway.until(lambda: any(line["request_id"] == wanted for line in gateway.lines()), what="no access line")
    line = next(line for line in gateway.lines() if line["request_id"] == wanted)
    return response.json(), dict(response.headers), line


def sent(upstream: Upstream) -> list[Json]:
    """The completions that were asked for."""
    return [body for body in upstream.bodies() if "max_tokens" in body or "max_completion_tokens" in body]


def test_truncating_a_conversation(gateway: Gateway, upstream: Upstream) -> None:
    """The oldest turn goes with its tool exchange, the system prompt stays; header, log and counter say so."""
    _, headers, line = ask(gateway, "truncate", LONG)
    assert headers["x-sluicegate-fit"] == line["fit"] == "truncate; dropped=4"
    (body,) = sent(upstream)
    assert body["messages"] == [SYSTEM, *LONG[5:]]
    assert line["input_tokens"] <= 260
    assert gateway.value("sluicegate_fit_total", model="truncate", action="truncate") == 1


def test_a_conversation_that_fits_is_left_alone(gateway: Gateway, upstream: Upstream) -> None:
    """No header, nothing dropped."""
    _, headers, _ = ask(gateway, "truncate", [SYSTEM, *LONG[5:]])
    assert "x-sluicegate-fit" not in headers
    assert sent(upstream)[0]["messages"] == [SYSTEM, *LONG[5:]]


def test_a_question_that_is_too_long_by_itself_is_refused(gateway: Gateway) -> None:
    """There is nothing that could go."""
    refused = gateway.chat("truncate", messages=[SYSTEM, said("user", 400)])
    assert refused.json()["error"]["code"] == "context_length_exceeded"


def test_summarising_a_conversation(gateway: Gateway, upstream: Upstream) -> None:
    """What goes is summarised by another model: a call of its own on the tenant's account, told in header and log."""
    before = gateway.outcomes()["ok"] if gateway.outcomes().get("ok") else 0
    _, headers, line = ask(gateway, "summarise", LONG)
    summary, answer = sent(upstream)
    assert summary["model"] == "answer-7"
    assert summary["messages"][1]["content"].startswith("user: word word")
    assert '"name": "f"' in summary["messages"][1]["content"]
    assert answer["messages"][0] == SYSTEM
    assert answer["messages"][1]["content"].startswith("[Summary of the earlier conversation")
    assert answer["messages"][1]["content"].endswith(LONG[5]["content"])
    inner = next(one for one in gateway.lines() if one.get("purpose") == "summary")
    assert inner["request_id"] == f"{line['request_id']}-summary-1"
    assert (inner["tenant"], inner["model"], inner["output_tokens"]) == ("team", "large", 7)
    assert inner["cost_usd"] == pytest.approx((inner["input_tokens"] * PRICE["input"] + 7 * PRICE["output"]) / 1e6)
    tokens = inner["input_tokens"] + 7
    assert headers["x-sluicegate-fit"] == f"summarise; dropped=4; calls=1; tokens={tokens}; usd={inner['cost_usd']:.9f}"
    assert gateway.outcomes()["ok"] == before + 1, "the caller made one request"
    assert gateway.value("sluicegate_cost_usd_total", model="large", tenant="team") > 0


def test_a_summary_that_fails_is_gone_without(gateway: Gateway, upstream: Upstream) -> None:
    """The conversation is cut, and that is told."""
    _, headers, _ = ask(gateway, "sorry", LONG)
    assert headers["x-sluicegate-fit"] == "truncate; dropped=4; summary=failed; calls=1; tokens=0; usd=0.000000000"


def test_a_long_text_is_worked_through_in_pieces(gateway: Gateway, upstream: Upstream) -> None:
    """A call for each piece, one for the answer; the whole is billed and told."""
    text = " ".join(f"word{at}" for at in range(600))
    answer, headers, line = ask(gateway, "chunk", [SYSTEM, {"role": "user", "content": f"Count.\n\n{text}"}])
    *pieces, final = sent(upstream)
    told = dict(part.split("=") for part in headers["x-sluicegate-fit"].split("; ")[1:])
    assert int(told["chunks"]) == int(told["calls"]) == len(pieces) >= 3
    assert all(piece["messages"][1]["content"].startswith("Count.\n\n[Part ") for piece in pieces)
    assert final["messages"][1]["content"].startswith("Count.\n\n[The text was too long")
    assert answer["usage"]["completion_tokens"] == 5
    lines = [one for one in gateway.lines() if one.get("purpose") == "chunk"]
    assert int(told["tokens"]) == sum(one["input_tokens"] + one["output_tokens"] for one in lines)
    assert float(told["usd"]) == pytest.approx(sum(one["cost_usd"] for one in lines), abs=1e-9)
    assert line["fit"] == headers["x-sluicegate-fit"]


@pytest.mark.parametrize("fields", [{"stream": True}, {"tools": [{"type": "function", "function": {"name": "f"}}]}])
def test_what_is_no_task_about_a_text_is_refused(gateway: Gateway, fields: dict[str, Any]) -> None:
    """Streams and tools are not for pieces."""
    refused = gateway.chat("chunk", messages=[SYSTEM, said("user", 600)], **fields)
    assert refused.json()["error"]["code"] == "context_length_exceeded"


def test_a_text_of_too_many_pieces_is_refused(gateway: Gateway, upstream: Upstream) -> None:
    """Before anything is asked."""
    refused = gateway.chat("chunk", messages=[SYSTEM, said("user", 9000)])
    assert "20 are allowed here" in refused.json()["error"]["message"]
    assert sent(upstream) == []
