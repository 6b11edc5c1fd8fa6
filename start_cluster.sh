#!/bin/sh
# Start the four agents of configs/ on this machine, linked as a tree with peers.
# Works in a fresh clone and from any directory; options are those of `cnet cluster up`.
set -eu
root=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
[ -e "$root/.venv/.runtime" ] || echo "making $root/.venv, which takes a minute" >&2
make -s -C "$root" .venv/.runtime >&2
exec "$root/.venv/bin/cnet" cluster up --config-dir "$root/configs" "$@"
