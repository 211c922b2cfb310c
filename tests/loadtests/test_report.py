"""The benchmark's table says what was measured."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from loadtests.frontier import Frontier
from loadtests.report import table
from loadtests.round import Alone, Costs, Figures, Plan


def figures(cpu: float) -> dict[str, float]:
    """A round in which everything that grows with CPU has grown."""
    return asdict(
        Figures(
            halting=Costs(cpu, cpu / 3), polling=None, per_second=1e6 / max(cpu, 1), busy=0.99, foreign=0.01,
            loaded_p50_ms=1, loaded_p99_ms=2, alone=Alone(0.1 + cpu / 1000, 1, 2, 3, 0.1, 0.2, 0.2, 0.3), awake=None,
            cpu_chunk_only_us=cpu / 4, cpu_stream_us=cpu * 3, stream_ms=130, memory=50 << 20, generator_us=12,
            frontier=Frontier(0, 4e5 / max(cpu, 1), 8e5 / max(cpu, 1), []),
        )
    )  # fmt: skip


def result(**rounds: list[float]) -> dict[str, Any]:
    """What the benchmark hands over; `rounds` are CPU figures by gateway, `_` for `-`."""
    found = {name.replace("_", "-"): [figures(one) for one in many] for name, many in rounds.items()}
    return {
        "date": "2026-01-01 00:00 UTC",
        "machine": {
            "cores": 2,
            "cpu": "Some CPU",
            "kernel": "6",
            "python": "3.11",
            "compiled": "yes",
            "stolen_seconds": 0.4,
        },
        "plan": asdict(Plan()),
        "versions": dict.fromkeys(found, "1.2.3"),
        "notes": dict.fromkeys(found, "as it comes"),
        "absent": {"litellm": "not installed: scripts/peers/setup.sh litellm"},
        "idle_memory": {name: 0 if name == "direct" else 40 << 20 for name in found},
        "recovered_memory": {name: 0 if name == "direct" else 45 << 20 for name in found},
        "rounds": found,
    }


def row(text: str, label: str) -> str:
    """The line that begins with a label."""
    return next(line for line in text.splitlines() if line.startswith(f"| {label}"))


def test_the_ratio_is_that_of_rounds() -> None:
    """Twice the router's CPU in every round is twice, though the rounds differ by tenfold."""
    text = table(result(direct=[0, 0, 0], vllm_router=[30, 40, 300], sluicegate=[60, 80, 600]))
    ratios = text[text.index("times vllm-router") :]
    assert "2.00 [2.00–2.00]" in row(ratios, "CPU per small request")
    assert "2.00 [2.00–2.00]" in row(ratios, "CPU per streamed chunk")
    assert "Python 3.11, hot modules compiled: yes, " in text


def test_cells_are_medians_with_quartiles_and_what_is_added() -> None:
    """Direct has no CPU of a gateway."""
    text = table(result(direct=[0, 0, 0], sluicegate=[40, 60, 80]))
    assert "60.0 [50.0–70.0]" in row(text, "CPU per small request")
    assert "0.160 [0.150–0.170] +0.060" in row(text, "latency alone p50")
    assert row(text, "CPU per small request").split("|")[2].strip() == "-"


def test_who_is_absent_says_why() -> None:
    """Also where the base of the ratios is."""
    text = table(result(direct=[0], sluicegate=[50]))
    assert "- litellm is absent: not installed: scripts/peers/setup.sh litellm" in text
    assert "No ratios: vllm-router did not take part." in text


def test_what_a_feature_adds_is_told_beside_its_budget() -> None:
    """The difference within rounds, to the variant that it is set beside."""
    text = table(result(sluicegate_bare=[40, 60, 80], sluicegate=[50, 70, 90], sluicegate_guard=[70, 90, 110]))
    assert "ledger 6" in row(text, "sluicegate  ")
    assert "10.0 [10.0–10.0]" in row(text, "sluicegate  ")
    assert "30.0 [30.0–30.0]" in row(text, "sluicegate-guard")


def test_latencies_that_could_not_be_taken_are_no_figures() -> None:
    """Where the system does not let cores be kept awake."""
    text = table(result(direct=[0], sluicegate=[50]))
    assert row(text, "latency awake p50").split("|")[3].strip() == "-"
    assert "0.150" in row(text, "latency alone p50")


def test_memory_is_told_before_during_and_after() -> None:
    """What is measured once has no quartiles; direct holds none of a gateway's."""
    text = table(result(direct=[0, 0], sluicegate=[40, 60]))
    cells = [
        [cell.strip() for cell in row(text, f"memory {when}").split("|")[2:4]]
        for when in ("before", "after", "recovered")
    ]
    assert cells == [["-", "40"], ["-", "50 [50–50]"], ["-", "45"]]


def test_a_bound_that_no_rate_keeps_to_has_no_figure() -> None:
    """The others are rates, also the upstream's own."""
    text = table(result(direct=[0, 0, 0], sluicegate=[40, 50, 80]))
    assert row(text, "requests/s with p99 ≤ 5 ms").split("|")[3].strip() == "–"
    assert "8000 [6500–9000]" in row(text, "requests/s with p99 ≤ 10 ms")
    assert row(text, "requests/s with p99 ≤ 50 ms").split("|")[2].strip() == "800000 [800000–800000]"
