#!/bin/sh
# Makes .phoenix, the environment of scripts/phoenix/show.py (620 MB): hash-checked, once per change of its lock.
set -eu
cd "$(dirname "$0")/../.."
lock=scripts/phoenix/requirements.lock
if cmp -s .phoenix/done "$lock"; then exit 0; fi
.uv/bin/uv venv --quiet --clear --no-python-downloads --python .venv/bin/python .phoenix
.uv/bin/uv pip sync --quiet --require-hashes --python .phoenix "$lock"
cp "$lock" .phoenix/done
