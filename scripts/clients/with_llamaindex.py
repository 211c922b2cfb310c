"""LlamaIndex through the gateway: a small RAG over embeddings and chat; run by `__main__`."""

from __future__ import annotations

from llama_index.core import Document, Settings, VectorStoreIndex  # type: ignore[import-not-found]  # its own environment
from llama_index.core.llms import ChatMessage  # type: ignore[import-not-found]  # as above
from llama_index.core.node_parser import SentenceSplitter  # type: ignore[import-not-found]  # as above
from llama_index.embeddings.openai import OpenAIEmbedding  # type: ignore[import-not-found]  # as above
from llama_index.llms.openai_like import OpenAILike  # type: ignore[import-not-found]  # as above

from scripts.clients.setting import KEY, PROVIDERS, REAL, URL, check, embedder, model

TEXTS = ("The gate opens at dawn.", "The keeper measures the river.", "The miller pays for the water.")


def rag(provider: str) -> None:
    """Index three texts, ask one question: the context of the answer is the text that was found."""
    where = {"api_base": f"{URL}/v1", "api_key": KEY, "max_retries": 0}
    window = 2048 if REAL else 8192
    llm = OpenAILike(model=model(provider), is_chat_model=True, context_window=window, max_tokens=60, **where)
    Settings.llm = llm
    Settings.embed_model = OpenAIEmbedding(model_name=embedder("gemini"), **where)
    Settings.transformations = [SentenceSplitter(chunk_size=128, chunk_overlap=0)]
    index = VectorStoreIndex.from_documents([Document(text=text) for text in TEXTS])
    answer = index.as_query_engine(similarity_top_k=1).query(TEXTS[1])
    assert answer.source_nodes[0].text == TEXTS[1]
    assert str(answer) if REAL else TEXTS[1] in str(answer)  # the echo says the prompt, which holds the context
    streamed = "".join(piece.delta or "" for piece in llm.stream_chat([ChatMessage(role="user", content="one two")]))
    check(streamed, "one two")


for one in PROVIDERS:
    rag(one)
EMBEDS = "vllm" if REAL else "gemini"
print(f"RAG (VectorStoreIndex, embeddings by {EMBEDS}, answers by {', '.join(PROVIDERS)}), streamed chat")
