#!/bin/sh
# venv.sh NAME makes .NAME, an environment of its own for what is in scripts/NAME: hash-checked, from its requirements.lock,
# once per change of it.
set -eu
cd "$(dirname "$0")/.."
lock=scripts/$1/requirements.lock
if cmp -s ".$1/done" "$lock"; then exit 0; fi
.uv/bin/uv venv --quiet --clear --no-python-downloads --python .venv/bin/python ".$1"
.uv/bin/uv pip sync --quiet --require-hashes --python ".$1" "$lock"
cp "$lock" ".$1/done"
