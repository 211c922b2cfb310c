#!/bin/sh
# Makes .deploy, the environment of scripts/deploy/check.py (630 MB): hash-checked, once per change of its lock.
set -eu
cd "$(dirname "$0")/../.."
lock=scripts/deploy/requirements.lock
if cmp -s .deploy/done "$lock"; then exit 0; fi
.uv/bin/uv venv --quiet --clear --no-python-downloads --python .venv/bin/python .deploy
.uv/bin/uv pip sync --quiet --require-hashes --python .deploy "$lock"
cp "$lock" .deploy/done
