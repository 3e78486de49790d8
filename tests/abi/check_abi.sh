#!/usr/bin/env bash
# What the libraries offer their programs, against what is kept beside this script: LIBRARY.symbols (every exported name with its
# version) and LIBRARY.abi (types and functions as abidw sees them). Whoever changes it on purpose says so with --update.
#
#     check_abi.sh [--update] BUILD_DIRECTORY
set -euo pipefail
here=$(dirname "$(realpath "${BASH_SOURCE[0]}")")
update=
if [[ $1 == --update ]]; then
    update=1
    shift
fi
build=$(realpath "$1")
source=$(realpath "$here/../..")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
wrong=0

symbols_of() { nm -D --defined-only --with-symbol-versions "$1" | awk '$2 != "A" {print $3}' | LC_ALL=C sort; }

# LIBRARY HEADER...
abi_of() {
    local -a headers=()
    local header
    for header in "${@:2}"; do
        headers+=(--header-file "$header")
    done
    abidw --no-corpus-path --no-comp-dir-path --no-show-locs --no-elf-needed --exported-interfaces-only --drop-private-types \
        "${headers[@]}" "$1" | sed "s|path='$source/|path='|"
}

check() {
    local library=$1
    local built=$build/lib/$library.so
    symbols_of "$built" >"$work/symbols"
    abi_of "$built" "${@:2}" >"$work/abi"
    if [[ -n $update ]]; then
        cp "$work/symbols" "$here/$library.symbols"
        cp "$work/abi" "$here/$library.abi"
        return
    fi
    if diff "$here/$library.symbols" "$work/symbols"; then
        echo "ok  $library exports what it is known to"
    else
        echo "NOT $library exports what it is known to"
        wrong=1
    fi
    # Bits 4 and 8: the ABI has changed, compatibly or not. Bits 1 and 2: it could not be compared.
    if abidiff "$here/$library.abi" "$work/abi" >"$work/difference" 2>&1; then
        echo "ok  $library has the ABI it is known to have"
    else
        cat "$work/difference"
        echo "NOT $library has the ABI it is known to have (on purpose? tests/abi/check_abi.sh --update)"
        wrong=1
    fi
}

check libcbm-client "$source/client/include/cbm.h"
check libcbm-core "$source"/lib/include/*.h
exit "$wrong"
