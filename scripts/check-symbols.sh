#!/bin/sh
# Checks the names that the libraries show: the shared one exports exactly the QN_API functions of quern.h, and every global symbol of the
# static one begins with qn_.
# Usage: scripts/check-symbols.sh BUILD_FOLDER quern.h
set -eu
build=$1 header=$2
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# A declaration may span lines: the name is what stands before the first parenthesis after QN_API.
tr '\n' ' ' <"$header" | sed 's/QN_API/\n&/g' | sed -n 's/^QN_API [^(;]*\(qn_[a-z0-9_]*\)[ ]*(.*/\1/p' | sort -u >"$work/declared"
nm -D --defined-only "$build/libquern.so" | awk '$2 ~ /[A-Z]/ {print $3}' | grep -v -e '^__' -e '^_init$' -e '^_fini$' | sort -u >"$work/exported"
nm --defined-only "$build/libquern.a" 2>/dev/null | awk 'NF == 3 && $2 ~ /[A-Z]/ {print $3}' | sort -u >"$work/global"

failed=0
report() { # FILE TEXT
    if [ -s "$1" ]; then
        sed "s/\$/: $2/" "$1"
        failed=1
    fi
}
comm -13 "$work/declared" "$work/exported" >"$work/extra"
report "$work/extra" "exported by libquern.so, but not declared in quern.h"
comm -23 "$work/declared" "$work/exported" >"$work/lost"
report "$work/lost" "declared in quern.h, but not exported by libquern.so"
# Names that begin with two underscores are the compiler's own (sanitizers, profiles).
grep -v -e '^qn_' -e '^__' "$work/global" >"$work/foreign" || true
report "$work/foreign" "global in libquern.a (expected static, or a name that begins with qn_)"
[ "$failed" = 0 ] || exit 1
echo "$(wc -l <"$work/exported") symbols exported, all declared"
