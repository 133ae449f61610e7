#!/bin/sh
# Compiles one example against an installed Quern, with the shared and with the static library. The header's own test and the layer built
# by hand need no arguments and tell by their status whether all is well: they are run. The others must answer with their usage.
# Usage: scripts/check-example.sh COMPILER PREFIX EXAMPLE.c
set -eu
compiler=$1 prefix=$2 source=$3
name=$(basename "$source" .c)
pc=$(find "$prefix" -name quern.pc)
libdir=$(dirname "$(dirname "$pc")")
export PKG_CONFIG_PATH="${pc%/*}"
build=$prefix/examples
mkdir -p "$build"

flags="-Wall -Wextra -Werror"
# shellcheck disable=SC2046,SC2086
"$compiler" -std=c17 $flags "$source" -o "$build/$name" $(pkg-config --cflags --libs quern) -lm -Wl,-rpath,"$libdir"
# The static library needs its own dependencies named; -Bstatic is for it alone.
# shellcheck disable=SC2046,SC2086
"$compiler" -std=c17 $flags "$source" -o "$build/$name-static" \
    $(pkg-config --static --cflags --libs quern | sed 's/-lquern/-l:libquern.a/') -lm
case $name in
header | layer)
    "$build/$name"
    "$build/$name-static"
    ;;
*)
    status=0
    "$build/$name" 2>"$build/$name.usage" || status=$?
    if [ "$status" != 2 ] || ! grep -q '^usage: ' "$build/$name.usage"; then
        echo "$name without arguments ended with status $status (expected its usage and status 2)"
        exit 1
    fi
    ;;
esac
if [ "$name" = header ]; then
    if command -v g++ >/dev/null; then
        # shellcheck disable=SC2046,SC2086
        g++ -x c++ -std=c++17 $flags "$source" -o "$build/$name-c++" $(pkg-config --cflags --libs quern) -Wl,-rpath,"$libdir"
        "$build/$name-c++"
    fi
fi
