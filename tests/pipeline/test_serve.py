"""The order of the stages, and that every request is settled and recorded once, wherever it is cut off."""

from __future__ import annotations

import gc
from typing import Any

import orjson
import pytest

from app.errors import Failure, UpstreamFailure
from app.exchange import Method
from app.pipeline.progress import Progress
from app.telemetry import ATTEMPTS, COST, TOKEN_USAGE
from tests.pipeline.parts import table
from tests.pipeline.script import DONE, STREAM, WHOLE, Outlet, Path, Reply, chunk

STREAMED = {"stream": True}


def lost(failure: Failure = Failure.TRUNCATED, *, sent: bool = True) -> UpstreamFailure:
    """A failure of the transport."""
    return UpstreamFailure(failure, "127.0.0.1:1 broke", sent=sent)


def results(path: Path) -> dict[tuple[str, str, str], float]:
    """Attempts by deployment, arm and result."""
    return {(labels[0], labels[1], labels[2]): slots[0] for labels, slots in path.telemetry.read(ATTEMPTS).items()}


async def test_a_strangers_body_is_never_read() -> None:
    """Nothing of the request but its credentials is looked at."""
    path = Path()
    _, error, line = await path.ask(b"{", credentials=(b"wrong",))
    assert error is not None
    assert (error.status, path.body_reads, line["outcome"]) == (401, 0, "refused_auth")


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        (b"[]", (400, "invalid_request", "refused_invalid")),
        ({}, (503, "overloaded", "overloaded")),
        ({"model": "nobody"}, (503, "overloaded", "overloaded")),
    ],
)
async def test_load_is_shed_between_reading_and_deciding(fields: Any, expected: tuple[int, str, str]) -> None:
    """Only a sound request asks for a place; without one nothing is looked up, and nothing is sent."""
    path = Path(held=5)
    _, error, line = await path.ask(fields)
    assert error is not None
    assert (error.status, error.code_name, line["outcome"]) == expected
    assert (path.sent, line["attempts"]) == ([], 0)


@pytest.mark.parametrize("fields", [{}, STREAMED])
async def test_a_good_request(fields: dict[str, Any]) -> None:
    """All of the answer, the provider's usage, one attempt."""
    path = Path(Reply(*(STREAM if fields else (WHOLE,))))
    got, error, line = await path.ask(fields)
    assert error is None
    assert sum(len(batch) for batch in got) == (4 if fields else 1)
    assert (line["outcome"], line["usage"], line["input_tokens"], line["output_tokens"]) == ("ok", "exact", 9, 3)
    assert results(path) == {("one", "stable", "ok"): 1}


@pytest.mark.parametrize("fields", [{}, STREAMED])
async def test_a_caller_who_leaves_at_any_await(fields: dict[str, Any]) -> None:
    """One record, one settlement, nothing open: while the body comes, the upstream works, the caller is written to."""
    pieces = STREAM if fields else (WHOLE[:9], WHOLE[9:])
    whole = Path(Reply(*pieces))
    await whole.ask(fields)
    assert whole.ticks >= (11 if fields else 6)
    for at in range(whole.ticks):
        path = Path(Reply(*pieces), cut_at=at)
        batches, _, line = await path.ask(fields)
        assert (line["outcome"], path.ticks) == ("client_closed", at + 1)
        check_charge(line, streamed=bool(fields), sent=bool(path.sent), got=len(batches))


def check_charge(line: dict[str, Any], *, streamed: bool, sent: bool, got: int) -> None:
    """Design invariant 4: counted and the allowance, or the bound where nothing was seen; nothing if nothing was sent.

    `got` is how many batches came out; a whole answer is settled exactly once it did.
    """
    if not sent:
        assert line.keys().isdisjoint({"usage", "cost_usd"})
    elif streamed:
        assert (line["usage"], line["output_tokens"]) == (Method.AT_LEAST, min(got, 3) + 16)
        assert (line["input_tokens"] == 9) is (got >= 4)
    else:
        assert (line["usage"], line["output_tokens"]) == ((Method.EXACT, 3) if got else (Method.BOUND, 1024))


@pytest.mark.parametrize("batches", [1, 2, 3, 4])
async def test_a_flow_that_is_closed_at_any_batch(batches: int) -> None:
    """The generator is closed while it waits to be asked for more: what was counted so far, and the allowance."""
    path = Path(Reply(*STREAM))
    got, _, line = await path.ask(STREAMED, batches=batches)
    assert len(got) == batches
    assert line["outcome"] == "client_closed"
    counted = min(batches, 3)
    expected = (Method.AT_LEAST, counted + 16)
    assert (line["usage"], line["output_tokens"]) == expected
    assert results(path) == {("one", "stable", "cut"): 1}


async def test_events_that_come_together_leave_together() -> None:
    """One piece, one batch; an end inside it is the end."""
    path = Path(Reply(b"".join(STREAM) + b"data: never\n\n"))
    got, error, line = await path.ask(STREAMED)
    assert (len(got), error, line["outcome"]) == (1, None, "ok")
    assert path.used[0].drained


WORDS = [b"a", b"b", b"c", b"d", b"e", b"f"]
LONG = (*(chunk(word.decode()) for word in WORDS), *STREAM[2:])


@pytest.mark.parametrize("full_at", [None, 0, 2])
async def test_what_needs_no_look_goes_to_the_outlet(full_at: int | None) -> None:
    """All but the first word, which is read for its shape, as far as it takes them; charged as ever."""
    path, outlet = Path(Reply(*LONG)), Outlet(full_at)
    got, error, line = await path.ask(STREAMED, outlet=outlet)
    passed = 5 if full_at is None else full_at
    assert outlet.pieces == list(LONG[1 : 1 + passed])
    assert [event.data for batch in got for event in batch] == [
        piece[6:-2] for piece in (LONG[0], *LONG[1 + passed : -1])
    ]
    assert (error, line["outcome"], line["usage"], line["output_tokens"]) == (None, "ok", "exact", 3)


async def test_what_went_to_the_outlet_is_counted() -> None:
    """A caller who leaves at any await is charged what he has been sent, and the allowance."""
    whole = Path(Reply(*LONG))
    await whole.ask(STREAMED, outlet=Outlet())
    counts = set()
    for at in range(whole.ticks):
        path, outlet = Path(Reply(*LONG), cut_at=at), Outlet()
        batches, _, line = await path.ask(STREAMED, outlet=outlet)
        assert line["outcome"] == "client_closed"
        if path.sent:
            seen = len(outlet.pieces) + sum(event.tokens for batch in batches for event in batch)
            counts.add(seen)
            assert (line["usage"], line["output_tokens"]) == (Method.AT_LEAST, seen + 16)
    assert counts == set(range(8))


@pytest.mark.parametrize(
    ("tail", "outcome", "result"),
    [
        (lost(), "upstream_error", "truncated"),
        (lost(Failure.BETWEEN_BYTES_TIMEOUT), "upstream_timeout", "between_bytes_timeout"),
        (lost(Failure.TOTAL_TIMEOUT), "upstream_timeout", "total_timeout"),
        (b'data: {"error": {"message": "127.0.0.1 died", "code": 500}}\n\n' + DONE, "upstream_error", "error_event"),
        (b"data: {broken\n\n", "upstream_error", "error_event"),
        (b"data: " + b"x" * 2_000_000, "upstream_error", "malformed"),
        (b"", "upstream_error", "malformed"),
    ],
)
async def test_a_stream_that_breaks(tail: bytes | UpstreamFailure, outcome: str, result: str) -> None:
    """Never again after the first event: the error, what was counted and the allowance, one attempt."""
    path = Path(Reply(chunk("a"), chunk("b"), tail))
    got, error, line = await path.ask(STREAMED)
    assert len(got) == 2
    assert error is not None
    assert "127.0.0.1" not in error.message
    assert (line["outcome"], line["usage"], line["output_tokens"]) == (outcome, "at_least", 2 + 16)
    assert results(path) == {("one", "stable", result): 1}


async def test_an_error_behind_events_of_the_same_piece() -> None:
    """What came before the error is handed out first."""
    path = Path(Reply(chunk("a") + b'data: {"error": {"message": "x"}}\n\n'))
    got, error, line = await path.ask(STREAMED)
    assert [len(batch) for batch in got] == [1]
    assert error is not None
    assert (line["outcome"], line["output_tokens"]) == ("upstream_error", 1 + 16)


@pytest.mark.parametrize("status", [400, 404, 500])
async def test_a_refusal_whose_body_breaks_off(status: int) -> None:
    """The status was said: it counts, nothing is charged, and the failure is no second one."""
    path = Path(Reply(b'{"error": {"mess', lost(), status=status, headers={}), Reply(WHOLE))
    _, error, line = await path.ask()
    if status == 500:
        assert (line["deployment"], line["usage"]) == ("two", "exact")
        assert results(path) == {("one", "stable", "500"): 1, ("two", "fallback", "ok"): 1}
        return
    assert error is not None
    assert (error.status, line["outcome"], line["usage"]) == (status, "upstream_rejected", "nothing_sent")
    assert results(path) == {("one", "stable", str(status)): 1}


@pytest.mark.parametrize(
    ("then", "status"),
    [
        ([Reply(b"{}", status=400, headers={})], 400),
        ([lost(Failure.CONNECT, sent=False)] * 3, 502),
        ([Reply(b'data: {"error": {"message": "busy", "code": 503}}\n\n')], 503),
    ],
)
async def test_an_attempt_that_may_have_been_billed_stays_billed(
    then: list[Reply | UpstreamFailure], status: int
) -> None:
    """It was sent and never answered; that the fallback refused, or could not be reached, does not take it back."""
    path = Path(lost(Failure.FIRST_BYTE_TIMEOUT), *then, patient=False)
    _, error, line = await path.ask(STREAMED)
    assert error is not None
    assert (error.status, line["usage"], line["output_tokens"]) == (status, "at_least", 16)
    assert line["cost_usd"] > 0


async def test_what_never_left_costs_nothing() -> None:
    """No connection to either: nothing charged, nothing among the tokens."""
    path = Path(*[lost(Failure.CONNECT, sent=False)] * 6)
    _, error, line = await path.ask()
    assert error is not None
    assert (error.status, line["usage"], line["cost_usd"]) == (502, "nothing_sent", 0)
    assert (path.telemetry.total(COST), path.telemetry.observed(TOKEN_USAGE)) == (0, (0, 0))


async def test_a_bug_in_a_stage_is_recorded_too() -> None:
    """What nobody foresaw is an internal error, settled at its bound like anything that may have been billed."""
    path = Path(Reply(WHOLE))
    path.script[0] = Reply(5, headers={})  # type: ignore[arg-type]  # that is the bug
    with pytest.raises(TypeError):
        await path.ask()
    line = path.settled()
    assert (line["outcome"], line["usage"]) == ("internal_error", "bound")


GUARDED = {
    "guards": [{"name": "g", "prompt": {"detectors": ["rules"]}, "completion": {"detectors": ["rules"]}}],
    "models[0].guard": "g",
}
LIMITED = {"tenants[0].budgets": [{"window": "day", "tokens": 100_000}], "tenants[0].limits": {"concurrent": 9}}


@pytest.mark.parametrize("changes", [{}, GUARDED, LIMITED])
@pytest.mark.parametrize("fields", [{}, {"stream": True}])
async def test_what_is_known_of_a_request_is_free_at_its_end(fields: dict[str, Any], changes: dict[str, Any]) -> None:
    """Nothing in it refers in a circle, so that no garbage collection has to find it."""
    path = Path(Reply(*(STREAM if fields else (WHOLE,))), changes=changes)

    def alive() -> int:
        return sum(type(one) is Progress for one in gc.get_objects())

    gc.collect()
    gc.disable()
    try:
        before = alive()
        *_, line = await path.ask(fields, outlet=Outlet())
        assert line["outcome"] == "ok"
        assert alive() == before
    finally:
        gc.enable()


async def test_a_reload_changes_no_request_under_way() -> None:
    """The table of the beginning is the table of the end: what it was priced at, it is charged."""
    path = Path(Reply(*STREAM))
    dearer = table({"deployments[0].price": {"input": 1000, "output": 1000}})

    def reload() -> None:
        path.state.table = dearer

    path.on_send = reload
    _, _, line = await path.ask(STREAMED)
    assert path.state.table is dearer
    assert line["cost_usd"] == pytest.approx((9 * 0.05 + 3 * 0.08) / 1e6, abs=1e-9)


async def test_what_a_model_drops_reaches_no_deployment() -> None:
    """Neither the first nor its rescue; what is not listed goes up as it came."""
    path = Path(lost(Failure.CONNECT, sent=False), Reply(WHOLE), changes={"models[0].drop_params": ["seed", "user"]})
    _, error, _ = await path.ask({"seed": 1, "user": "ann", "temperature": 0.5, "unknown": [1]})
    assert error is None
    for outbound in path.sent:
        sent = orjson.loads(outbound.body or b"")
        assert sent.keys() == {"model", "messages", "temperature", "unknown", "max_tokens"}


async def test_a_prompt_in_which_a_guard_replaced_something_is_bounded_anew() -> None:
    """Every byte of a placeholder may be a token, however long the text was that it stands for."""
    look = {"detectors": ["pii"], "actions": {"pii": "redact"}}
    changes = {"guards": [{"name": "default", "prompt": look}], "models[0].guard": "default"}
    path = Path(Reply(WHOLE), changes=changes)
    asked = {"messages": [{"role": "user", "content": "Write to a.very.long.address@example.com, please."}]}
    _, error, line = await path.ask(asked)
    assert error is None
    assert b"[EMAIL_1]" in (path.sent[0].body or b"")
    size = len(orjson.dumps({"model": "chat", **asked}))
    assert line["prompt_bound"] == size + len("[EMAIL_1]")
