"""LlamaIndex through the gateway: a small RAG over embeddings and chat; run by `__main__`."""

from __future__ import annotations

import os

from llama_index.core import Document, Settings, VectorStoreIndex  # type: ignore[import-not-found]  # its own environment
from llama_index.core.llms import ChatMessage  # type: ignore[import-not-found]  # as above
from llama_index.core.node_parser import SentenceSplitter  # type: ignore[import-not-found]  # as above
from llama_index.embeddings.openai import OpenAIEmbedding  # type: ignore[import-not-found]  # as above
from llama_index.llms.openai_like import OpenAILike  # type: ignore[import-not-found]  # as above

URL, KEY = os.environ["GATEWAY_URL"], os.environ["GATEWAY_KEY"]
TEXTS = ("The gate opens at dawn.", "The keeper measures the river.", "The miller pays for the water.")


def rag(provider: str) -> None:
    """Index three texts, ask one question: the context of the answer is the text that was found."""
    where = {"api_base": f"{URL}/v1", "api_key": KEY, "max_retries": 0}
    llm = OpenAILike(model=f"{provider}-echo", is_chat_model=True, context_window=8192, **where)
    Settings.llm = llm
    Settings.embed_model = OpenAIEmbedding(model_name="gemini-echo", **where)
    Settings.transformations = [SentenceSplitter(chunk_size=128, chunk_overlap=0)]
    index = VectorStoreIndex.from_documents([Document(text=text) for text in TEXTS])
    answer = index.as_query_engine(similarity_top_k=1).query(TEXTS[1])
    assert answer.source_nodes[0].text == TEXTS[1]
    assert TEXTS[1] in str(answer)  # the echo says the prompt, which holds the context
    streamed = "".join(piece.delta or "" for piece in llm.stream_chat([ChatMessage(role="user", content="one two")]))
    assert streamed == "one two"


for one in ("vllm", "anthropic", "gemini"):
    rag(one)
print("RAG (VectorStoreIndex, embeddings by gemini, answers by vllm, anthropic, gemini), streamed chat")
