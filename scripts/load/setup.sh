#!/bin/sh
# Installs locust into .load/ (git-ignored), an environment of its own: nothing of it touches the gateway's.
# Run again at will: what is there in the pinned version is left alone.
set -eu
cd "$(dirname "$0")/../.."

LOCUST="locust==2.47.0"
ORJSON="orjson>=3.13"

[ -x .uv/bin/uv ] || { echo "run 'make setup' first: .uv/bin/uv is missing" >&2; exit 2; }
if [ "$(cat .load/.pinned 2>/dev/null)" = "$LOCUST" ]; then
    exit 0
fi
rm -rf .load
.uv/bin/uv venv --quiet --python python3 .load
.uv/bin/uv pip install --quiet --python .load/bin/python "$LOCUST" "$ORJSON"
echo "$LOCUST" >.load/.pinned
