"""From spools into a ledger: living and dead workers, outages, restarts, damage; every request once."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from random import Random

import pytest

from app.entry import Entry
from app.stores import delivery as delivering
from app.stores import spool as spooling
from app.stores.delivery import Delivery, SinkUnavailable
from app.stores.spool import Spool
from tests.support.entries import ENTRY, encoded


class Ledger:
    """A ledger in memory that takes a request once, and is out now and then."""

    def __init__(self) -> None:
        self.entries: dict[str, Entry] = {}
        self.insertions = 0
        self.out = False

    async def insert(self, entries: Sequence[Entry]) -> None:
        """As Sink's."""
        if self.out:
            raise SinkUnavailable("out")
        self.insertions += 1
        for one in entries:
            self.entries.setdefault(one.request_id, one)


BOUND = 1800
"""Nano-USD of a request at its bound; of one that ended, 900."""


def opened(name: str) -> tuple[str, bytes, bytes]:
    """A request that is about to be sent, at its bound."""
    return name, *encoded(ENTRY._replace(method="bound", input_tokens=20, output_tokens=10, cached_input_tokens=0))


def closed(name: str) -> tuple[str, bytes, bytes]:
    """The same when it has ended."""
    return name, *encoded(ENTRY._replace(input_tokens=2, output_tokens=10, cached_input_tokens=0))


def serve(spool: Spool, *names: str) -> None:
    """Requests from beginning to end."""
    for name in names:
        spool.open(*opened(name))
        spool.close(*closed(name))


async def test_closed_requests_are_delivered_and_open_ones_are_known(tmp_path: Path) -> None:
    """While their worker lives, the open ones wait."""
    spool, ledger = Spool(tmp_path, "w"), Ledger()
    delivery = Delivery(tmp_path, ledger)
    serve(spool, "a", "b")
    spool.open(*opened("c"))
    await delivery.turn()
    assert {name: one.charged_nano for name, one in ledger.entries.items()} == {"a": 900, "b": 900}
    assert [one.request_id for one in delivery.unsettled()] == ["c"]
    spool.close(*closed("c"))
    await delivery.turn()
    assert ledger.entries["c"].charged_nano == 900
    assert delivery.unsettled() == []
    spool.end()


async def test_what_a_dead_worker_left_open_is_delivered_at_its_bound(tmp_path: Path) -> None:
    """And its files are removed, all of them."""
    spool, ledger = Spool(tmp_path, "w"), Ledger()
    serve(spool, "a")
    spool.open(*opened("b"))
    spool.end()
    await Delivery(tmp_path, ledger).turn()
    assert {name: one.charged_nano for name, one in ledger.entries.items()} == {"a": 900, "b": BOUND}
    assert list(tmp_path.iterdir()) == []


async def test_segments_of_the_living_are_removed_when_their_requests_are_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not the one that is written, nor one in which a request began that is still open."""
    monkeypatch.setattr(spooling, "SEGMENT_BYTES", 500)
    spool, ledger = Spool(tmp_path, "w"), Ledger()
    delivery = Delivery(tmp_path, ledger)
    spool.open(*opened("long"))
    served = 0
    while len(paths := sorted(tmp_path.glob("*.log"))) < 4:
        serve(spool, f"r{served}")
        served += 1
        await asyncio.sleep(0.002)
    await delivery.turn()
    assert sorted(tmp_path.glob("*.log")) == paths
    spool.close(*closed("long"))
    async with asyncio.timeout(20):
        while len(ledger.entries) <= served:
            await asyncio.sleep(0.01)  # what was closed is written by a thread, a moment later
            await delivery.turn()
    left = sorted(tmp_path.glob("*.log"))
    assert left == paths[-len(left) :]
    assert len(left) <= 2  # the one that is written, and the one before it where nothing is in that yet
    assert len(ledger.entries) == served + 1
    spool.end()


async def test_an_outage_loses_nothing(tmp_path: Path) -> None:
    """Rows wait in the spool, and are not all in memory at once when they are read again."""
    spool, ledger = Spool(tmp_path, "w"), Ledger()
    delivery = Delivery(tmp_path, ledger)
    ledger.out = True
    serve(spool, *[f"r{number}" for number in range(1200)])
    for _ in range(3):
        with pytest.raises(SinkUnavailable):
            await delivery.turn()
    ledger.out = False
    await delivery.turn()
    assert len(ledger.entries) == 1200
    assert ledger.insertions == 3
    assert delivery.waiting == 0
    spool.end()


async def test_insertions_are_as_large_as_they_may_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However little one reading of a file brings."""
    monkeypatch.setattr(delivering, "_READ_BYTES", 2000)
    spool, ledger = Spool(tmp_path, "w"), Ledger()
    serve(spool, *[f"r{number}" for number in range(1200)])
    spool.end()
    await Delivery(tmp_path, ledger).turn()
    assert (len(ledger.entries), ledger.insertions) == (1200, 3)


async def test_a_turn_ends_while_requests_go_on(tmp_path: Path) -> None:
    """What has come meanwhile is for the next one; segments are removed between turns."""
    spool = Spool(tmp_path, "w")

    class Busy(Ledger):
        async def insert(self, entries: Sequence[Entry]) -> None:
            await super().insert(entries)
            serve(spool, f"during{self.insertions}")
            await asyncio.sleep(0.02)  # a thread writes it, a moment later

    ledger = Busy()
    serve(spool, "a")
    async with asyncio.timeout(5):
        await Delivery(tmp_path, ledger).turn()
    assert (set(ledger.entries), ledger.insertions) == ({"a"}, 1)
    spool.end()


async def test_a_cancelled_turn_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its thread goes on reading, and nobody else reads the same until it has ended."""
    spool, ledger = Spool(tmp_path, "w"), Ledger()
    delivery = Delivery(tmp_path, ledger)
    serve(spool, "a")
    begun, go = threading.Event(), threading.Event()
    unpack = spooling.unpack

    def slow(data: bytes) -> tuple[list[spooling.Record], int]:
        if not begun.is_set():
            begun.set()
            assert go.wait(10)
        return unpack(data)

    monkeypatch.setattr(delivering, "unpack", slow)
    cancelled = asyncio.create_task(delivery.turn())
    assert await asyncio.to_thread(begun.wait, 10)
    cancelled.cancel()
    await asyncio.gather(cancelled, return_exceptions=True)
    following = asyncio.create_task(delivery.turn())
    await asyncio.sleep(0.1)
    go.set()
    await following
    serve(spool, "b")
    spool.end()
    await delivery.turn()
    assert set(ledger.entries) == {"a", "b"}
    assert delivery.damaged == 0


async def test_only_one_process_of_a_host_delivers(tmp_path: Path) -> None:
    """The next one is let in when it is gone."""
    one, other = Delivery(tmp_path, Ledger()), Delivery(tmp_path, Ledger())
    assert one.claim()
    assert not other.claim()
    one.release()
    assert other.claim()
    other.release()


async def test_damage_costs_what_it_touches(tmp_path: Path) -> None:
    """The rest is delivered; a body that is no entry is counted."""
    spool, ledger = Spool(tmp_path, "w"), Ledger()
    serve(spool, "a")
    spool.close("nonsense", b"{}", b"{}")
    serve(spool, "b")
    spool.end()
    delivery = Delivery(tmp_path, ledger)
    await delivery.turn()
    assert set(ledger.entries) == {"a", "b"}
    assert delivery.damaged == 1


WORKER = """
import asyncio, sys
from pathlib import Path
from app.stores.spool import Spool
from tests.stores.test_delivery import opened, closed

async def main():
    name = sys.argv[2]
    spool = Spool(Path(sys.argv[1]), name)
    for number in range(10**9):
        one = f"{name}.{number}"
        spool.open(*opened(one))
        print("open", one, flush=True)
        await asyncio.sleep(0)
        spool.close(*closed(one))
        print("close", one, flush=True)

asyncio.run(main())
"""


async def test_a_record_may_be_longer_than_what_is_read_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is read whole, and what comes behind it."""
    monkeypatch.setattr(delivering, "_READ_BYTES", 64)
    ledger, spool = Ledger(), Spool(tmp_path, "w0")
    serve(spool, "a", "b")
    await Delivery(tmp_path, ledger).turn()
    spool.end()
    assert set(ledger.entries) == {"a", "b"}


async def test_kill_9_and_outages_end_with_every_request_once(tmp_path: Path) -> None:
    """Workers are killed at random, deliverers begin again from nothing, the ledger is out at times."""
    random, ledger = Random(7), Ledger()
    told: list[list[str]] = []
    for turn in range(4):
        command = [sys.executable, "-c", WORKER, str(tmp_path), f"w{turn}"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as worker:  # noqa: ASYNC220 # nothing else runs
            assert worker.stdout is not None
            delivery = Delivery(tmp_path, ledger)
            for line in worker.stdout:
                told.append(line.split())
                if len(told) % 100 == 0:
                    ledger.out = random.random() < 0.4
                    with_outage = asyncio.gather(delivery.turn(), return_exceptions=True)
                    assert all(one is None or isinstance(one, SinkUnavailable) for one in await with_outage)
                if line.endswith("\n") and len(told) >= 400 * (turn + 1):
                    os.kill(worker.pid, signal.SIGKILL)
                    break
            told += [line.split() for line in worker.stdout.readlines() if line.endswith("\n")]
    ledger.out = False
    await Delivery(tmp_path, ledger).turn()
    began = {name for kind, name in told if kind == "open"}
    ended = {name for kind, name in told if kind == "close"}
    assert began <= ledger.entries.keys()
    assert len(ledger.entries.keys() - began) <= 4  # one a worker: written, but killed before it told
    assert all(ledger.entries[name].charged_nano == 900 for name in ended)
    assert len([one for one in ledger.entries.values() if one.charged_nano == BOUND]) <= 4
    assert list(tmp_path.glob("*.log")) == []
