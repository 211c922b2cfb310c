"""The kernel's figures of real processes."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from loadtests import cpu


@contextmanager
def child(code: str) -> Iterator[subprocess.Popen[bytes]]:
    """A Python process that says when it is ready and then waits for the end of its input."""
    code += "\nprint('ready', flush=True)\nimport sys; sys.stdin.read()"
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-c", code], **pipes) as process:  # type: ignore[call-overload]  # a dict
        assert process.stdout
        process.stdout.readline()
        yield process
        process.communicate()


BURN = "import time\nuntil = time.process_time() + {0}\nwhile time.process_time() < until: pass\n"


def test_cpu_time_is_that_of_the_work() -> None:
    """A process that burns 0.3 s has burnt 0.3 s and its start-up."""
    with child(BURN.format(0.3)) as process:
        assert 0.3 <= cpu.cpu_seconds([process.pid]) < 2.0
        assert cpu.thread_seconds(process.pid, process.pid) == pytest.approx(cpu.cpu_seconds([process.pid]), abs=0.1)


def test_threads_that_have_ended_are_counted() -> None:
    """Their time does not go with them."""
    burn = BURN.format(0.3).replace("process_time", "thread_time").replace("\n", "; ", 1)
    code = f"import threading\ndef f():\n  exec({burn!r})\nt = threading.Thread(target=f); t.start(); t.join()"
    with child(code) as process:
        assert 0.3 <= cpu.cpu_seconds([process.pid]) < 2.0


def test_children_are_found_and_counted() -> None:
    """Those that live as processes of the tree, those that have ended in their parent's account."""
    code = (
        "import subprocess, sys\nsubprocess.run([sys.executable, '-c', {0!r}])\nc = subprocess.Popen(['sleep', '60'])"
    )
    with child(code.format(BURN.format(0.3)) + "\nimport atexit; atexit.register(c.kill)") as process:
        assert len(cpu.tree(process.pid)) == 2
        assert cpu.cpu_seconds(cpu.tree(process.pid)) >= 0.3


def test_memory_is_that_of_the_process() -> None:
    """50 MB held are 50 MB more, whole and in proportion."""
    with child("") as small, child("held = b'x' * 50_000_000") as large:
        less, more = cpu.memory([small.pid]), cpu.memory([large.pid])
    assert more.rss - less.rss == pytest.approx(50e6, rel=0.1)
    assert more.pss - less.pss == pytest.approx(50e6, rel=0.1)


def test_descriptors_and_sockets_are_counted() -> None:
    """A socket is both, a pipe only a file."""
    before = cpu.descriptors([os.getpid()])
    with socket.socket():
        reading, writing = os.pipe()
        during = cpu.descriptors([os.getpid()])
        os.close(reading)
        os.close(writing)
    assert (during.files - before.files, during.sockets - before.sockets) == (3, 1)


def test_the_machine_is_as_busy_as_its_processes() -> None:
    """Work of one process shows in the counters of all."""
    before = cpu.machine()
    with child(BURN.format(0.3)):
        pass
    assert cpu.machine().busy - before.busy >= 0.25


def test_the_machine_has_a_class_and_no_name() -> None:
    """Cores, processor and kernel; never the host's name."""
    told = cpu.describe()
    assert told["cores"] == os.cpu_count()
    assert os.uname().nodename not in told.values()
