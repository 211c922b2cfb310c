"""`make demo-vllm`, as a person runs it."""

from __future__ import annotations

import re
import signal
import subprocess
from pathlib import Path

import pytest

from scripts.vllm.server import ROOT, answers
from tests.support.vllm import until

pytestmark = [pytest.mark.vllm, pytest.mark.timeout(900)]


def test_the_demo_answers_shows_the_bill_and_stays_until_it_is_stopped(tmp_path: Path) -> None:
    """Its curl works as it stands, Ctrl-C ends everything, and nothing is left on the ports."""
    log = tmp_path / "out"
    with log.open("wb") as out:
        demo = subprocess.Popen(["sh", "scripts/vllm/demo.sh"], cwd=ROOT, stdout=out, stderr=out)
    try:
        shown = until(log.read_text, lambda text: "Stop with Ctrl-C" in text or demo.poll() is not None, seconds=700)
        curl = re.search(r"^  (curl .*\\\n .*)$", shown, re.MULTILINE)
        assert curl, shown
        answer = subprocess.run(["bash", "-c", curl[1]], capture_output=True, text=True, check=True).stdout
    finally:
        demo.send_signal(signal.SIGINT)
        demo.wait(60)
    assert "Paris" in shown
    assert re.search(r"\d+ tokens in, \d+ out \(exact\); cost \$0\.0000\d+", shown)
    assert "of which the gateway itself took" in shown
    assert answer.count("data: {") > 2
    assert answer.rstrip().endswith("data: [DONE]")
    assert demo.returncode == 0
    urls = re.findall(r"(http://127\.0\.0\.1:\d+)", shown)
    assert len(set(urls)) == 3
    assert not any(answers(f"{url}{path}") for url in urls for path in ("/health", "/livez"))
