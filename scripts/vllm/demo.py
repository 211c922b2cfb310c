"""`make demo-vllm`: a real vLLM, the gateway before it, a first streamed request through the OpenAI SDK; then yours.

    .venv/bin/python -m scripts.vllm.demo [--once]

Needs what scripts/vllm/setup.sh makes. Ctrl-C stops everything.
"""

from __future__ import annotations

import argparse
import json
import secrets
import signal
import sys
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from openai import OpenAI

from loadtests.server import free_port
from scripts.vllm.server import TOOLS, Server, ServerError, gateway, vllm

QUESTION = "What is the capital of France, and what is it known for?"
RECORD_SECONDS = 5.0
CONFIG = """\
server: {{host: 127.0.0.1, port: {port}, ops: {{host: 127.0.0.1, port: {ops_port}}}}}
deployments:
  - name: smollm2-v1
    provider: vllm
    base_url: {upstream}/v1
    model: smollm2
    context_window: 2048
    max_output_tokens: 1024
    price: {{input: 0.05, output: 0.08}}
models:
  - {{name: chat, stable: smollm2-v1}}
tenants:
  - {{name: demo, keys: [{{name: demo, secret: env:SLUICEGATE_DEMO_KEY}}]}}
"""
SNIPPET = """
Now you. With curl:

  curl -N {url}/v1/chat/completions -H "Authorization: Bearer {key}" -H "Content-Type: application/json" \\
    -d '{{"model": "chat", "stream": true, "messages": [{{"role": "user", "content": "Tell me about rivers."}}]}}'

With the OpenAI SDK (in .venv/bin/python):

  from openai import OpenAI
  client = OpenAI(base_url="{url}/v1", api_key="{key}")
  answer = client.chat.completions.create(model="chat", messages=[{{"role": "user", "content": "Hello!"}}])
  print(answer.choices[0].message.content)

Metrics: {ops}/metrics   vLLM's own: {upstream}/metrics   Stop with Ctrl-C.
"""


def ask(url: str, key: str) -> None:
    """Send the first request and print its answer as it comes."""
    print(f"> {QUESTION}\n< ", end="", flush=True)
    client = OpenAI(base_url=f"{url}/v1", api_key=key)
    with client.chat.completions.create(
        model="chat", messages=[{"role": "user", "content": QUESTION}], max_tokens=100, temperature=0, stream=True
    ) as stream:
        for chunk in stream:
            print((chunk.choices[0].delta.content if chunk.choices else None) or "", end="", flush=True)
    print()


def recorded(server: Server) -> dict[str, Any]:
    """The gateway's access line of the first request; it is written a moment after the answer."""
    until = time.monotonic() + RECORD_SECONDS
    while time.monotonic() < until:
        for text in server.log.read_text().splitlines():
            line: dict[str, Any] = json.loads(text) if text.startswith("{") else {}
            if line.get("event") == "request":
                return line
        time.sleep(0.02)
    raise ServerError(f"the gateway recorded no request; the end of its log:\n{server.log_end()}")


def summary(line: dict[str, Any]) -> str:
    """What the request took and cost, in words."""
    return (
        f"\n{line['input_tokens']} tokens in, {line['output_tokens']} out ({line['usage']}); "
        f"cost ${line['cost_usd']:.9f}\n"
        f"first token after {line['first_token_ms']:.1f} ms, all after {line['duration_ms']:.1f} ms, "
        f"of which the gateway itself took {line['overhead_ms']:.2f} ms\n"
        f"outcome {line['outcome']}, deployment {line['deployment']}, arm {line['arm']}, request {line['request_id']}"
    )


@dataclass(frozen=True, slots=True)
class Servers:
    """What runs: vLLM, the gateway before it, and how to reach the gateway."""

    model: Server
    gateway: Server
    key: str
    ops_url: str


def servers(stack: ExitStack, folder: Path) -> Servers:
    """Start both; they end with the stack. Raises ServerError."""
    model = stack.enter_context(vllm("smollm2", folder / "vllm.log", *TOOLS)).wait()
    port, ops_port, key = free_port(8080), free_port(9090), f"sk-demo-{secrets.token_hex(8)}"
    config = folder / "demo.yaml"
    config.write_text(CONFIG.format(upstream=model.base, port=port, ops_port=ops_port))
    front = stack.enter_context(gateway(config, port, folder / "gateway.log", SLUICEGATE_DEMO_KEY=key)).wait(20)
    return Servers(model, front, key, f"http://127.0.0.1:{ops_port}")


def demonstrate(started: Servers, *, once: bool) -> None:
    """Ask, show, and stay unless `once`."""
    url = started.gateway.base
    print(f"vLLM at {started.model.base}, gateway at {url}.\n")
    ask(url, started.key)
    print(summary(recorded(started.gateway)))
    if not once:
        print(SNIPPET.format(url=url, key=started.key, ops=started.ops_url, upstream=started.model.base), flush=True)
        signal.pause()


def main() -> int:
    """The command; 0 unless a server did not start."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--once", action="store_true", help="stop after the first answer")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that the servers stop however the demo does
    try:
        with ExitStack() as stack:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="sluicegate-vllm-")))
            print("Starting vLLM with SmolLM2-135M-Instruct; on two idle cores it takes 20 to 50 s.", flush=True)
            demonstrate(servers(stack, folder), once=options.once)
    except ServerError as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("Stopped.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
