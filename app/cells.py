"""Where metric values live: one array of doubles per process, in memory or in a file that outlives a kill -9.

prometheus_client takes 1.3-2.8 µs for `labels().observe()` and cannot tell several workers apart without files
that are rewritten per value. Here a value is a slot in an array of doubles: 0.1 µs for a counter, 0.3 µs for a
histogram, no lock (one event loop writes), and, when the array is a shared mapping, exact for every reader even
after the writer was killed. The catalogue that names the slots is appended once per new series.

A `Tally` gathers a stream's gaps in its own fields: up to 32 of them are lost with a process that is killed.

Concurrent readers see each aligned double whole; a histogram's sum and its buckets may differ by the one
observation in flight.
"""

from __future__ import annotations

import mmap
import os
from bisect import bisect_left
from collections.abc import Iterable, Iterator
from contextlib import suppress
from math import inf
from pathlib import Path
from typing import NamedTuple

import orjson

CAPACITY = 262_144  # doubles: 2 MiB
SPARE = 64
AT_A_TIME = 32
"""Observations that a `Tally` keeps to itself at most."""
WORKER = "worker-{}"
"""What the files of a worker are called, by its number."""


class Series(NamedTuple):
    """One labelled series of the catalogue: its metric, its label values, its first slot and how many slots it has."""

    metric: str
    labels: tuple[str, ...]
    start: int
    size: int


class Cells:
    """An array of doubles with a catalogue. `directory` makes it a pair of files, `NAME.cells` and `NAME.series`.

    A process that takes the place of one that died opens the same files and counts on where it stopped.
    """

    def __init__(self, directory: Path | None = None, name: str = "worker") -> None:
        self.catalogue: list[Series] = []
        self.refused = 0
        self._starts: dict[tuple[str, tuple[str, ...]], int] = {}
        self._names: int | None = None
        self._unwritten = bytearray()
        if directory is None:
            self.values = memoryview(bytearray(CAPACITY * 8)).cast("d")
            return
        self.values = _mapped(directory / f"{name}.cells")
        names = directory / f"{name}.series"
        for series in _read_catalogue(names):
            self._enter(series)
        self._names = os.open(names, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        os.ftruncate(self._names, names.read_bytes().rfind(b"\n") + 1)  # a line that was not finished is not continued
        if self.catalogue:
            end = self._end()  # behind it: values whose names the process before this one could not write any more
            self.values[end:] = memoryview(bytes((CAPACITY - end) * 8)).cast("d")

    def allocate(self, metric: str, labels: tuple[str, ...], size: int) -> int:
        """The first of the series' `size` slots; when the array is full it is `refused` and shares the last slots."""
        known = self._starts.get((metric, labels))
        if known is not None:
            return known
        start = self._end()
        if start + size > CAPACITY - SPARE:
            self.refused += 1
            return CAPACITY - SPARE
        series = Series(metric, labels, start, size)
        self._enter(series)
        if self._names is not None:
            self._unwritten += orjson.dumps(tuple(series)) + b"\n"
            self.flush()
        return start

    def flush(self) -> None:
        """Write the names of series that the disk had no room for; until then their values count unseen."""
        if self._names is not None and self._unwritten:
            with suppress(OSError):
                del self._unwritten[: os.write(self._names, self._unwritten)]

    def _end(self) -> int:
        return self.catalogue[-1].start + self.catalogue[-1].size if self.catalogue else 0

    def _enter(self, series: Series) -> None:
        self.catalogue.append(series)
        self._starts[series.metric, series.labels] = series.start

    def read(self) -> list[tuple[Series, tuple[float, ...]]]:
        """Every series with its values."""
        return [(series, tuple(self.values[series.start : series.start + series.size])) for series in self.catalogue]


class Counter:
    """A value that only grows."""

    __slots__ = ("_start", "_values")

    def __init__(self, cells: Cells, start: int) -> None:
        self._values = cells.values
        self._start = start

    def inc(self, amount: float = 1.0) -> None:
        """Add `amount`."""
        self._values[self._start] += amount


class Gauge(Counter):
    """A value that goes up and down; workers' values add up."""

    __slots__ = ()

    def set(self, value: float) -> None:
        """Replace the value."""
        self._values[self._start] = value


class Histogram:
    """Counts per bucket (not cumulative; the last is +Inf), then the sum."""

    __slots__ = ("_bounds", "_start", "_sum", "_values")

    def __init__(self, cells: Cells, start: int, bounds: tuple[float, ...]) -> None:
        self._values = cells.values
        self._start = start
        self._bounds = bounds
        self._sum = start + len(bounds) + 1

    def observe(self, value: float) -> None:
        """Count `value` in its bucket (upper bounds are inclusive)."""
        values = self._values
        place = self._start
        for bound in self._bounds:  # most values are small, and what is compared so is no object: bisect takes longer
            if value <= bound:
                break
            place += 1
        values[place] += 1.0
        values[self._sum] += value

    def bucket(self, value: float) -> tuple[float, float]:
        """The bounds of the bucket of `value`: above the first, up to the second."""
        place = bisect_left(self._bounds, value)
        return self._bounds[place - 1] if place else -inf, self._bounds[place] if place < len(self._bounds) else inf

    def observe_many(self, high: float, count: int, total: float) -> None:
        """Count so many values of the bucket up to `high`, which come to `total`."""
        values = self._values
        values[self._start + bisect_left(self._bounds, high)] += count
        values[self._sum] += total


class Tally:
    """Observations that mostly fall into the same bucket as the one before: those are told many at a time.

    The histogram learns of them when one falls elsewhere, after `AT_A_TIME`, and with `flush`.
    """

    __slots__ = ("_count", "_high", "_histogram", "_low", "_sum")

    def __init__(self, histogram: Histogram) -> None:
        self._histogram = histogram
        self._low = self._high = 0.0
        self._count = 0
        self._sum = 0.0

    def observe(self, value: float) -> None:
        """Count `value`."""
        if not self._low < value <= self._high or self._count == AT_A_TIME:
            self.flush()
            self._low, self._high = self._histogram.bucket(value)
        self._count += 1
        self._sum += value

    def flush(self) -> None:
        """Tell the histogram of all that it has not been told."""
        if self._count:
            self._histogram.observe_many(self._high, self._count, self._sum)
            self._count = 0
            self._sum = 0.0


class Files:
    """Reads the cells of every process that keeps them in `directory`; of catalogues only what is new is read again."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._known: dict[Path, tuple[int, list[Series]]] = {}

    def read(self) -> Iterator[tuple[Series, tuple[float, ...]]]:
        """Every series of every process, one by one."""
        for path in sorted(self._directory.glob("*.series")):
            offset, catalogue = self._known.get(path, (0, []))
            with path.open("rb") as names:
                names.seek(offset)
                fresh = names.read()
            fresh = fresh[: fresh.rfind(b"\n") + 1]
            catalogue += _series(fresh)
            self._known[path] = offset + len(fresh), catalogue
            used = (catalogue[-1].start + catalogue[-1].size) * 8 if catalogue else 0
            with path.with_suffix(".cells").open("rb") as file:
                values = memoryview(file.read(used)).cast("d")
            for series in tuple(catalogue):
                yield series, tuple(values[series.start : series.start + series.size])


def reserve(directory: Path, names: Iterable[str]) -> None:
    """Take the room on the disk that processes of these names will need. Raises OSError as `Cells` does."""
    for name in names:
        _mapped(directory / f"{name}.cells").release()


def _mapped(path: Path) -> memoryview[float]:
    """The array in a file. Its room on the disk is taken at once: a page that finds none later kills the process.

    Raises OSError, its text naming the file, where there is no room.
    """
    size = CAPACITY * 8
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        os.posix_fallocate(descriptor, 0, size)
        return memoryview(mmap.mmap(descriptor, size)).cast("d")
    except OSError as error:
        text = f"no room for metrics: {path} needs {size >> 20} MiB ({error.strerror}); make some, or set TMPDIR"
        raise OSError(error.errno, text) from error
    finally:
        os.close(descriptor)


def _read_catalogue(path: Path) -> list[Series]:
    """The series named in a file, up to a line that its writer did not finish."""
    return _series(path.read_bytes().rpartition(b"\n")[0]) if path.exists() else []


def _series(lines: bytes) -> list[Series]:
    found = map(orjson.loads, lines.splitlines())
    return [Series(metric, tuple(labels), start, size) for metric, labels, start, size in found]
