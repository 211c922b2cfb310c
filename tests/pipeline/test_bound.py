"""The bound of a request, which is reserved before it is sent."""

from __future__ import annotations

from app.exchange import Call, Operation
from app.pipeline.bound import output_bound, prompt_bound
from app.table import build
from tests.support.configs import loaded

DEPLOYMENTS = build(loaded()).deployments
ONE = DEPLOYMENTS["one"]
CALL = Call(Operation.CHAT, "chat", stream=False, include_usage=False, body={}, size=200, plain=True)


def test_output_is_bounded_by_the_caller_or_the_deployment() -> None:
    """For each answer, and never beyond the context window."""
    assert output_bound(CALL, ONE) == 1024
    assert output_bound(CALL._replace(max_output_tokens=50, choices=3), ONE) == 150
    assert output_bound(CALL._replace(max_output_tokens=10**6), ONE) == 1024


def test_a_prompt_has_no_more_tokens_than_bytes() -> None:
    """Nor more than the context window for each of its prompts."""
    assert prompt_bound(CALL, ONE) == 200 + ONE.template_tokens
    assert prompt_bound(CALL._replace(size=10**6), ONE) == 8192
    assert prompt_bound(CALL._replace(size=10**6, prompts=2), ONE) == 16384


def test_embeddings_make_no_output() -> None:
    """However many inputs there are."""
    batch = CALL._replace(operation=Operation.EMBEDDINGS, choices=100, prompts=100)
    assert output_bound(batch, ONE) == 0
