"""Embeddings through the OpenAI SDK and the gateway, made by a real model."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest
from openai import AsyncOpenAI, BadRequestError, NotFoundError, OpenAI

from scripts.vllm.server import Server, vllm
from tests.support.vllm import KEY, Front, deployment

pytestmark = [pytest.mark.vllm, pytest.mark.timeout(900)]

AUTH = {"authorization": f"Bearer {KEY}"}


@pytest.fixture(scope="module")
def embedder(logs: Path) -> Iterator[Server]:
    """all-MiniLM-L6-v2 as `minilm`."""
    with vllm("minilm", logs / "minilm.log", MODEL="all-minilm-l6-v2", RUNNER="pooling").wait() as server:
        yield server


@pytest.fixture(scope="module")
def front(tmp_path_factory: pytest.TempPathFactory, embedder: Server) -> Iterator[Front]:
    """The gateway before it."""
    with Front(tmp_path_factory.mktemp("front"), {"embed": deployment(embedder, "minilm")}) as gateway:
        yield gateway


def cosine(one: list[float], other: list[float]) -> float:
    """How alike two vectors are."""
    return sum(a * b for a, b in zip(one, other, strict=True)) / (math.hypot(*one) * math.hypot(*other))


def test_vectors_mean_something(client: OpenAI) -> None:
    """Like texts are near each other; one vector a text, in order."""
    texts = ["A cat sleeps on the sofa.", "The kitten naps on the couch.", "Interest rates rose again."]
    found = client.embeddings.create(model="embed", input=texts, encoding_format="float")
    cat, kitten, rates = (item.embedding for item in found.data)
    assert [item.index for item in found.data] == [0, 1, 2]
    assert len(cat) == 384
    assert cosine(cat, kitten) > 0.5 > cosine(cat, rates) + 0.2


async def test_base64_is_the_same(async_client: AsyncOpenAI) -> None:
    """What the SDK asks for by default, and unpacks."""
    plain = await async_client.embeddings.create(model="embed", input="Hello", encoding_format="float")
    packed = await async_client.embeddings.create(model="embed", input="Hello")
    assert packed.data[0].embedding == pytest.approx(plain.data[0].embedding, abs=1e-3)


def test_tokens_are_counted_and_charged(client: OpenAI, front: Front) -> None:
    """Input only; numbers are taken as token ids."""
    got = client.embeddings.with_raw_response.create(model="embed", input=[7592, 2088])
    line = front.line(got.headers["x-request-id"])
    assert got.parse().usage.prompt_tokens == 2
    assert (line["operation"], line["input_tokens"], line["output_tokens"]) == ("embeddings", 2, 0)
    assert line["cost_usd"] == pytest.approx(2e-6)


def test_refusals_are_vllms(client: OpenAI) -> None:
    """Too long, and dimensions that this model cannot cut to."""
    with pytest.raises(BadRequestError, match="maximum context length is 256"):
        client.embeddings.create(model="embed", input="word " * 300)
    with pytest.raises(BadRequestError, match="Matryoshka"):
        client.embeddings.create(model="embed", input="Hello", dimensions=64)


def test_an_embedding_model_does_not_chat(client: OpenAI) -> None:
    """Its server has no such path: the 404 is passed on."""
    with pytest.raises(NotFoundError):
        client.chat.completions.create(model="embed", messages=[{"role": "user", "content": "Hello"}])


def test_rerank(front: Front) -> None:
    """The likest document first; tokens are counted and charged."""
    documents = ["Interest rates rose again.", "The kitten naps on the couch.", "A cat sleeps."]
    asked = {"model": "embed", "query": "Where does the cat sleep?", "documents": documents, "top_n": 2}
    got = httpx2.post(f"{front.url}/v1/rerank", json=asked, headers=AUTH, timeout=60)
    found = got.json()["results"]
    assert [one["index"] for one in found] in ([1, 2], [2, 1])
    assert found[0]["relevance_score"] >= found[1]["relevance_score"]
    line = front.line(got.headers["x-request-id"])
    assert (line["operation"], line["input_tokens"]) == ("rerank", got.json()["usage"]["total_tokens"])


def test_score(front: Front) -> None:
    """One text against several."""
    asked = {"model": "embed", "text_1": "A cat sleeps.", "text_2": ["A kitten naps.", "Interest rates rose."]}
    got = httpx2.post(f"{front.url}/v1/score", json=asked, headers=AUTH, timeout=60)
    near, far = (one["score"] for one in got.json()["data"])
    assert near > far
    assert front.line(got.headers["x-request-id"])["operation"] == "score"
