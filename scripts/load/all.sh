#!/bin/sh
# Every load profile at a twentieth of its callers and of its time, each against a gateway of its own: that it runs to
# its end, that nothing fails, and that its rows are there. What takes how long is not judged on a machine of unknown load.
set -eu
cd "$(dirname "$0")/../.."

for profile in chat long stream steady embeddings tenants spike canary; do
    make load PROFILE="$profile" ARGS="--users 0.05 --time 0.05 --out load-report/$profile --goal all:share:0"
done
make load PROFILE=soak ARGS="--users 0.1 --time 0.003 --out load-report/soak --goal all:share:0"
