"""The names of spans' attributes, declared once: OpenTelemetry's where one exists, `sluicegate.*` for the rest.

`gen_ai.*`, `http.*`, `server.*`, `url.path` and `error.type` are those of the semantic conventions 1.44 (schema below;
a test compares them with OpenTelemetry's own package of that version). The GenAI conventions are still in development
and have moved to a repository of their own: what is renamed there is renamed here, and nowhere else.
"""

from __future__ import annotations

Value = str | bool | int | float | tuple[str, ...]
"""What an attribute can be."""

SCHEMA_URL = "https://opentelemetry.io/schemas/1.44.0"

HTTP_METHOD = "http.request.method"
HTTP_STATUS = "http.response.status_code"
URL_PATH = "url.path"
SERVER_ADDRESS = "server.address"
SERVER_PORT = "server.port"
ERROR_TYPE = "error.type"
OPERATION = "gen_ai.operation.name"
PROVIDER = "gen_ai.provider.name"
REQUEST_MODEL = "gen_ai.request.model"
REQUEST_STREAM = "gen_ai.request.stream"
REQUEST_MAX_TOKENS = "gen_ai.request.max_tokens"
REQUEST_CHOICES = "gen_ai.request.choice.count"
REQUEST_TEMPERATURE = "gen_ai.request.temperature"
REQUEST_TOP_P = "gen_ai.request.top_p"
REQUEST_TOP_K = "gen_ai.request.top_k"
REQUEST_SEED = "gen_ai.request.seed"
REQUEST_FREQUENCY = "gen_ai.request.frequency_penalty"
REQUEST_PRESENCE = "gen_ai.request.presence_penalty"
RESPONSE_ID = "gen_ai.response.id"
RESPONSE_MODEL = "gen_ai.response.model"
RESPONSE_FINISH = "gen_ai.response.finish_reasons"
RESPONSE_FIRST_CHUNK = "gen_ai.response.time_to_first_chunk"
USAGE_INPUT = "gen_ai.usage.input_tokens"
USAGE_OUTPUT = "gen_ai.usage.output_tokens"
USAGE_CACHED = "gen_ai.usage.cache_read.input_tokens"
USAGE_CACHE_WRITE = "gen_ai.usage.cache_creation.input_tokens"
USAGE_REASONING = "gen_ai.usage.reasoning.output_tokens"
REQUEST_ID = "sluicegate.request_id"
MODEL = "sluicegate.model"
DEPLOYMENT = "sluicegate.deployment"
ARM = "sluicegate.arm"
TENANT = "sluicegate.tenant"
KEY = "sluicegate.key"
OUTCOME = "sluicegate.outcome"
COST = "sluicegate.cost_usd"
ATTEMPTS = "sluicegate.attempts"
ATTEMPT = "sluicegate.attempt"
FIRST_BYTE = "sluicegate.time_to_first_token"
OVERHEAD = "sluicegate.overhead"
KEPT = "sluicegate.kept"
RESERVED = "sluicegate.reserved_tokens"
CHARGED = "sluicegate.charged_tokens"
CLAMPED = "sluicegate.clamped_to"
OBSERVED = "sluicegate.rollout.observed"
COPIED = "sluicegate.shadow.copied"
DIFFERS = "sluicegate.shadow.differs"
GUARD = "sluicegate.guard"
GUARD_STAGE = "sluicegate.guard.stage"
GUARD_VERDICT = "sluicegate.guard.verdict"
GUARD_HITS = "sluicegate.guard.hits"
GUARD_FAILURES = "sluicegate.guard.failures"
GUARD_HOLD = "sluicegate.guard.hold"
EVALUATION = "gen_ai.evaluation.name"
EVALUATION_SCORE = "gen_ai.evaluation.score.value"
INPUT_MESSAGES = "gen_ai.input.messages"
OUTPUT_MESSAGES = "gen_ai.output.messages"
CONTENT_CUT = "sluicegate.content_cut"
COUNT_METHOD = "sluicegate.count_method"
TEMPLATE = "sluicegate.template"

SPAN_ATTRIBUTES: dict[str, str] = {
    HTTP_METHOD: "Server span: `POST`.",
    HTTP_STATUS: "The status that the caller got (server span), that the upstream sent (client span of a refusal).",
    URL_PATH: "Server span: the path that was called.",
    SERVER_ADDRESS: "Client span: the endpoint's host.",
    SERVER_PORT: "Client span: its port.",
    ERROR_TYPE: "The error code (server span), the attempt's result where it is not `ok` (client span).",
    OPERATION: "Client span: chat, text_completion, embeddings.",
    PROVIDER: "Client span: the deployment's provider.",
    REQUEST_MODEL: "Client span: the upstream's own name of the model.",
    REQUEST_STREAM: "Client span: whether a stream was asked for.",
    REQUEST_MAX_TOKENS: "Client span: the caller's cap on each answer.",
    REQUEST_CHOICES: "Client span: how many answers were asked for, where more than one.",
    REQUEST_TEMPERATURE: "Client span: as asked for.",
    REQUEST_TOP_P: "Client span: as asked for.",
    REQUEST_TOP_K: "Client span: as asked for.",
    REQUEST_SEED: "Client span: as asked for.",
    REQUEST_FREQUENCY: "Client span: as asked for.",
    REQUEST_PRESENCE: "Client span: as asked for.",
    RESPONSE_ID: "Client span that answered: the answer's id.",
    RESPONSE_MODEL: "Client span that answered: the model that the upstream says it used.",
    RESPONSE_FINISH: "Client span that answered: why each choice ended.",
    RESPONSE_FIRST_CHUNK: "Client span of a stream: seconds from its start to the first chunk.",
    USAGE_INPUT: "Client span that answered: input tokens charged.",
    USAGE_OUTPUT: "Client span that answered: output tokens charged.",
    USAGE_CACHED: "Client span that answered: those of the input that came from the provider's cache.",
    USAGE_CACHE_WRITE: "Client span that answered: those of the input that were written to it.",
    USAGE_REASONING: "Client span that answered: those of the output that were reasoning.",
    REQUEST_ID: "Server span: the `x-request-id` of the response.",
    MODEL: "Server span: the public model name, where one is configured.",
    DEPLOYMENT: "The deployment (on the server span: that answered last).",
    ARM: "Its role.",
    TENANT: "Server span: who pays.",
    KEY: "Server span: the name of the key that was shown.",
    OUTCOME: "Server span: how the request ended.",
    COST: "Server span: what it cost.",
    ATTEMPTS: "Server span: upstream attempts made.",
    ATTEMPT: "Client span: which of the request's attempts, from 1.",
    FIRST_BYTE: "Server span of a stream: seconds from arrival to the answer's first byte on the caller's socket.",
    OVERHEAD: "Server span: the gateway's own share of the duration, in seconds.",
    COUNT_METHOD: "Server span: how the prompt was counted before it was sent: exact, tokenizer, bound.",
    TEMPLATE: "Server span: name and version of the prompt template that was put before the caller's messages.",
    KEPT: "Server span: why the trace is here: `sampled`, or `error`, `cut`, `slow` where it was not sampled.",
    RESERVED: "Server span: tokens that were reserved in budgets, where any limit the request.",
    CHARGED: "Server span: tokens that the request is charged, all its attempts together.",
    CLAMPED: "Server span: the output cap, where a budget lowered it.",
    OBSERVED: "Server span: true where a rollout counts the request among its observations.",
    COPIED: "Server span: true where a copy went to the model's shadow.",
    DIFFERS: "Evaluation span: in what the shadow differs: status, refusal, harm, format, tools.",
    GUARD: "Server span and guard spans: the guard's name.",
    GUARD_STAGE: "Guard span: `prompt` or `completion`.",
    GUARD_VERDICT: "Guard span: `passed`, `redacted`, `refused` (the prompt), `cut` (the completion).",
    GUARD_HITS: "Guard span: what was found, each as `category severity action detector`.",
    GUARD_FAILURES: "Server span: detectors that gave no verdict, each as `detector reason`.",
    GUARD_HOLD: "Guard span of a completion: the longest that text was held back, in seconds.",
    EVALUATION: "Evaluation span: what was measured: `similarity` of a shadow's answer.",
    EVALUATION_SCORE: "Evaluation span: the measure, 0 to 1.",
    INPUT_MESSAGES: "Client span that answered, with `capture_content`: the redacted prompt, as OpenTelemetry's JSON.",
    OUTPUT_MESSAGES: "The same of the answer.",
    CONTENT_CUT: "True where that is not all of it.",
}
"""Every attribute. Prompt and completion text is none, but for the two of `capture_content`."""
