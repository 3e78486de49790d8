#!/usr/bin/env bash
# Boots a fresh root with systemd as a container, installs the packages of a directory there, and uses the service as an
# administrator and the users of a host would.
#
#     test_service.sh DIRECTORY_OF_PACKAGES [SUITE]
#
# As root, with debootstrap, systemd-nspawn and the mirror that this machine's apt is set to. Exit status 77: it cannot be done here.
set -euo pipefail
packages=$(realpath "$1")
here=$(dirname "$(realpath "${BASH_SOURCE[0]}")")
# shellcheck source=/dev/null
suite=${2:-$(. /etc/os-release && echo "$VERSION_CODENAME")}
work=$(mktemp -d)
root=$work/root
# shellcheck source=scripts/debian_root.sh
. "$here/../../scripts/debian_root.sh"
# shellcheck source=tests/package/container.sh
. "$here/container.sh"

leave() {
    local status=$?
    set +e
    stop_container
    rm -rf --one-file-system "$work"
    exit "$status"
}
trap leave EXIT

fail() {
    [[ -z $container_init ]] || in_container journalctl --no-pager --lines 40 --unit cbmd || true
    echo "NOT $*" >&2
    exit 1
}

# quietly WHAT COMMAND...: its output only when it fails
quietly() {
    local what=$1
    shift
    "$@" >"$work/log" 2>&1 </dev/null || { cat "$work/log"; fail "$what"; }
}

# eventually WHAT COMMAND...: within 30 s
eventually() {
    local what=$1
    shift
    for _ in $(seq 600); do
        if "$@" >"$work/log" 2>&1; then return 0; fi
        sleep 0.05
    done
    cat "$work/log"
    fail "$what"
}

outside() { chroot "$root" /usr/bin/env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin DEBIAN_FRONTEND=noninteractive LC_ALL=C "$@"; }
as() { in_container setpriv "--reuid=$1" "--regid=$1" --init-groups "${@:2}"; }
shown() { in_container systemctl show --property "$1" --value cbmd; }
is_active() { [[ $(shown ActiveState)/$(shown SubState) == active/running ]]; }
is_another() { is_active && [[ $(shown MainPID) != "$1" ]]; }
knows_after() { is_another "$1" && [[ $(in_container cbmctl states --json) =~ \"OPEN\" ]]; }

# status_of WANTED COMMAND...: its output in $work/log
status_of() {
    local wanted=$1 status=0
    shift
    "$@" >"$work/log" 2>&1 || status=$?
    [[ $status -eq $wanted ]] || { cat "$work/log"; fail "exit status $wanted of $*: $status"; }
}

make_root() {
    local package depends
    quietly "debootstrap $suite" make_debian_root "$suite" "$root"
    depends=$(for package in "$packages"/*.deb; do dpkg-deb -f "$package" Depends | tr ',' '\n'; done |
        sed 's/ *(.*//; s/|.*//; s/^ *//; s/:any//' | grep -Ev '^(cbm|libcbm-.*|python3-cbm)?$' | sort -u)
    quietly "apt-get update" outside apt-get -qq update
    # shellcheck disable=SC2086 # a list of names
    quietly "systemd, and what the packages depend on" outside apt-get -qq -y --no-install-recommends install systemd dbus $depends
    mkdir "$root/packages" "$root/etc/cbm"
    cp "$packages"/*.deb "$root/packages"
    quietly "users" outside sh -c 'groupadd operators && useradd plain && useradd member && useradd -G operators chief'
    # A call that the filter denies ends the broker, and is seen.
    mkdir -p "$root/etc/systemd/system/cbmd.service.d"
    printf '[Service]\nSystemCallErrorNumber=kill\n' >"$root/etc/systemd/system/cbmd.service.d/strict.conf"
    printf '[breaker "configured"]\nfailure_threshold = 3\n' >"$root/etc/cbm/cbm.conf"
    echo 'CBMD_OPTIONS=--config /etc/cbm/cbm.conf --admin-group operators' >"$root/etc/default/cbmd"
}

install_packages() { quietly "apt-get install of the packages" in_container sh -c "apt-get -qq -y --no-install-recommends $* install /packages/*.deb"; }

check_start() {
    install_packages
    is_active || fail "the packages start the service"
    [[ $(shown Type) == notify && $(shown StatusText) == listening* ]] || fail "the broker says that it serves"
    [[ $(shown UnitFileState) == enabled ]] || fail "the packages enable the service"
    quietly "members of the group" in_container sh -c 'usermod -aG cbm member && usermod -aG cbm chief'
    echo "ok  the packages start the service, which says that it is ready"
}

check_access() {
    status_of 77 as plain cbmctl ping
    grep -q "permission denied: /run/cbm/cbm.sock" "$work/log" || fail "whoever is not in the group is told why"
    status_of 0 as member cbmctl ping
    status_of 1 as member cbmctl run tripped failure_threshold=1 timeout_ms=3600000 -- false
    status_of 75 as member cbmctl run tripped -- true
    status_of 0 as member cbmctl get forced
    status_of 77 as member cbmctl force-open forced
    grep -q "admin-group" "$work/log" || fail "whoever is no administrator is told why"
    status_of 0 as chief cbmctl force-open forced
    echo "ok  other users connect as the group of the socket says, and administrators are told from others"
}

# More calls than the rate limit lets through as messages
check_memory() {
    quietly "calls in shared memory" as member python3 -c '
import json, subprocess
from cbm import get_circuit_breaker_manager
breaker = get_circuit_breaker_manager().get("remembered")
for number in range(5000):
    breaker.call(int)
users = json.loads(subprocess.run(["cbmctl", "stats", "--json"], stdout=subprocess.PIPE).stdout)["data"]["users"]
assert any(user["ledgers"] == 1 for user in users.values()), users'
    echo "ok  clients share memory with the broker in its sandbox"
}

# restarted_by WHAT COMMAND...: after it another broker serves, and knows what the one before knew
restarted_by() {
    local what=$1 pid begun=$SECONDS
    shift
    pid=$(shown MainPID)
    "$@" "$pid"
    eventually "another broker after $what" is_another "$pid"
    status_of 75 in_container cbmctl check tripped
    echo "ok  $what: another broker after $((SECONDS - begun)) s, in which the circuit is open"
}
restart() { quietly "systemctl restart" in_container systemctl restart cbmd; }
# shellcheck disable=SC2016 # the container's shell expands it
kill_with() { in_container sh -c 'kill "$@"' sh "$1" "$2"; }

check_restarts() {
    local directory round
    directory=$(in_container stat -c %i /run/cbm)
    restarted_by "systemctl restart" restart
    for round in 1 2 3 4 5 6 7 8; do restarted_by "kill -9, time $round" kill_with -KILL; done
    restarted_by "kill -STOP, and the watchdog" kill_with -STOP
    grep -q "Watchdog timeout" <(in_container journalctl --no-pager -o cat --unit cbmd) || fail "it was the watchdog"
    [[ $(in_container stat -c %i /run/cbm) == "$directory" ]] || fail "/run/cbm is the same directory as before"
}

is_configured() { [[ $(in_container cbmctl get configured --json) =~ \"failure_threshold\":\ ?$1[^0-9] ]]; }

check_configuration() {
    local pid
    pid=$(shown MainPID)
    is_configured 3 || fail "the config file holds"
    printf '[breaker "configured"]\nfailure_threshold = 4\n' >"$root/etc/cbm/cbm.conf"
    quietly "systemctl reload" in_container systemctl reload cbmd
    eventually "the config file is read again" is_configured 4
    [[ $(shown MainPID) == "$pid" ]] || fail "a reload is no restart"

    echo nonsense >"$root/etc/cbm/cbm.conf"
    status_of 1 in_container systemctl restart cbmd
    [[ $(shown ActiveState)/$(shown ExecMainStatus) == failed/78 ]] || fail "a wrong config file is for people to mend"
    : >"$root/etc/cbm/cbm.conf"
    quietly "start with a right config file" in_container systemctl start cbmd
    echo "ok  the config file is read again by systemctl reload, and a wrong one ends the service"
}

check_journal() {
    in_container journalctl --no-pager -o cat --unit cbmd >"$work/journal"
    grep -q "event=listening" "$work/journal" || fail "the broker's log is in the journal"
    if grep -E 'SYS|Unknown|unset|gnoring|denied|not supported' "$work/journal"; then
        fail "nothing was denied, and nothing of the unit not understood"
    fi
    echo "ok  the broker's log is in the journal, and nothing that was denied"
}

check_stop() {
    quietly "systemctl stop" in_container systemctl stop cbmd
    [[ $(shown Result) == success && ! -e /proc/$container_init/root/run/cbm ]] || fail "a stop leaves nothing in /run"
    in_container python3 -c '
import sqlite3
print(*sqlite3.connect("/var/lib/cbm/cbm.db").execute("SELECT boot, boot_name FROM manager").fetchone())' >"$work/boot"
    # Not by the name that the container has: a service with a /proc of its own sees the host's.
    [[ $(<"$work/boot") =~ ^1\ [0-9a-f]{8}- ]] || fail "all was one boot, whose name is known: $(<"$work/boot")"
    quietly "systemctl start" in_container systemctl start cbmd
    echo "ok  a stop leaves nothing in /run, and the broker knows a restart from a reboot"
}

remove() { quietly "apt-get $1" in_container apt-get -qq -y "$1" cbm; }

check_packages() {
    local pid
    pid=$(shown MainPID)
    install_packages --reinstall
    knows_after "$pid" || fail "an upgrade restarts the broker, which keeps its circuits"
    remove remove
    install_packages
    knows_after "$pid" || fail "removed and installed again, it is started, and knows its circuits"
    quietly "systemctl disable" in_container systemctl disable --now cbmd
    install_packages --reinstall
    [[ $(shown ActiveState)/$(shown UnitFileState) == inactive/disabled ]] || fail "who disabled it has it disabled after an upgrade"
    quietly "systemctl enable" in_container systemctl enable --now cbmd
    remove purge
    [[ $(shown LoadState) == not-found || $(shown FragmentPath) == "" ]] || fail "the unit is gone"
    [[ ! -e $root/var/lib/cbm && ! -e /proc/$container_init/root/run/cbm ]] || fail "what the broker kept is gone"
    if grep '^cbm:' "$root/etc/passwd" "$root/etc/group"; then fail "user and group are gone"; fi
    [[ ! -L $root/etc/systemd/system/multi-user.target.wants/cbmd.service ]] || fail "it is not wanted any more"
    echo "ok  upgrade, removal, a service that was disabled, and purge"
}

if ! command -v systemd-nspawn >/dev/null; then
    echo "not run: there is no systemd-nspawn"
    exit 77
fi
make_root
if ! boot_container "$root" "$work/boot.log"; then
    tail -n 5 "$work/boot.log"
    echo "not run: no container can be booted here"
    exit 77
fi
check_start
check_access
check_memory
check_restarts
check_configuration
check_journal
check_stop
check_packages
