#!/usr/bin/env bash
# matrix.sh [SUITE...]: makes a fresh root of each Debian release, and in it runs ./dev test, which builds, tests, packages, and
# installs the packages in a root of their own; then tests/package/test_service.sh with these packages, where a container can be
# booted. As root. The roots go to build/matrix (CBM_MATRIX_DIRECTORY).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=scripts/debian_root.sh
. scripts/debian_root.sh

[[ $# -gt 0 ]] || set -- bookworm trixie
directory=${CBM_MATRIX_DIRECTORY:-$PWD/build/matrix}
mkdir -p "$directory" build/logs
root=

leave() {
    [[ -z $root ]] || umount -l "$root/proc" "$root/sys" "$root/dev" 2>/dev/null || true
}
trap leave EXIT

# test_service SUITE ROOT LOG: sets `service` to what is to be said of it
test_service() {
    local status=0 output=$3.service
    tests/package/test_service.sh "$2/source/cbm/build/package" "$1" >"$output" 2>&1 </dev/null || status=$?
    case $status in
    0) service="the service works ($(grep -c '^ok ' "$output") checks)" ;;
    77) service="the service was $(tail -n 1 "$output")" ;;
    *) service="the service FAILED: $(tail -n 1 "$output")" ;;
    esac
    cat "$output" >>"$3"
    rm -f "$output"
    [[ $status -eq 0 || $status -eq 77 ]]
}

# run_in SUITE: its output goes to build/logs/matrix-SUITE.log
run_in() {
    local suite=$1 begun=$SECONDS status=0 log=$PWD/build/logs/matrix-$1.log
    root=$directory/$suite
    if mountpoint -q "$root/dev"; then
        echo "matrix: $root is in use" >&2
        return 1
    fi
    rm -rf --one-file-system "$root"
    if ! make_debian_root "$suite" "$root" >"$log" 2>&1; then
        tail -n 20 "$log"
        return 1
    fi
    local made_s=$((SECONDS - begun))
    mkdir "$root/source"
    git clone -q "$PWD" "$root/source/cbm"
    mount -t proc proc "$root/proc"
    mount --rbind /sys "$root/sys"
    mount --rbind /dev "$root/dev"
    mount --make-rslave "$root/sys"
    mount --make-rslave "$root/dev"
    chroot "$root" /usr/bin/env -i HOME=/root PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C.UTF-8 CI=true \
        bash -c 'cd /source/cbm && ./dev test' >>"$log" 2>&1 </dev/null || status=$?
    local result service
    result=$(tail -n 1 "$log")
    leave
    test_service "$suite" "$root" "$log" || status=1
    root=
    printf '%-9s %s; %s; root made in %d s, %d s in all; %s\n' "$suite" "$result" "$service" "$made_s" $((SECONDS - begun)) "$log"
    rm -rf --one-file-system "${directory:?}/$suite"
    return "$status"
}

failed=0
for suite in "$@"; do
    run_in "$suite" || failed=1
done
exit "$failed"
