#!/usr/bin/env bash
# Installs BUILD_DIRECTORY into a directory of its own and builds and runs programs against it, with pkg-config and with CMake.
#
#     test_install.sh BUILD_DIRECTORY
set -euo pipefail
build=$(realpath "$1")
here=$(dirname "$(realpath "${BASH_SOURCE[0]}")")
root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT
cc=${CC:-cc}

fail() {
    echo "NOT $*" >&2
    exit 1
}

DESTDIR=$root/tree cmake --install "$build" >"$root/install.log" || { cat "$root/install.log"; fail "cmake --install"; }
pc=$(find "$root/tree" -name cbm-client.pc)
[[ -n $pc ]] || fail "cbm-client.pc is not installed"
libraries=$(dirname "$(dirname "$pc")")
prefix=$(dirname "$(dirname "$(find "$root/tree" -name cbm.h)")")
export LD_LIBRARY_PATH=$libraries

for file in "$prefix"/bin/{cbmd,cbmctl} "$prefix"/include/{cbm,cbm_core}.h \
    "$libraries"/libcbm-{client,core}.{a,so,so.0}; do
    [[ -e $file ]] || fail "installed: ${file#"$root/tree"}"
done
echo "ok  headers, libraries and programs are installed"

links=0
while IFS=: read -r document target; do
    links=$((links + 1))
    [[ -e $(dirname "$document")/$target ]] || fail "${document#"$root/tree"} points to what is installed: $target"
done < <(find "$prefix/share/doc/cbm" -name '*.md' -exec grep -HoP '\]\(\K[^)#:]+(?=\))' {} +)
[[ $links -gt 5 ]] || fail "installed documents point to each other: $links links"
echo "ok  the links of the installed documents lead somewhere"

# What a program could bind to beside the contract would have to be kept for ever.
for library in client:cbm_ core:cbm_core_; do
    strangers=$(nm -D --defined-only "$libraries/libcbm-${library%:*}.so" | awk '$2 != "A" {print $3}' |
        grep -v "^${library#*:}" || true)
    [[ -z $strangers ]] || fail "libcbm-${library%:*} exports nothing but its own names: $strangers"
done
if nm -D --defined-only "$libraries/libcbm-client.so" | grep ' cbm_core_\| cbm_proto_'; then
    fail "libcbm-client exports nothing of lib and proto"
fi
echo "ok  the libraries export their own names alone"

# Without LD_LIBRARY_PATH: whatever the prefix, they find the libraries beside them.
env -u LD_LIBRARY_PATH "$prefix/bin/cbmctl" --version >/dev/null || fail "the installed cbmctl runs"
env -u LD_LIBRARY_PATH "$prefix/bin/cbmd" --version >/dev/null || fail "the installed cbmd runs"
if ldd "$libraries/libcbm-client.so" | grep 'nng\|jansson'; then
    fail "libcbm-client needs neither NNG nor jansson"
fi
echo "ok  the installed programs start"

# The tree is not where it was configured for: its .pc files know by their own place.
export PKG_CONFIG_PATH=$libraries/pkgconfig
for program in client core; do
    read -r -a flags < <(pkg-config --cflags --libs "cbm-$program")
    "$cc" -std=c11 -pedantic -Wall -Wextra -Werror -o "$root/pc-$program" "$here/$program.c" "${flags[@]}"
    "$root/pc-$program"
    echo "ok  a program built with pkg-config cbm-$program runs"
done
read -r -a flags < <(pkg-config --static --cflags --libs cbm-client | sed 's/-lcbm-client/-l:libcbm-client.a/')
"$cc" -std=c11 -o "$root/static-client" "$here/client.c" "${flags[@]}"
env -u LD_LIBRARY_PATH "$root/static-client"
echo "ok  a program linked with libcbm-client.a runs"
unset PKG_CONFIG_PATH

# The tree may be moved: the package must not know the place it was configured for.
mkdir "$root/project"
cp "$here"/*.c "$here/CMakeLists.txt" "$root/project"
cmake -S "$root/project" -B "$root/project/build" -G Ninja -DCMAKE_C_COMPILER="$cc" -DCMAKE_PREFIX_PATH="$prefix" \
    >"$root/cmake.log" 2>&1 || { cat "$root/cmake.log"; fail "find_package(cbm)"; }
cmake --build "$root/project/build" >"$root/cmake.log" 2>&1 || { cat "$root/cmake.log"; fail "build with cbm::client"; }
for program in client core; do
    "$root/project/build/$program"
    echo "ok  a program built with find_package(cbm) and cbm::$program runs"
done
