#!/bin/sh
# Runs every fuzz target of a build folder for a number of seconds, several at a time, and fails when one finds something.
# Usage: scripts/fuzz.sh BUILD_FOLDER SECONDS [JOBS]
# New inputs that reach new code go to BUILD_FOLDER/corpus/NAME, crashing ones to BUILD_FOLDER/crashes.
set -eu
build=$1 seconds=$2 jobs=${3:-1}
root=$(cd "$(dirname "$0")/.." && pwd)
mkdir -p "$build/crashes" "$build/corpus"

fuzz_one() {
    name=$(basename "$1" | sed 's/^fuzz_//')
    mkdir -p "$build/corpus/$name"
    seeds=$root/tests/fuzz/corpus/$name
    [ -d "$seeds" ] || seeds=
    # The memory limit also catches a small file that asks for a large allocation.
    # shellcheck disable=SC2086
    if "$1" -max_total_time="$seconds" -timeout=10 -rss_limit_mb=2048 -malloc_limit_mb=1024 -print_final_stats=1 \
        -artifact_prefix="$build/crashes/$name-" "$build/corpus/$name" $seeds >"$build/fuzz_$name.log" 2>&1; then
        echo "$name: clean, $(sed -n 's/^stat::number_of_executed_units: *//p' "$build/fuzz_$name.log") inputs in $seconds s"
    else
        tail -n 40 "$build/fuzz_$name.log"
        echo "$name: FAILED, see $build/fuzz_$name.log and $build/crashes"
        touch "$build/fuzz-failed"
    fi
}

rm -f "$build/fuzz-failed"
running=0 count=0
for target in "$build"/tests/fuzz/fuzz_*; do
    [ -f "$target" ] && [ -x "$target" ] || continue
    fuzz_one "$target" &
    count=$((count + 1)) running=$((running + 1))
    if [ "$running" -ge "$jobs" ]; then
        wait
        running=0
    fi
done
wait
if [ -e "$build/fuzz-failed" ]; then
    exit 1
fi
echo "$count fuzz targets, all clean"
