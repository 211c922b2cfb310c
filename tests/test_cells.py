"""Metric cells: right values, exact for readers in other processes, and counted on after a kill -9."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.cells import AT_A_TIME, CAPACITY, SPARE, Cells, Counter, Files, Gauge, Histogram, Series, Tally
from tests.support.upstream import ROOT

WRITER = """
import sys
from pathlib import Path
from app.cells import Cells, Counter, Histogram
cells = Cells(Path(sys.argv[1]), "w")
count = Counter(cells, cells.allocate("count", ("a",), 1))
times = Histogram(cells, cells.allocate("times", (), 4), (1.0, 2.0))
for number in range(int(sys.argv[2])):
    count.inc()
    times.observe(number % 4)
print("done", flush=True)
sys.stdin.read()
"""


def values(cells: Cells) -> dict[tuple[str, tuple[str, ...]], tuple[float, ...]]:
    """What a reader sees, by metric and labels."""
    return {(series.metric, series.labels): found for series, found in cells.read()}


def test_a_counter_a_gauge_and_a_histogram() -> None:
    """Each in slots of its own."""
    cells = Cells()
    counter, gauge = Counter(cells, cells.allocate("c", ("x",), 1)), Gauge(cells, cells.allocate("g", (), 1))
    histogram = Histogram(cells, cells.allocate("h", (), 4), (1.0, 5.0))
    counter.inc()
    counter.inc(2.5)
    gauge.set(7)
    gauge.inc(-3)
    for value in (0, 1, 1.1, 5, 6, 1e9):
        histogram.observe(value)
    assert values(cells) == {("c", ("x",)): (3.5,), ("g", ()): (4.0,), ("h", ()): (2, 2, 2, 13.1 + 1e9)}


@given(st.lists(st.sampled_from((0.0, 0.1, 0.15, 0.2, 0.9, 1.0, 7.5)), max_size=80))
def test_a_tally_tells_what_was_observed(seen: list[float]) -> None:
    """All of it in the end; meanwhile all but a few."""
    plain, told = Cells(), Cells()
    bounds = (0.1, 0.2, 1.0)
    histogram, counted = Histogram(plain, 0, bounds), Histogram(told, 0, bounds)
    tally = Tally(counted)
    for number, value in enumerate(seen, 1):
        histogram.observe(value)
        tally.observe(value)
        assert number - AT_A_TIME <= sum(told.values[:4]) <= number
    tally.flush()
    tally.flush()
    assert told.values[:4].tolist() == plain.values[:4].tolist()
    assert told.values[4] == pytest.approx(plain.values[4])


def test_the_same_series_has_the_same_slots() -> None:
    """Two children of one series add up; other labels are another series."""
    cells = Cells()
    assert cells.allocate("c", ("x",), 1) == cells.allocate("c", ("x",), 1)
    assert len({cells.allocate("c", labels, 1) for labels in (("x",), ("y",), (), ("x", "y"))}) == 4


def test_a_full_array_refuses_and_damages_nobody() -> None:
    """What finds no room is counted, and shares slots that are nobody's."""
    cells = Cells()
    last = cells.allocate("big", (), CAPACITY - SPARE - 2)
    fits = cells.allocate("fits", (), 2)
    assert (last, fits, cells.refused) == (0, CAPACITY - SPARE - 2, 0)
    Counter(cells, fits).inc()
    bounds = tuple(float(bound) for bound in range(SPARE - 2))
    refused = Histogram(cells, cells.allocate("refused", (), SPARE), bounds)
    for value in (-1, 1000):
        refused.observe(value)
    Counter(cells, cells.allocate("refused", ("too",), 1)).inc()
    assert cells.refused == 2
    assert cells.read()[-1] == (Series("fits", (), fits, 2), (1.0, 0.0))
    assert {series.metric for series, _ in cells.read()} == {"big", "fits"}


def test_readers_see_exactly_what_a_killed_writer_wrote(tmp_path: Path) -> None:
    """Nothing is lost with the process, and the one that takes its place counts on."""
    for round_number in (1, 2):
        command = [sys.executable, "-c", WRITER, str(tmp_path), "10000"]
        with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as writer:
            assert writer.stdout
            assert writer.stdout.readline() == b"done\n"
            writer.send_signal(signal.SIGKILL)
        found = {series.metric: held for series, held in list(Files(tmp_path).read())}
        times = tuple(part * round_number for part in (5000, 2500, 2500, 15_000))
        assert found == {"count": (10_000 * round_number,), "times": times}


def test_a_reader_beside_a_writer(tmp_path: Path) -> None:
    """Counts only grow, and a histogram's sum fits to its buckets but for the one that is under way."""
    command = [sys.executable, "-c", WRITER, str(tmp_path), "300000"]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as writer:
        before, seen = 0.0, 0
        while before < 300_000:
            found = {series.metric: held for series, held in list(Files(tmp_path).read())}
            if "times" not in found:
                continue
            (count,), times = found["count"], found["times"]
            assert before <= count <= 300_000
            assert abs(sum(times[:3]) - times[3] / 1.5) < 8
            before, seen = count, seen + 1
        writer.kill()
    assert seen > 3


def test_several_processes_files_are_read_together(tmp_path: Path) -> None:
    """Each under its own name."""
    for name in ("worker-0", "worker-1"):
        cells = Cells(tmp_path, name)
        Counter(cells, cells.allocate("c", (name,), 1)).inc(2)
    assert [(series.labels, held) for series, held in list(Files(tmp_path).read())] == [
        (("worker-0",), (2.0,)),
        (("worker-1",), (2.0,)),
    ]


def test_an_empty_folder_and_a_worker_without_series(tmp_path: Path) -> None:
    """Nothing to read is nothing wrong."""
    assert list(Files(tmp_path).read()) == []
    Cells(tmp_path, "worker-0")
    assert list(Files(tmp_path).read()) == []


@pytest.mark.parametrize("torn", [b"[", b'["c",["half"],1', b'["c",["half"],1,1]'])
def test_a_line_that_was_not_finished_is_nobodys(tmp_path: Path, torn: bytes) -> None:
    """The writer was killed inside it; who takes its place writes a line of its own."""
    first = Cells(tmp_path)
    Counter(first, first.allocate("c", ("whole",), 1)).inc()
    with (tmp_path / "worker.series").open("ab") as file:
        file.write(torn)
    assert len(list(Files(tmp_path).read())) == 1
    successor = Cells(tmp_path)
    Counter(successor, successor.allocate("c", ("new",), 1)).inc(5)
    assert [(series.labels, held) for series, held in list(Files(tmp_path).read())] == [
        (("whole",), (1.0,)),
        (("new",), (5.0,)),
    ]


def test_the_catalogue_holds_any_label(tmp_path: Path) -> None:
    """Line breaks, quotes, other scripts."""
    labels = ("a\nb", '"', "\\", "ü漢🙂", "")
    cells = Cells(tmp_path)
    cells.allocate("c", labels, 1)
    assert [series for series, _ in list(Files(tmp_path).read())] == [Series("c", labels, 0, 1)]
    assert orjson.loads((tmp_path / "worker.series").read_bytes()) == ["c", list(labels), 0, 1]


FULL = """
import os, resource, sys
from pathlib import Path
from app.cells import Cells, Counter, Files
folder = Path(sys.argv[1])
cells = Cells(folder, "w")
Counter(cells, cells.allocate("early", (), 1)).inc(3)
size = (folder / "w.series").stat().st_size
resource.setrlimit(resource.RLIMIT_FSIZE, (size + 5, resource.RLIM_INFINITY))
late = Counter(cells, cells.allocate("late", ("a",), 1))
late.inc(7)
cells.allocate("later", ("b",), 2)
seen = lambda: {series.metric: values for series, values in Files(folder).read()}
assert seen() == {"early": (3.0,)}, seen()
if sys.argv[2] == "dies":
    os._exit(0)
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
cells.flush()
assert seen() == {"early": (3.0,), "late": (7.0,), "later": (0.0, 0.0)}, seen()
assert cells.refused == 0
"""


def written_on_a_full_disk(folder: Path, how: str) -> None:
    """A process whose catalogue finds no room in the middle of a line (EFBIG by the kernel, as ENOSPC would be)."""
    command = [sys.executable, "-c", FULL, str(folder), how]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_full_disk_loses_nothing(tmp_path: Path) -> None:
    """Names wait until there is room; what was counted meanwhile is seen then."""
    written_on_a_full_disk(tmp_path, "lives")


def test_a_successor_does_not_inherit_what_has_no_name(tmp_path: Path) -> None:
    """It died before its names could be written: its successor's series begin at nothing."""
    written_on_a_full_disk(tmp_path, "dies")
    cells = Cells(tmp_path, "w")
    assert values(cells) == {("early", ()): (3,)}
    cells.allocate("another", (), 3)
    assert values(cells) == {("early", ()): (3,), ("another", ()): (0, 0, 0)}


def test_no_room_at_the_start_is_told(tmp_path: Path) -> None:
    """With the file's name and what to do, before a page without room could kill the process."""
    code = (
        "import resource, sys\nfrom pathlib import Path\nfrom app.cells import Cells\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, resource.RLIM_INFINITY))\n"
        "Cells(Path(sys.argv[1]), 'w')\n"
    )
    command = [sys.executable, "-c", code, str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "w.cells needs 2 MiB (File too large); make some, or set TMPDIR" in done.stderr
