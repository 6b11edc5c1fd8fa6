#!/bin/sh
# Stop the workloads and agents that start_cluster.sh started; options are those of
# `cnet cluster down`.
set -eu
root=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
[ -e "$root/.venv/.runtime" ] || echo "making $root/.venv, which takes a minute" >&2
make -s -C "$root" .venv/.runtime >&2
exec "$root/.venv/bin/cnet" cluster down "$@"
