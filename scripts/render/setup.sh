#!/bin/sh
# Installs what draws the dashboards: Grafana's own components, from the lock, into scripts/render/node_modules (630 MB).
# Needs node 20+, npm and Chromium (Debian: apt-get install -y --no-install-recommends nodejs npm chromium).
set -eu
cd "$(dirname "$0")"
for program in node npm chromium; do
  command -v "$program" >/dev/null || { echo "$program is missing: apt-get install -y --no-install-recommends nodejs npm chromium" >&2; exit 2; }
done
if cmp -s node_modules/.done package-lock.json; then exit 0; fi
npm ci --ignore-scripts --no-progress --silent
cp package-lock.json node_modules/.done
