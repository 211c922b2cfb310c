"""What is made of CPU times, by hand."""

from __future__ import annotations

import pytest

from loadtests.scaling import REDIS, ROWS, Sample, Spent, Used, capacity, ranged, scaling, table, verdict

NOTHING = Used(0.0, (0.0, 0.0), 0.0, 0.0, 0.0, 0.0, 0)


def sample(requests: int, cpu: float) -> Sample:
    """Two cores for two seconds, of which the gateway used half a core's worth, others some."""
    used = Used(gateway=2.0, workers=(1.2, 0.6), load=1.0, services=0.4, redis=0.1, machine=3.6, calls=requests // 4)
    return Sample(requests, 2.0, 2, used, cpu, 0.004)


def test_used_is_a_difference() -> None:
    """Of every figure, worker by worker."""
    then, now = Used(1.0, (0.5, 0.25), 2.0, 3.0, 4.0, 5.0, 6), Used(2.0, (1.5, 0.5), 4.0, 6.0, 8.0, 10.0, 12)
    assert now.minus(then) == Used(1.0, (1.0, 0.25), 2.0, 3.0, 4.0, 5.0, 6)
    assert now.minus(now) == NOTHING


def test_a_sample_in_people_s_units() -> None:
    """Shares are of all cores; what nobody of the run used is the strangers'."""
    one = sample(1000, 0.1)
    assert (one.per_second, one.request_us, one.calls) == pytest.approx((500, 100, 0.25))
    assert (one.redis_us, one.busy, one.strangers) == pytest.approx((100, 0.9, 0.05))
    assert one.share(one.used.gateway) == pytest.approx(0.5)
    assert one.spread() == pytest.approx([2 / 3, 1 / 3])


def test_scaling_is_the_ratio_of_capacities() -> None:
    """However many requests a second there were: what others took of the machine does not enter."""
    one, many = sample(1000, 0.1), sample(1100, 0.132)
    assert capacity(1, one) == pytest.approx(10_000)
    assert scaling(2, one, many) == pytest.approx(2 * 100 / 120)
    assert scaling(4, one, one) == pytest.approx(4)


def test_tables_and_verdicts_give_medians_and_ranges() -> None:
    """A column for each subject, a row for each figure."""
    several = [sample(1000, 0.1), sample(1000, 0.2), sample(1000, 0.3)]
    text = table({"one": several, "two": several[:1]}, (*ROWS, *REDIS))
    assert "| CPU per request, µs | 200.0 [100.0–300.0] | 100.0 [100.0–100.0] |" in text.splitlines()
    assert len(text.splitlines()) == 2 + len(ROWS) + len(REDIS)
    assert ranged([3.0, 1.0, 2.0], 0) == "2 [1–3]"
    said = verdict("bare", 2, several, several)
    assert "2 workers carry 2.00 [2.00–2.00] times" in said
    assert "(10000 requests/s on 2 cores of their own)" in said
    assert said.endswith("1.00 [1.00–1.00] times")


def test_a_budget_holds_to_the_last_request() -> None:
    """Each way in which it would not is told."""
    good = Spent(limit=1000, asked=100, used=950, answered=950, first=900, refusals=3, unfounded=0)
    assert not good.faults()
    assert "950 of 1000 tokens charged (95.00%)" in good.text()
    assert "first refused at 90.0%" in good.text()
    assert "budget of 1000" in Spent(1000, 100, 1001, 1001, 900, 3, 0).faults()[0]
    assert "the answers used 940" in Spent(1000, 100, 950, 940, 900, 3, 0).faults()[0]
    assert "while 100 tokens are left" in Spent(1000, 100, 900, 900, 900, 3, 0).faults()[0]
    assert "2 refusals" in Spent(1000, 100, 950, 950, 900, 3, 2).faults()[0]
