#!/bin/sh
# Makes .venv with the `sluicegate` command in it; needs Python 3.11+ with its venv module, and nothing else.
#
# 1. uv, hash-checked, from the package index into a small environment of its own (.uv)
# 2. the packages of requirements.lock, hash-checked, into .venv
# 3. this project, editable: uv builds it itself, so nothing more is downloaded
#
# `setup.sh safety` adds the packages of requirements-safety.lock (detectors that are models), for good.
#
# Does nothing while all that it depends on is as the last time. PYTHON=/path/to/python chooses the interpreter.
set -eu
cd "$(dirname "$0")/.."

fail() {
    echo "setup: $1" >&2
    exit 1
}

is_recent() { [ "$("$1" -c 'import sys; print(sys.version_info >= (3, 11))' 2>/dev/null)" = True ]; }

find_python() {
    if [ -n "${PYTHON:-}" ]; then
        command -v "$PYTHON" >/dev/null || fail "there is no program PYTHON=$PYTHON; give the path of Python 3.11 or newer"
        is_recent "$PYTHON" || fail "PYTHON=$PYTHON is not Python 3.11 or newer; give the path of one that is"
        return
    fi
    for PYTHON in python3 python3.14 python3.13 python3.12 python3.11; do
        if command -v "$PYTHON" >/dev/null && is_recent "$PYTHON"; then return; fi
    done
    fail "found $(python3 --version 2>/dev/null || echo 'no Python'); install Python 3.11 or newer, or name one: make setup PYTHON=/path/to/python3.11"
}

# What the environment depends on: its place (a moved one has scripts that lead nowhere), the interpreter, the files.
fingerprint() {
    # shellcheck disable=SC2086 # file names without spaces
    { pwd && "$PYTHON" -VV && cat pyproject.toml $locks scripts/uv-requirements.txt scripts/setup.sh; } | cksum
}

install_uv() {
    if cmp -s .uv/done scripts/uv-requirements.txt && is_recent .uv/bin/python && .uv/bin/uv --version >/dev/null; then return; fi
    "$PYTHON" -c 'import ensurepip, venv' 2>/dev/null ||
        fail "$PYTHON has no venv module; install it (Debian and Ubuntu: apt-get install python3-venv)"
    "$PYTHON" -m venv --clear .uv || fail "cannot make an environment in $PWD/.uv; the folder must be writable"
    PIP_USER=0 .uv/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes \
        --only-binary :all: -r scripts/uv-requirements.txt ||
        fail "cannot install uv; the package index must be reachable (a mirror: set PIP_INDEX_URL)"
    cp scripts/uv-requirements.txt .uv/done
}

pip_setting() { .uv/bin/python -m pip config get "global.$1" 2>/dev/null || true; }

# uv does not read pip's settings, and who has a mirror or a certificate authority of their own may have told pip alone.
# Like pip, it then trusts the system's authorities, where the system has any.
share_pip_settings() {
    index=${UV_DEFAULT_INDEX:-${UV_INDEX_URL:-${PIP_INDEX_URL:-$(pip_setting index-url)}}}
    authority=${SSL_CERT_FILE:-${PIP_CERT:-$(pip_setting cert)}}
    if [ -n "$index" ]; then export UV_DEFAULT_INDEX="$index"; fi
    if [ -n "$authority" ]; then
        export SSL_CERT_FILE="$authority"
    elif .uv/bin/python -c 'import os, ssl, sys; at = ssl.get_default_verify_paths(); sys.exit(not (at.cafile or at.capath and os.listdir(at.capath)))'; then
        export UV_SYSTEM_CERTS="${UV_SYSTEM_CERTS:-1}"
    fi
}

# A home that cannot be written to is no reason to fail.
choose_cache() {
    cache=${UV_CACHE_DIR:-${XDG_CACHE_HOME:-${HOME:-/nonexistent}/.cache}/uv}
    if mkdir -p "$cache" 2>/dev/null && [ -w "$cache" ]; then return; fi
    export UV_CACHE_DIR="$PWD/.uv/cache"
}

# True while .venv was made here, by this interpreter: then only what differs is installed.
is_ours() {
    [ "$(.venv/bin/python -VV 2>/dev/null)" = "$("$PYTHON" -VV)" ] && grep -qF "$PWD/.venv" .venv/bin/activate
}

install_packages() {
    is_ours || .uv/bin/uv venv --quiet --clear --no-python-downloads \
        --python "$("$PYTHON" -c 'import sys; print(sys.executable)')" .venv
    # shellcheck disable=SC2086 # file names without spaces
    .uv/bin/uv pip sync --quiet --require-hashes --python .venv $locks ||
        fail "cannot install what $locks names; the package index must be reachable (a mirror: set UV_DEFAULT_INDEX)"
    .uv/bin/uv pip install --quiet --offline --no-deps --python .venv --editable .
}

locks=requirements.lock
if [ "${1:-}" = safety ] || [ -e .venv/safety ]; then locks="requirements.lock requirements-safety.lock"; fi
find_python
now=$(fingerprint)
if [ -x .venv/bin/sluicegate ] && [ "$(cat .venv/done 2>/dev/null)" = "$now" ]; then exit 0; fi
echo "setup: installing into .venv (once; again only when pyproject.toml or requirements.lock change)"
install_uv
share_pip_settings
choose_cache
install_packages
if [ "$locks" != requirements.lock ]; then touch .venv/safety; fi
echo "$now" >.venv/done
