"""The real servers, each started at most once in a session and only when a test needs it."""

from __future__ import annotations

import subprocess
from collections.abc import AsyncIterator, Generator, Iterator
from pathlib import Path
from typing import Any

import pytest
from openai import AsyncOpenAI, OpenAI

from scripts.vllm.server import ROOT, TOOLS, Server, vllm
from tests.support.vllm import Front, deployment


@pytest.fixture(scope="session")
def logs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the servers write."""
    return tmp_path_factory.mktemp("vllm")


@pytest.fixture(scope="session", autouse=True)
def installed() -> None:
    """vLLM and the models of these tests; nothing is done when they are there."""
    subprocess.run(["sh", "scripts/vllm/setup.sh", "--embed"], cwd=ROOT, check=True)


@pytest.fixture(scope="session")
def engine(logs: Path) -> Iterator[Server]:
    """SmolLM2-135M-Instruct as `smollm2`, with tools."""
    with vllm("smollm2", logs / "smollm2.log", *TOOLS).wait() as server:
        yield server


@pytest.fixture(scope="session")
def front(logs: Path, engine: Server) -> Iterator[Front]:
    """The gateway before it: `chat`, and `ghost` whose upstream model does not exist."""
    with Front(logs, {"chat": deployment(engine, "smollm2"), "ghost": deployment(engine, "nobody")}) as gateway:
        yield gateway


@pytest.fixture
def client(front: Front) -> Iterator[OpenAI]:
    """The OpenAI SDK at the gateway."""
    with front.sync() as sdk:
        yield sdk


@pytest.fixture
async def async_client(front: Front) -> AsyncIterator[AsyncOpenAI]:
    """The asynchronous OpenAI SDK at the gateway."""
    async with front.asynchronous() as sdk:
        yield sdk


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: Any, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A test that fails shows how the logs of the servers end that it used."""
    report = yield
    if call.excinfo is not None:
        for name, server in getattr(item, "funcargs", {}).items():
            if isinstance(server, Server | Front):
                text = server.log.read_text(errors="replace")
                report.sections.append((f"the log of {name}", text[-4000:]))
    return report
