"""The frameworks that people use, through the gateway: `make test-clients`.

Each gets an environment of its own under `.clients`, made with uv from the package index, and one file that talks to a
gateway before the fake upstream speaking each provider's wire format; with `--vllm` before two real vLLMs, with a small
model and an embedding model (scripts/vllm/setup.sh --embed makes both). Prints what was installed and what it did; a
client that does not install is said to. Ends with status 1 when one that installs does not work.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from scripts.vllm.server import TOOLS, vllm
from tests.support import vllm as real
from tests.support.gateway import KEY, Gateway
from tests.support.matrix import BEHAVIOURS, PROVIDERS
from tests.support.providers import one_each_provider
from tests.support.upstream import Upstream

ROOT = Path(__file__).resolve().parents[2]
HOME = ROOT / ".clients"
UV = ROOT / ".uv" / "bin" / "uv"
CLIENTS = {
    "langchain": ("langchain-openai", "langchain-anthropic"),
    "llamaindex": ("llama-index-core", "llama-index-llms-openai-like", "llama-index-embeddings-openai"),
    "semantickernel": ("semantic-kernel",),
    "guidance": ("guidance", "openai"),
    "promptflow": ("promptflow",),
}
_INSTALL_S, _RUN_S = 600, 600


def install(name: str, packages: tuple[str, ...]) -> str | None:
    """Make the environment; returns what went wrong."""
    folder = HOME / name
    if not folder.exists():
        subprocess.run([UV, "venv", "-q", folder], check=True)
    command: list[str | Path] = [UV, "pip", "install", "-q", "--python", folder, *packages]
    result = subprocess.run(command, capture_output=True, text=True, timeout=_INSTALL_S, check=False)
    return result.stderr.strip()[-500:] if result.returncode else None


def versions(name: str, packages: tuple[str, ...]) -> str:
    """What was installed."""
    command: list[str | Path] = [UV, "pip", "list", "--python", HOME / name]
    lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    found = dict(line.split()[:2] for line in lines[2:])
    return ", ".join(f"{package} {found.get(package, '?')}" for package in packages)


@contextmanager
def before_the_fake() -> Iterator[Mapping[str, str]]:
    """A gateway before the fake upstream; what the clients' files read from their environment."""
    with Upstream() as upstream, Gateway(one_each_provider(upstream.url, PROVIDERS, BEHAVIOURS)) as gateway:
        yield {"GATEWAY_URL": gateway.url, "GATEWAY_KEY": KEY}


@contextmanager
def before_vllm() -> Iterator[Mapping[str, str]]:
    """A gateway before two real servers: `chat` is SmolLM2-135M-Instruct, `embed` all-MiniLM-L6-v2."""
    with tempfile.TemporaryDirectory(prefix="sluicegate-clients-") as name:
        folder = Path(name)
        chat = vllm("smollm2", folder / "chat.log", *TOOLS)
        embed = vllm("minilm", folder / "embed.log", MODEL="all-minilm-l6-v2", RUNNER="pooling")
        with chat, embed:
            models = {"chat": real.deployment(chat.wait(), "smollm2"), "embed": real.deployment(embed.wait(), "minilm")}
            with real.Front(folder, models) as front:
                yield {"GATEWAY_URL": front.url, "GATEWAY_KEY": real.KEY, "GATEWAY_REAL": "1"}


def works(name: str, where: Mapping[str, str]) -> bool:
    """Run the client's file, show what it says."""
    environ = {**os.environ, "OPENAI_API_KEY": where["GATEWAY_KEY"], "PF_DISABLE_TRACING": "true", **where}
    command = [str(HOME / name / "bin" / "python"), "-m", f"scripts.clients.with_{name}"]
    result = subprocess.run(command, cwd=ROOT, env=environ, capture_output=True, text=True, timeout=_RUN_S, check=False)
    print(result.stdout if result.returncode == 0 else (result.stdout + result.stderr)[-3000:])
    return result.returncode == 0


def main(wanted: list[str]) -> int:
    """Run the clients that are named, or all; before vLLM where `--vllm` is among the names."""
    HOME.mkdir(exist_ok=True)
    failed = []
    names = [name for name in wanted if name != "--vllm"]
    with before_vllm() if "--vllm" in wanted else before_the_fake() as where:
        for name in names or CLIENTS:
            problem = install(name, CLIENTS[name])
            if problem is not None:
                print(f"{name}: does not install: {problem}")
                continue
            print(f"{name}: {versions(name, CLIENTS[name])}", flush=True)
            if not works(name, where):
                failed.append(name)
    print("failed:" if failed else "all that install work", *failed)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
