"""What is written by hand is what OpenTelemetry's own protobuf code reads and writes."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

from app.otlp import CLIENT, SERVER, Span, encode, rejected, request, resource
from app.semconv import SCHEMA_URL, Value
from tests.support.otlp_server import read

IDS = st.integers(1, 2**64 - 1).map(lambda number: f"{number:016x}")
TEXT = st.text(max_size=300)
VALUES: st.SearchStrategy[Value] = st.one_of(
    TEXT,
    st.booleans(),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(allow_nan=False),
    st.lists(TEXT, max_size=3).map(tuple),
)
SPANS = st.builds(
    Span,
    trace_id=st.tuples(IDS, IDS).map("".join),
    span_id=IDS,
    parent_id=st.just("") | IDS,
    state=TEXT,
    name=TEXT,
    kind=st.sampled_from([SERVER, CLIENT]),
    began=st.integers(0, 2**64 - 1),
    ended=st.integers(0, 2**64 - 1),
    attributes=st.dictionaries(TEXT, VALUES, max_size=5).map(lambda found: list(found.items())),
    error=st.none() | TEXT,
)


@given(st.lists(SPANS, max_size=4))
def test_any_span_comes_through(spans: list[Span]) -> None:
    """Every field and every kind of value, as the receiver reads them."""
    found = read(request(resource([("service.name", "sluicegate")]), map(encode, spans)))
    for span, one in zip(spans, found, strict=True):
        given_ = {name: list(value) if isinstance(value, tuple) else value for name, value in span.attributes}
        assert one["attributes"] == given_
        assert (one["trace"], one["id"], one["parent"]) == (span.trace_id, span.span_id, span.parent_id)
        assert (one["name"], one["kind"], one["state"]) == (span.name, span.kind, span.state)
        assert (one["began"], one["ended"]) == (span.began, span.ended)
        assert (one["status"], one["message"]) == ((0, "") if span.error is None else (2, span.error))
        assert (one["resource"], one["scope"]) == ({"service.name": "sluicegate"}, "sluicegate")
        assert one["schema"] == SCHEMA_URL


@given(SPANS)
def test_nothing_is_sent_that_the_protocol_does_not_know(span: Span) -> None:
    """Reading it leaves no unknown field, at any depth."""
    sent = request(resource([("service.name", "sluicegate")]), [encode(span)])
    whole, known = ExportTraceServiceRequest.FromString(sent), ExportTraceServiceRequest.FromString(sent)
    known.DiscardUnknownFields()
    assert known.SerializeToString(deterministic=True) == whole.SerializeToString(deterministic=True)


def test_what_a_collector_refused_is_read() -> None:
    """From its answer; what is empty or no answer at all refuses nothing."""
    answer = ExportTraceServiceResponse()
    assert rejected(answer.SerializeToString()) == 0
    answer.partial_success.error_message = "too many"
    assert rejected(answer.SerializeToString()) == 0
    answer.partial_success.rejected_spans = 300
    assert rejected(answer.SerializeToString()) == 300
    for junk in (b"\xff" * 9, b"{}", b"\x0a", b"\x0a\x7f"):
        assert rejected(junk) == 0


def test_text_that_is_no_text_is_no_error() -> None:
    """Half a surrogate pair from somebody's JSON becomes a question mark."""
    span = Span("0" * 31 + "1", "0" * 15 + "1", "", "", "x", SERVER, 1, 2, [("k", "\ud800")])
    assert read(request(b"", [encode(span)]))[0]["attributes"] == {"k": "?"}
