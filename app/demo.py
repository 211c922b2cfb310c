"""`sluicegate demo`: the gateway before a fake upstream, each in a process of its own; a first request; then yours.

Needs a checkout: the fake upstream is the one that the tests use.
"""

from __future__ import annotations

import os
import secrets
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO

import click
import httpx2
import orjson

from app.exchange import JsonObject

_ROOT = Path(__file__).resolve().parent.parent
_START_WITHIN = 20.0
_STOPS = {signal.SIGINT, signal.SIGTERM}
_QUESTION = "What does a sluice gate do?"
_ANSWER = "A sluice gate opens by degrees, holds back what must not pass, and measures what flows."

_CONFIG = """\
server: {{host: 127.0.0.1, port: {port}, ops: {{host: 127.0.0.1, port: {ops_port}}}}}
stores: {{database: "sqlite+aiosqlite:///{folder}/ledger.db", spool: "{folder}/spool"}}
deployments:
  - name: demo-v1
    provider: openai
    base_url: {upstream}/v1
    model: echo+pace-20ms
    context_window: 8192
    max_output_tokens: 1024
    price: {{input: 0.15, output: 0.60}}
models:
  - {{name: chat, stable: demo-v1}}
tenants:
  - {{name: demo, keys: [{{name: demo, secret: env:SLUICEGATE_DEMO_KEY}}]}}
"""

_SNIPPET = """
Now you. With curl:

  curl -N {url}/v1/chat/completions -H "Authorization: Bearer {key}" -H "Content-Type: application/json" \\
    -d '{{"model": "chat", "stream": true, "messages": [{{"role": "user", "content": "Say it in your own words."}}]}}'

With the OpenAI SDK:

  from openai import OpenAI
  client = OpenAI(base_url="{url}/v1", api_key="{key}")
  answer = client.chat.completions.create(model="chat", messages=[{{"role": "user", "content": "Hello!"}}])
  print(answer.choices[0].message.content)

Metrics: {ops_url}/metrics   API: {ops_url}/docs   Stop with Ctrl-C.
"""


def run(*, once: bool) -> int:
    """Run the demonstration; returns the exit code."""
    if not (_ROOT / "tests" / "upstream" / "__main__.py").exists():
        click.echo("The demo needs a checkout of the repository: its fake upstream is in tests/upstream.", err=True)
        return 1
    key = f"sk-demo-{secrets.token_hex(8)}"
    with ExitStack() as stack:
        upstream_url = _upstream(stack)
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="sluicegate-demo-")))
        log = folder / "access.log"
        url, ops_url = _gateway(stack, folder, upstream_url, log, key)
        click.echo(f"Fake upstream at {upstream_url}, gateway at {url}, each a process of its own.\n")
        _ask(url, key)
        click.echo(_summary(_access_line(log)))
        if not once:
            signal.pthread_sigmask(signal.SIG_BLOCK, _STOPS)  # from here on they wait for `sigwait`
            click.echo(_SNIPPET.format(url=url, ops_url=ops_url, key=key))
            _wait_for_interrupt()
    return 0


def _ask(url: str, key: str) -> None:
    """Send the first request and print its answer as it comes."""
    body = {
        "model": "chat",
        "stream": True,
        "messages": [{"role": "system", "content": _QUESTION}, {"role": "user", "content": _ANSWER}],
    }
    click.echo(f"> {_QUESTION}\n< ", nl=False)
    headers = {"authorization": f"Bearer {key}"}
    with httpx2.stream(
        "POST", f"{url}/v1/chat/completions", json=body, headers=headers, timeout=30, trust_env=False
    ) as answer:
        answer.raise_for_status()
        for line in answer.iter_lines():
            if line.startswith("data: {"):
                choices = orjson.loads(line[6:])["choices"]
                click.echo((choices and choices[0]["delta"].get("content")) or "", nl=False)
    click.echo()


def _summary(line: JsonObject) -> str:
    tokens = f"{line['input_tokens']} tokens in, {line['output_tokens']} out ({line['usage']})"
    return (
        f"\n{tokens}; cost ${line['cost_usd']:.9f}\n"
        f"first token after {line['first_token_ms']:.1f} ms, all after {line['duration_ms']:.1f} ms, "
        f"of which the gateway itself took {line['overhead_ms']:.2f} ms\n"
        f"outcome {line['outcome']}, deployment {line['deployment']}, arm {line['arm']}, request {line['request_id']}"
    )


def _upstream(stack: ExitStack) -> str:
    command = [sys.executable, "-m", "tests.upstream", "--port", "0", "--with-parent"]
    process = stack.enter_context(_process(command, dict(os.environ), subprocess.PIPE))
    first_line = process.stdout.readline() if process.stdout is not None else b""
    if not first_line:
        raise click.ClickException("the fake upstream did not start")
    return str(orjson.loads(first_line)["url"])


def _gateway(stack: ExitStack, folder: Path, upstream: str, log: Path, key: str) -> tuple[str, str]:
    """The gateway on its usual ports; on free ones where those are taken, or were between the look and the start."""
    config = folder / "demo.yaml"
    for port, ops_port in ((_port(8080), _port(9090)), (0, 0)):
        config.write_text(_CONFIG.format(folder=folder, upstream=upstream, port=port, ops_port=ops_port))
        listening = _serve(stack, config, log, key)
        if listening is not None:
            return listening
    raise click.ClickException("the gateway found no port to listen on")


def _serve(stack: ExitStack, config: Path, log: Path, key: str) -> tuple[str, str] | None:
    """Start `sluicegate serve` and wait until it says where it listens; None where its port is taken."""
    environ = {**os.environ, "SLUICEGATE_DEMO_KEY": key}
    messages = config.with_suffix(".log")
    out, err = stack.enter_context(log.open("wb")), stack.enter_context(messages.open("wb"))
    process = stack.enter_context(
        _process(
            [sys.executable, "-m", "app.cli", "serve", "--config", str(config), "--with-parent"], environ, out, err
        )
    )
    until = time.monotonic() + _START_WITHIN
    while time.monotonic() < until and process.poll() is None:
        for text in messages.read_text().splitlines():
            line = orjson.loads(text) if text.startswith("{") else {}
            if line.get("event") == "listening":
                return line["url"], line["ops_url"]
        time.sleep(0.02)
    said = messages.read_text()
    if "cannot listen on" in said:
        return None
    raise click.ClickException(f"the gateway did not start:\n{said}")


def _access_line(log: Path) -> JsonObject:
    until = time.monotonic() + _START_WITHIN
    while time.monotonic() < until:
        lines = log.read_bytes().splitlines()
        if lines:
            line: JsonObject = orjson.loads(lines[0])
            return line
        time.sleep(0.02)
    raise click.ClickException("the gateway wrote no access line")


@contextmanager
def _process(
    command: list[str], environ: dict[str, str], out: int | IO[bytes], err: IO[bytes] | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """A child that is told to stop, and waited for, on the way out."""
    pipe = subprocess.PIPE
    with subprocess.Popen(  # noqa: S603  # our own commands
        command, cwd=_ROOT, env=environ, stdin=pipe, stdout=out, stderr=err, start_new_session=True
    ) as process:
        try:
            yield process
        finally:
            process.terminate()
            process.wait(_START_WITHIN)


def _port(wanted: int) -> int:
    """The wanted port if nothing answers there, else 0: a free one."""
    try:
        httpx2.get(f"http://127.0.0.1:{wanted}/", timeout=0.5, trust_env=False)
    except httpx2.ConnectError:
        return wanted
    except httpx2.HTTPError:
        return 0
    return 0


def _wait_for_interrupt() -> None:
    signal.sigwait(_STOPS)
