#!/bin/sh
# Runs bench/peers.py with the programs of a build folder. $QUERN_PEERS_PYTHON chooses another interpreter than .venv's; its packages
# (bench/requirements.txt) are then its owner's matter.
# Usage: bench/peers.sh BUILD_FOLDER [options of bench/peers.py]
set -eu
build=$1
shift
if [ -n "${QUERN_PEERS_PYTHON:-}" ]; then
    python=$QUERN_PEERS_PYTHON
else
    python=.venv/bin/python
    [ -x $python ] || python3 -m venv .venv
    $python -m pip install --quiet --requirement bench/requirements.txt
fi
exec "$python" bench/peers.py --quern "$build/quern" --bench-tokenizer "$build/bench_tokenizer" "$@"
