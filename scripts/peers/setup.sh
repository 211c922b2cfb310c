#!/usr/bin/env bash
# Installs the gateways that `make bench` compares with into .peers/ (git-ignored), each in an environment of its own.
#
#   scripts/peers/setup.sh                  all of them
#   scripts/peers/setup.sh vllm-router      only those named: vllm-router portkey litellm
#
# Run again at will: what is there in the pinned version is left alone. A peer that cannot be installed is
# reported and the others go on; the benchmark then says why it is absent.
set -euo pipefail
cd "$(dirname "$0")/../.."

VLLM_ROUTER=0.1.17
PORTKEY=1.15.2
HONO_NODE=1.14.1 # from 1.14.3 on Portkey answers streams with 500 `TypeError: immutable` (Portkey-AI/gateway#1389)
LITELLM=1.106.2

uv=.uv/bin/uv
root=$PWD/.peers
mkdir -p "$root"

# A .pth file runs code at every start of the interpreter; two releases of LiteLLM carried malware in one.
# Only those that uv and setuptools themselves write may be in the environment. uv never starts the environment's
# own interpreter after installing, so nothing of it has run when this looks.
refuse_pth() {
  local found
  found=$(find "$1" -name '*.pth' ! -name '_virtualenv.pth' ! -name 'distutils-precedence.pth' -print)
  if [ -n "$found" ]; then
    echo "refused: the environment holds .pth files that run at start:" "$found" >&2
    rm -rf "$1"
    return 1
  fi
}

venv_with() { # FOLDER REQUIREMENT
  local venv=$root/$1
  if [ "$(cat "$venv/.pinned" 2>/dev/null)" = "$2" ]; then
    echo "$2 is there"
    return 0
  fi
  rm -rf "$venv"
  "$uv" venv --quiet --python python3 "$venv"
  "$uv" pip install --quiet --python "$venv/bin/python" "$2"
  refuse_pth "$venv"
  echo "$2" >"$venv/.pinned"
  echo "$2 installed"
}

setup_vllm-router() { venv_with vllm-router "vllm-router==$VLLM_ROUTER"; }

setup_litellm() { venv_with litellm "litellm[proxy]==$LITELLM"; }

setup_portkey() {
  local folder=$root/portkey
  if ! command -v npm >/dev/null; then
    echo "portkey needs node and npm, which are not on this machine" >&2
    return 1
  fi
  if [ "$(cat "$folder/.pinned" 2>/dev/null)" = "$PORTKEY $HONO_NODE" ]; then
    echo "@portkey-ai/gateway@$PORTKEY is there"
    return 0
  fi
  rm -rf "$folder"
  mkdir -p "$folder"
  cat >"$folder/package.json" <<JSON
{"private": true, "dependencies": {"@portkey-ai/gateway": "$PORTKEY"}, "overrides": {"@hono/node-server": "$HONO_NODE"}}
JSON
  npm install --prefix "$folder" --silent --no-audit --no-fund --no-package-lock --omit=dev --ignore-scripts
  echo "$PORTKEY $HONO_NODE" >"$folder/.pinned"
  echo "@portkey-ai/gateway@$PORTKEY installed"
}

if [ ! -x "$uv" ]; then
  echo "run 'make setup' first: $uv is missing" >&2
  exit 2
fi
[ $# -gt 0 ] || set -- vllm-router portkey litellm
failed=0
for peer in "$@"; do
  case $peer in
    vllm-router | portkey | litellm) ;;
    *) echo "unknown peer: $peer" >&2; exit 2 ;;
  esac
  # A subshell of its own, so that `set -e` holds inside it.
  (set -e; "setup_$peer") & wait $! || { echo "$peer could not be installed" >&2; failed=1; }
done
exit $failed
