#!/usr/bin/env bash
# Installs the packages of a directory into a fresh root, uses them there, and removes them again.
#
#     test_package.sh DIRECTORY_OF_PACKAGES
#
# As root, with debootstrap and the mirror that this machine's apt is set to.
set -euo pipefail
packages=$(realpath "$1")
here=$(dirname "$(realpath "${BASH_SOURCE[0]}")")
work=$(mktemp -d)
root=$work/root
broker=

# Whatever happens, nothing stays mounted or running.
leave() {
    local status=$?
    [[ -z $broker ]] || kill "$broker" 2>/dev/null || true
    umount -l "$root/proc" 2>/dev/null || true
    rm -rf --one-file-system "$work"
    exit "$status"
}
trap leave EXIT

fail() {
    echo "NOT $*" >&2
    exit 1
}

inside() { chroot "$root" /usr/bin/env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin DEBIAN_FRONTEND=noninteractive LC_ALL=C "$@"; }

# quietly WHAT COMMAND...: its output only when it fails
quietly() {
    local what=$1
    shift
    "$@" >"$work/log" 2>&1 </dev/null || { cat "$work/log"; fail "$what"; }
}

# All but what apt and dpkg keep of everything that was ever installed.
files_of_root() {
    (cd "$root" && find . -xdev | sort | grep -Ev '^\./(proc|tmp|root|var/(cache|log)|var/lib/(dpkg|apt)|etc/(ld\.so\.cache|g?shadow-?|group-?|passwd-?)|run)(/|$)')
}

# shellcheck source=/dev/null
suite=$(. /etc/os-release && echo "$VERSION_CODENAME")
# shellcheck source=scripts/debian_root.sh
. "$here/../../scripts/debian_root.sh"
quietly "debootstrap $suite" make_debian_root "$suite" "$root"
mount -t proc proc "$root/proc"
mkdir "$root/packages"
cp "$packages"/*.deb "$root/packages"
quietly "apt-get update" inside apt-get -qq update

# What they depend on comes first, so that what is left at the end is theirs.
depends=$(for package in "$root"/packages/*.deb; do dpkg-deb -f "$package" Depends | tr ',' '\n'; done |
    sed 's/ *(.*//; s/|.*//; s/^ *//; s/:any//' | grep -Ev '^(cbm|libcbm-.*|python3-cbm)?$' | sort -u)
# shellcheck disable=SC2086 # a list of names
quietly "what the packages depend on" inside apt-get -qq -y --no-install-recommends install $depends
files_of_root >"$work/before"
quietly "apt-get install of the packages" inside sh -c 'apt-get -qq -y --no-install-recommends install /packages/*.deb'
echo "ok  the packages install into a fresh root: $(cd "$packages" && echo *.deb)"

getent -s files group cbm >/dev/null || grep -q '^cbm:' "$root/etc/group" || fail "the group cbm was made"
[[ -e $root/usr/share/man/man8/cbmd.8.gz && -e $root/usr/share/man/man1/cbmctl.1.gz ]] || fail "manual pages are there"
unit=$(find "$root/usr/lib/systemd" "$root/lib/systemd" -name cbmd.service 2>/dev/null | head -n 1)
[[ -n $unit ]] || fail "the unit is there"
program=$(sed -n 's/^ExecStart=\([^ ]*\).*/\1/p' "$unit")
inside sh -c "command -v $program" >/dev/null || fail "the unit starts a program that there is: $program"
user=$(sed -n 's/^User=//p' "$unit")
grep -q "^$user:" "$root/etc/passwd" || fail "the unit's user $user was made"
[[ -L $root/etc/systemd/system/multi-user.target.wants/cbmd.service ]] || fail "the unit is enabled"
echo "ok  unit, manual pages, user and group are there"

while IFS=: read -r document target; do
    [[ -e $(dirname "$document")/$target ]] || fail "${document#"$root"} points to what is installed: $target"
done < <(grep -HoP '\]\(\K[^)#:]+(?=\))' "$root"/usr/share/doc/cbm/*.md)
echo "ok  the links of the installed documents lead somewhere"

mkdir -p "$root/run/cbm"
# Itself the child of this shell, so that it can be told to stop and be waited for.
exec 3>"$work/ready"
chroot "$root" /usr/bin/cbmd --no-store --ready-fd 3 >"$work/cbmd.log" 2>&1 &
broker=$!
exec 3>&-
for _ in $(seq 200); do
    [[ -s $work/ready ]] && break
    kill -0 "$broker" || { cat "$work/cbmd.log"; fail "cbmd goes on"; }
    sleep 0.05
done
quietly "cbmctl ping" inside cbmctl ping
status=0
inside cbmctl run packaged failure_threshold=1 -- false || status=$?
[[ $status -eq 1 ]] || fail "cbmctl run has the command's status: $status"
status=0
inside cbmctl run packaged -- true >"$work/log" 2>&1 || status=$?
[[ $status -eq 75 ]] || fail "the circuit is open: $status"
echo "ok  cbmd and cbmctl work in it"

# The compiler is this machine's; headers, library and what runs are the packages'.
libraries=$(dirname "$(find "$root/usr/lib" -name libcbm-client.so)")
"${CC:-cc}" -std=c11 -Wall -Werror -o "$root/tmp/linked" "$here/linked.c" "-I$root/usr/include" "-L$libraries" -lcbm-client \
    "-Wl,-rpath-link,$libraries" -Wl,--allow-shlib-undefined
[[ $(inside /tmp/linked) == "packaged: 75 open" ]] || fail "a program linked with libcbm-client-dev uses that broker"
echo "ok  a program linked against libcbm-client-dev runs"

if [[ -d $root/usr/lib/python3/dist-packages/cbm ]]; then
    answer=$(inside python3 -c '
from cbm import get_circuit_breaker_manager
print(get_circuit_breaker_manager().get("packaged").state.value)')
    [[ ${answer,,} == open ]] || fail "Python sees the same breaker: $answer"
    echo "ok  python3-cbm works in it"
fi

kill "$broker"
wait "$broker" || fail "cbmd stops cleanly"
broker=
rm -rf "$root/run/cbm" "$root/tmp/linked"
names=$(for package in "$packages"/*.deb; do dpkg-deb -f "$package" Package; done)
# shellcheck disable=SC2086 # a list of names
quietly "apt-get purge of the packages" inside apt-get -qq -y purge $names
files_of_root >"$work/after"
if ! diff "$work/before" "$work/after"; then
    fail "nothing is left of them"
fi
if grep -q '^cbm:' "$root/etc/group" "$root/etc/passwd"; then
    fail "user and group are gone"
fi
echo "ok  removed, they leave nothing behind"
