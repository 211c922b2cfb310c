#!/bin/sh
# Installs guidellm into .guidellm/ (git-ignored), an environment of its own: nothing of it touches the gateway's.
# It imports PyTorch: the CPU build (1.5 GB in all) where pip finds one, else the common build (5.6 GB).
# Run again at will: what is there in the pinned versions is left alone.
set -eu
cd "$(dirname "$0")/../.."

GUIDELLM="guidellm==0.8.1"
TORCH="torch==2.13.0"

[ -x .venv/bin/python ] || { echo "run 'make setup' first: .venv/bin/python is missing" >&2; exit 2; }
if [ "$(cat .guidellm/.pinned 2>/dev/null)" = "$GUIDELLM $TORCH" ]; then
    exit 0
fi
echo "guidellm: installing into .guidellm (one to three minutes)"
rm -rf .guidellm
.venv/bin/python -m venv .guidellm
pip() { .guidellm/bin/python -m pip install --quiet --disable-pip-version-check "$@"; }
if ! pip "$TORCH+cpu" >/dev/null 2>&1; then
    echo "pip finds no CPU build of PyTorch (PIP_EXTRA_INDEX_URL may name an index with one): taking the common build" >&2
fi
pip "$TORCH" "$GUIDELLM"
echo "$GUIDELLM $TORCH" >.guidellm/.pinned
