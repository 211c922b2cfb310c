"""What no gateway may send to an upstream. Each finding is a violation, and a violation fails the test."""

from __future__ import annotations

from functools import lru_cache

from tests.upstream.dialect import Ask, Dialect
from tests.upstream.state import State
from tests.upstream.wire import Exchange

HOP_BY_HOP = frozenset({
    b"keep-alive", b"te", b"trailer", b"transfer-encoding", b"upgrade", b"proxy-connection", b"proxy-authorization",
    b"proxy-authenticate", b"expect", b"http2-settings",
})  # fmt: skip
"""Headers that belong to one connection. `connection` itself may say keep-alive or close, nothing else."""

CREDENTIALS = frozenset(
    {b"authorization", b"x-api-key", b"api-key", b"x-goog-api-key", b"cookie", b"proxy-authorization"}
)
"""Headers that may carry a caller's secret. A dialect allows those that carry its own."""

PRIVATE = (b"x-sluicegate-", b"x-forwarded-", b"x-real-ip", b"forwarded")
"""Beginnings of headers that are the gateway's own business."""

_SINGLE = frozenset({b"host", b"content-length", b"content-type", b"authorization", b"x-request-id"})


def request(exchange: Exchange, dialect: Dialect | None, state: State) -> None:
    """Check the head, and the body for forbidden strings."""
    names = tuple([name for name, _ in exchange.headers])
    allowed = dialect.credentials if dialect else frozenset({b"authorization"})
    exchange.record.headers, findings = _judged(names, allowed, exchange.method)
    for kind, detail in findings:
        state.violation(kind, detail, exchange.record)
    own = exchange.header(b"connection")
    if own is not None and own.lower() not in {b"keep-alive", b"close"}:
        state.violation("hop_by_hop", f"connection: {own!r}", exchange.record)
    if state.settings.expects:
        _expected(exchange, state)


@lru_cache(maxsize=1024)
def _judged(
    names: tuple[bytes, ...], allowed: frozenset[bytes], method: str
) -> tuple[tuple[str, ...], tuple[tuple[str, str], ...]]:
    """The names as text, and what is wrong with them. One gateway sends few different lists of names."""
    found = set(names)
    wrong = [("duplicate_header", name) for name in found & _SINGLE if names.count(name) > 1]
    wrong += [("hop_by_hop", name) for name in found & HOP_BY_HOP]
    wrong += [("credential", name) for name in (found & CREDENTIALS) - allowed]
    wrong += [("private_header", name) for name in found if name.startswith(PRIVATE)]
    if b"host" not in found:
        wrong.append(("no_host", b""))
    if method == "POST" and b"content-length" not in found:
        wrong.append(("no_content_length", b""))
    return tuple([name.decode("latin-1") for name in names]), tuple(
        [(kind, name.decode("latin-1")) for kind, name in wrong]
    )


def _expected(exchange: Exchange, state: State) -> None:
    """What the test has said about this gateway's requests."""
    settings = state.settings
    if settings.expect_request_id and not exchange.header(b"x-request-id"):
        state.violation("no_request_id", "", exchange.record)
    if settings.expect_authorization is not None:
        shown = (exchange.header(b"authorization") or b"").decode("latin-1")
        if shown != settings.expect_authorization:
            state.violation("authorization", f"{shown!r} instead of {settings.expect_authorization!r}", exchange.record)
    for name, value in settings.expect_headers.items():
        shown = (exchange.header(name.lower().encode()) or b"").decode("latin-1")
        if shown != value:
            state.violation("header", f"{name}: {shown!r} instead of {value!r}", exchange.record)
    for secret in settings.forbid:
        raw = secret.encode()
        if raw in exchange.body or raw in exchange.path.encode() or any(raw in value for _, value in exchange.headers):
            state.violation("forbidden_string", secret[:4] + "…", exchange.record)


def asked(ask: Ask, exchange: Exchange, state: State) -> None:
    """Check what the body says. vLLM answers without a model; a gateway always names one."""
    if not ask.doc.get("model"):
        state.violation("no_model", "", exchange.record)
