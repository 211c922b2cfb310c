"""What a deployment gets to see of the cap on its answer."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from app.exchange import Count, CountMethod, Operation, Scaffold
from app.pipeline.counting import scaffold_of
from app.pipeline.outgoing import outgoing, shaped, told_first
from tests.pipeline.parts import call, deployment, table

VLLM = deployment(context_window=1000, max_output_tokens=400)
OPENAI = deployment("two", context_window=1000, max_output_tokens=400)


def count(tokens: int) -> Count:
    """A prompt of so many tokens at most."""
    return Count(tokens, tokens, 0, CountMethod.BOUND)


@pytest.mark.parametrize(
    ("fields", "prompt", "sent"),
    [
        ({}, 100, {"max_tokens": 400}),
        ({"max_tokens": 30}, 100, {"max_tokens": 30}),
        ({"max_completion_tokens": 30}, 100, {"max_completion_tokens": 30}),
        ({"max_tokens": 4000}, 100, {"max_tokens": 400}),
        ({"max_completion_tokens": 4000}, 100, {"max_completion_tokens": 400}),
        ({"max_tokens": 900, "max_completion_tokens": 900}, 1, {"max_tokens": 400, "max_completion_tokens": 400}),
        ({}, 700, {"max_tokens": 300}),
        ({"max_tokens": 350}, 700, {"max_tokens": 350}),
        ({}, 999, {"max_tokens": 1}),
        ({}, 1000, {"max_tokens": 400}),
        ({"max_tokens": None}, 10, {"max_tokens": 400}),
    ],
)
def test_every_answer_has_a_cap(fields: dict[str, Any], prompt: int, sent: dict[str, int]) -> None:
    """The caller's, at most the deployment's; one that nobody asked for is lowered to the room that there is."""
    asked = call(**fields)
    got = outgoing(asked, VLLM, count(prompt))
    assert {name: value for name, value in got.body.items() if name.startswith("max_")} == sent
    assert got.max_output_tokens in sent.values()
    assert got.body["messages"] is asked.body["messages"]


def test_a_cap_that_may_be_lowered_is() -> None:
    """That is the policy `clamp`."""
    asked = call(max_tokens=350)._replace(soft_cap=True)
    assert outgoing(asked, VLLM, count(700)).body["max_tokens"] == 300
    assert outgoing(asked, VLLM, count(100)) is asked


def test_a_deployment_that_names_its_cap_gets_that_name() -> None:
    """Its dialect renames the caller's."""
    named = replace(OPENAI, output_cap="max_completion_tokens")
    assert outgoing(call(), named, count(1)).body["max_completion_tokens"] == 400
    assert outgoing(call(), OPENAI, count(1)).body["max_tokens"] == 400


def test_what_has_no_cap_stays_without() -> None:
    """Embeddings make no answer; a completion that gives none makes 16 tokens."""
    for asked in (call(Operation.EMBEDDINGS), call(Operation.COMPLETION), call(Operation.COMPLETION, max_tokens=9)):
        assert outgoing(asked, VLLM, count(1)) is asked
    assert outgoing(call(Operation.COMPLETION, max_tokens=900), VLLM, count(1)).body["max_tokens"] == 400


@pytest.mark.parametrize(
    ("fields", "lowered", "expected"),
    [
        ({}, None, {"max_tokens": 400}),
        ({"max_tokens": 50}, 50, {"max_tokens": 50}),
        ({"max_tokens": 50}, 20, {"max_tokens": 20}),
        ({"max_completion_tokens": 50}, 20, {"max_completion_tokens": 20}),
        ({"max_tokens": 90, "max_completion_tokens": 90}, 20, {"max_tokens": 20, "max_completion_tokens": 20}),
        ({"max_tokens": None}, None, {"max_tokens": 400}),
    ],
)
def test_what_is_sent_has_the_cap_that_was_reserved(
    fields: dict[str, Any], lowered: int | None, expected: dict[str, int]
) -> None:
    """What a budget has lowered, too, by the name that the caller used; a completion that nobody capped."""
    asked = call(**fields)._replace(max_output_tokens=lowered)
    got = outgoing(asked, VLLM, count(1), held=True).body
    assert {name: value for name, value in got.items() if name.startswith("max_")} == expected
    completion = outgoing(call(Operation.COMPLETION), VLLM, count(1), held=True)
    assert (completion.body["max_tokens"], completion.max_output_tokens) == (400, 400)
    batch = call(Operation.EMBEDDINGS)
    assert outgoing(batch, VLLM, count(1), held=True) is batch


def test_the_callers_body_is_left_as_it_is() -> None:
    """Another deployment may have to be asked with it."""
    asked = call(max_tokens=900)
    outgoing(asked, VLLM, count(1))
    assert asked.body["max_tokens"] == 900


SCAFFOLD = Scaffold("helpful@3", "Be brief.")


def test_a_scaffold_stands_first() -> None:
    """In the caller's own system prompt, or in one of its own; the caller's messages stay as they are."""
    user = {"role": "user", "content": "hi"}
    asked = call(messages=[user])
    got = outgoing(asked, VLLM, count(1), SCAFFOLD)
    assert got.body["messages"] == [{"role": "system", "content": "Be brief."}, user]
    assert got.body["max_tokens"] == 400
    assert asked.body["messages"] == [user]
    own = {"role": "developer", "content": "Own.", "name": "x"}
    assert told_first([own, user], SCAFFOLD) == [{**own, "content": "Be brief.\n\nOwn."}, user]
    assert told_first([{"role": "system", "content": None}], SCAFFOLD)[0]["content"] == "Be brief."


def test_who_is_told_what() -> None:
    """Chats, and the counting of chats; nothing where the model has no template."""
    templates = [{"name": "a", "tone": "A."}, {"name": "b", "tone": "B."}]
    told = table({"templates": templates, "models[0].template": "a", "deployments[1].template": "b"})
    asked = shaped(call(), told)
    found = [scaffold_of(asked, told.deployments[name]) for name in ("one", "two")]
    assert found == [Scaffold("a@1", "A."), Scaffold("b@1", "B.")]
    assert scaffold_of(shaped(call(Operation.COMPLETION), told), VLLM) is None
    counted = call(Operation.TOKENIZE)._replace(body={"model": "chat", "messages": [{"role": "user", "content": "x"}]})
    assert scaffold_of(shaped(counted, told), told.deployments["one"]) is not None
    plain = call()
    assert shaped(plain, table()) is plain
    unknown = call(model="nobody")
    assert shaped(unknown, told) is unknown
