"""The upstream's other pages: health, version, models, metrics, tokenize."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

from tests.upstream import openai_errors
from tests.upstream.dialect import Refused
from tests.upstream.openai_read import behaviour_of, document
from tests.upstream.state import State
from tests.upstream.wire import Exchange
from tests.upstream.words import content_text, message_tokens, pieces

_SHOWN = ("echo", "answer-64", "answer-64+pace-2ms", "tool-call")


def page(exchange: Exchange, path: str, state: State) -> None:
    """Answer anything that is not a dialect's."""
    known = _PAGES.get(path)
    if known is None:
        exchange.reply(404, b'{"detail":"Not Found"}', finish="error")
    elif known[0] != exchange.method:
        exchange.reply(
            405, b'{"detail":"Method Not Allowed"}', extra=b"allow: %b\r\n" % known[0].encode(), finish="error"
        )
    else:
        try:
            known[1](exchange, state)
        except Refused as refused:
            exchange.reply(refused.status, openai_errors.body(refused.status, refused, as_openai=False), finish="error")


def _health(exchange: Exchange, state: State) -> None:
    status = 503 if state.settings.engine == "dead" else state.settings.health
    exchange.reply(status, b"", kind=b"")


def _version(exchange: Exchange, _state: State) -> None:
    exchange.reply(200, b'{"version":"0.32.0"}')


def _models(exchange: Exchange, state: State) -> None:
    key = state.settings.api_key
    if key is not None and exchange.header(b"authorization") != b"Bearer " + key.encode():
        raise Refused(401, "Unauthorized")
    data = [_model(name, state) for name in (*state.settings.aliases, *_SHOWN)]
    exchange.reply(200, orjson.dumps({"object": "list", "data": data}))


def _model(name: str, state: State) -> dict[str, Any]:
    window = behaviour_of(name, state.settings).context
    permission = {
        "id": "modelperm-fake",
        "object": "model_permission",
        "created": 1795396705,
        "allow_create_engine": False,
    }
    permission |= {"allow_sampling": True, "allow_logprobs": True, "allow_search_indices": False, "allow_view": True}
    permission |= {"allow_fine_tuning": False, "organization": "*", "group": None, "is_blocking": False}
    model = {"id": name, "object": "model", "created": 1795396705, "owned_by": "vllm", "root": name, "parent": None}
    return model | {"max_model_len": window, "permission": [permission]}


def _tokenize(exchange: Exchange, state: State) -> None:
    doc = document(exchange)
    behaviour = behaviour_of(str(doc.get("model") or "echo"), state.settings)
    if isinstance(doc.get("messages"), list):
        text = " ".join(content_text(message.get("content")) for message in doc["messages"])
        number = message_tokens(doc["messages"])
        ids = state.vocabulary.ids(text)
        ids = (ids + [0] * number)[:number]
    elif isinstance(doc.get("prompt"), str):
        text = doc["prompt"]
        ids = state.vocabulary.ids(text)
    else:
        message = "2 validation errors:\n  {'type': 'missing', 'loc': 'body.prompt', 'msg': 'Field required'}"
        raise Refused(400, message, param="body.prompt", kind="Bad Request")
    strings = pieces(text) if doc.get("return_token_strs") else None
    exchange.reply(
        200, orjson.dumps({"count": len(ids), "max_model_len": behaviour.context, "tokens": ids, "token_strs": strings})
    )


def _detokenize(exchange: Exchange, state: State) -> None:
    doc = document(exchange)
    behaviour_of(str(doc.get("model") or "echo"), state.settings)
    exchange.reply(200, orjson.dumps({"prompt": state.vocabulary.text(doc.get("tokens") or [])}))


def _metrics(exchange: Exchange, state: State) -> None:
    label = 'engine="0",model_name="fake"'
    lines: list[str] = []

    def metric(name: str, kind: str, text: str, samples: Mapping[str, float]) -> None:
        lines.extend((f"# HELP {name} {text}", f"# TYPE {name} {kind}"))
        lines.extend(f"{name}{{{labels}}} {float(value)}" for labels, value in samples.items())

    totals = state.totals
    metric(
        "vllm:num_requests_running", "gauge", "Number of requests in model execution batches.", {label: state.running}
    )
    metric("vllm:num_requests_waiting", "gauge", "Number of requests waiting to be processed.", {label: 0})
    metric(
        "vllm:kv_cache_usage_perc",
        "gauge",
        "KV-cache usage. 1 means 100 percent usage.",
        {label: min(1.0, state.running / 256) if state.settings.kv_cache is None else state.settings.kv_cache},
    )
    awake = {'engine="0",model_name="fake",sleep_state="awake"': float(not state.settings.asleep)}
    metric("vllm:engine_sleep_state", "gauge", "Engine sleep state; awake = 0 means engine is sleeping.", awake)
    cached = {label: totals["prompt_tokens"] // 4}
    metric("vllm:prefix_cache_queries_total", "counter", "Number of queried tokens.", {label: totals["prompt_tokens"]})
    metric("vllm:prefix_cache_hits_total", "counter", "Number of cached tokens.", cached)
    metric("vllm:num_preemptions_total", "counter", "Cumulative number of preemption from the engine.", {label: 0})
    metric(
        "vllm:prompt_tokens_total", "counter", "Number of prefill tokens processed.", {label: totals["prompt_tokens"]}
    )
    metric("vllm:generation_tokens_total", "counter", "Number of generation tokens processed.", {label: totals["made"]})
    finished = {
        f'engine="0",finished_reason="{reason}",model_name="fake"': state.finished[reason]
        for reason in ("stop", "length", "abort", "error", "repetition")
    }
    metric("vllm:request_success_total", "counter", "Count of successfully processed requests.", finished)
    exchange.reply(200, ("\n".join(lines) + "\n").encode(), kind=b"text/plain; version=1.0.0; charset=utf-8")


_PAGES = {
    "/health": ("GET", _health),
    "/ping": ("GET", _health),
    "/version": ("GET", _version),
    "/v1/models": ("GET", _models),
    "/metrics": ("GET", _metrics),
    "/tokenize": ("POST", _tokenize),
    "/detokenize": ("POST", _detokenize),
    "/v1/chat/completions": ("POST", _version),  # reached with another method only: 405
    "/v1/completions": ("POST", _version),
    "/v1/embeddings": ("POST", _version),
}
