"""Stacks are counted for the right function."""

from __future__ import annotations

from collections import Counter

from loadtests.breakdown import Samples, table

ROOT = "/some" + "where/checkout"
SITE = f"{ROOT}/.venv/lib/python3.11/site-packages"
RAW = f"""main ({ROOT}/app/cli.py:9);run ({SITE}/uvloop/loop.py);serve ({ROOT}/app/pipeline/serve.py:30) 5
main ({ROOT}/app/cli.py:9);serve ({ROOT}/app/pipeline/serve.py:31);dumps ({SITE}/x/y.py:7) 3
epoll_wait (libc.so.6) 2

"""


def test_by_our_innermost_function() -> None:
    """What it calls outside is its own; without one of ours the innermost frame is named, in parentheses."""
    found = Samples.read(RAW.splitlines()).by_ours()
    assert found == Counter({"app/pipeline/serve.py serve": 8, "(libc.so.6 epoll_wait)": 2})


def test_by_innermost_frame() -> None:
    """Installed files are named from where packages begin."""
    found = Samples.read(RAW.splitlines()).by_leaf()
    assert found == Counter({"app/pipeline/serve.py serve": 5, "x/y.py dumps": 3, "libc.so.6 epoll_wait": 2})


def test_samples_become_microseconds() -> None:
    """Of a request of 100 µs, five of ten samples are 50."""
    samples = Samples.read(RAW.splitlines())
    text = table("title", samples.by_leaf(), samples.total(), 100.0, top=1)
    assert text.split() == ["title", "50.0", "µs", "50.0%", "app/pipeline/serve.py", "serve"]
