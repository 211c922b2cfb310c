#!/bin/sh
# Sets up a real vLLM for this CPU and a small model in .vllm; `--help` lists the other models. See setup.py.
set -eu
cd "$(dirname "$0")/../.."
exec .venv/bin/python scripts/vllm/setup.py "$@"
