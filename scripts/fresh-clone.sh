#!/usr/bin/env bash
# Does what the README promises hold for a stranger? Clones HEAD into an empty folder and runs the README's commands with
# an empty environment, an empty home and an empty package cache; only where packages come from is passed through.
#
#   scripts/fresh-clone.sh             make demo, then make test
#   scripts/fresh-clone.sh demo|test   one of them
set -euo pipefail
cd "$(dirname "$0")/.."

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
git clone --quiet . "$folder/a clone"
mkdir "$folder/home"

passed=(PATH="$PATH" HOME="$folder/home")
while IFS= read -r name; do passed+=("$name=${!name}"); done \
    < <(compgen -e | grep -E '^(PIP_(INDEX_URL|EXTRA_INDEX_URL|FIND_LINKS|CERT|CONFIG_FILE)|UV_(DEFAULT_)?INDEX.*|SSL_CERT_.*|(https?|no)_proxy|(HTTPS?|NO)_PROXY)$' || true)
cd "$folder/a clone"

# Waits for the demo's ready-to-paste curl, which comes after its first streamed answer; then ends it as Ctrl-C would.
demo() {
    set -m
    env -i "${passed[@]}" make demo >"$folder/demo.log" 2>&1 &
    local make=$! started=$SECONDS
    set +m
    until grep -q 'curl ' "$folder/demo.log"; do
        if ! kill -0 $make 2>/dev/null; then cat "$folder/demo.log"; echo "fresh-clone: make demo ended by itself" >&2; return 1; fi
        if ((SECONDS - started > 60)); then
            cat "$folder/demo.log"
            kill -TERM -- -$make
            echo "fresh-clone: make demo gave no answer within 60 s" >&2
            return 1
        fi
        sleep 0.2
    done
    cat "$folder/demo.log"
    kill -INT -- -$make
    wait $make || true
    echo "fresh-clone: make demo answered within $((SECONDS - started)) s"
}

case "${1:-both}" in
demo) demo ;;
test) env -i "${passed[@]}" make test ;;
both) demo && env -i "${passed[@]}" make test ;;
*) echo "usage: scripts/fresh-clone.sh [demo|test]" >&2; exit 2 ;;
esac
