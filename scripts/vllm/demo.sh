#!/bin/sh
# The gateway before a real vLLM; `--once` stops after the first answer. See demo.py.
set -eu
cd "$(dirname "$0")/../.."
exec .venv/bin/python -m scripts.vllm.demo "$@"
