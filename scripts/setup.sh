#!/bin/sh
# Installs the Debian or Ubuntu packages that the build needs and that are missing. Quick, and without a word, when none is.
# Usage: scripts/setup.sh [clang]    with "clang" also what sanitizers, fuzzing and the second compiler need.
set -eu

packages="gcc libc6-dev make cmake pkg-config git libdnnl-dev libutf8proc-dev libpcre2-dev libjansson-dev zlib1g-dev libcmocka-dev"
case "${CC:-} ${1:-}" in
*clang*) packages="$packages clang libomp-dev" ;;
esac
if [ "${1:-}" = clang ] && [ -x /usr/bin/dpkg-query ]; then
    # libFuzzer and the sanitizers' runtimes: a package of its own since clang 14, whose name carries the version.
    version=$(dpkg-query -W -f '${Depends}' clang 2>/dev/null | sed -n 's/.*clang-\([0-9]*\).*/\1/p')
    [ -z "$version" ] || packages="$packages libclang-rt-$version-dev"
fi

if ! command -v dpkg-query >/dev/null; then
    # Not a Debian: CMake names what is missing.
    exit 0
fi
missing=""
installed=$(dpkg-query -W -f '${db:Status-Abbrev}${binary:Package}\n' 2>/dev/null | sed -n 's/^ii //p' | sed 's/:.*//')
for package in $packages; do
    # Another provider of a tool will do: a cmake from PyPI, a pkgconf.
    case $package in
    gcc | make | cmake | pkg-config | git | clang) command -v "$package" >/dev/null && continue ;;
    esac
    printf '%s\n' "$installed" | grep -qx -- "$package" || missing="$missing $package"
done
if [ -z "$missing" ]; then
    exit 0
fi

echo "Missing packages:$missing" >&2
if [ "$(id -u)" = 0 ]; then
    sudo=""
elif command -v sudo >/dev/null && sudo -n true 2>/dev/null; then
    sudo="sudo -n"
else
    echo "Install them with this line, then run make again:" >&2
    echo "    sudo apt-get install$missing" >&2
    exit 1
fi
echo "Installing them with apt-get." >&2
export DEBIAN_FRONTEND=noninteractive
install="apt-get install --yes --quiet=2 --no-install-recommends"
# shellcheck disable=SC2086
if ! $sudo $install $missing >&2; then
    # A fresh machine has no package lists, an old one stale lists.
    if ! { $sudo apt-get update --quiet=2 && $sudo $install $missing; } >&2; then
        echo "That failed. Install them by hand:" >&2
        echo "    sudo apt-get install$missing" >&2
        exit 1
    fi
fi
