"""Everything that is not a model."""

from __future__ import annotations

from prometheus_client.parser import text_string_to_metric_families

from tests.upstream.client import Client


def test_tokenize_counts_as_usage_does(client: Client) -> None:
    """And detokenize brings the text back."""
    doc = client.request("POST", "/tokenize", {"model": "echo", "prompt": "a b a", "return_token_strs": True}).doc
    assert doc["count"] == 3
    assert doc["tokens"][0] != doc["tokens"][2] != doc["tokens"][1]
    assert doc["token_strs"] == ["a", " b", " a"]
    back = client.request("POST", "/detokenize", {"model": "echo", "tokens": doc["tokens"]}).doc
    assert back == {"prompt": "a b a"}
    messages = [{"role": "user", "content": "a b a"}]
    counted = client.request("POST", "/tokenize", {"model": "echo", "messages": messages}).doc["count"]
    assert counted == client.chat("echo", "a b a").doc["usage"]["prompt_tokens"]
    assert client.request("POST", "/tokenize", {"model": "nope", "prompt": "a"}).status == 404
    assert client.request("POST", "/tokenize", {"model": "echo"}).doc["error"]["param"] == "body.prompt"


def test_metrics_have_vllm_s_names_and_true_numbers(client: Client) -> None:
    """In a form that Prometheus reads."""
    client.chat("answer-7", "a b")
    client.chat("answer-7", "a b", max_tokens=2)
    text = client.request("GET", "/metrics").body.decode()
    found = {
        (sample.name, sample.labels.get("finished_reason")): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }
    assert found["vllm:generation_tokens_total", None] == 9
    assert found["vllm:prompt_tokens_total", None] == 10
    assert found["vllm:num_requests_running", None] == 0
    assert found["vllm:request_success_total", "length"] == 1


def test_models_and_version(client: Client) -> None:
    """Names that a reader can try, each with its context window."""
    models = client.request("GET", "/v1/models").doc["data"]
    assert {"echo", "answer-64"} <= {model["id"] for model in models}
    assert all(model["max_model_len"] == 131072 for model in models)
    assert client.request("GET", "/version").doc == {"version": "0.32.0"}
