#!/bin/sh
# Compiles one example against an installed Quern, with the shared and with the static library, and runs it without arguments when it is
# the header's own test. Examples take arguments, so they are compiled and asked for their usage only.
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
if [ "$name" = header ]; then
    "$build/$name"
    "$build/$name-static"
    if command -v g++ >/dev/null; then
        # shellcheck disable=SC2046,SC2086
        g++ -x c++ -std=c++17 $flags "$source" -o "$build/$name-c++" $(pkg-config --cflags --libs quern) -Wl,-rpath,"$libdir"
        "$build/$name-c++"
    fi
fi
