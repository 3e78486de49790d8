# shellcheck shell=bash
# A root with systemd, booted as a container of systemd-nspawn. Sourced; needs nothing of this machine's own service manager.

container_pid=   # systemd-nspawn
container_init=  # the container's systemd
container_name=cbm-service-$$
container_groups=()

# Without a service manager here, nspawn makes its control groups where it runs: in one of its own, which can be removed.
make_control_group() {
    local mounted
    [[ ! -d /run/systemd/system ]] || return 0
    while read -r mounted; do
        if mkdir "$mounted/$container_name" 2>/dev/null; then container_groups+=("$mounted/$container_name"); fi
    done < <(awk '$3 == "cgroup2" || ($3 == "cgroup" && $4 ~ /name=systemd/) {print $2}' /proc/mounts)
}

# nspawn ROOT: never returns
nspawn() {
    local group
    local -a options=(--quiet --boot "--machine=$container_name" --console=pipe "--directory=$1")
    for group in "${container_groups[@]}"; do echo "$BASHPID" >"$group/cgroup.procs"; done
    [[ -d /run/systemd/system ]] || options+=(--register=no --keep-unit)
    export SYSTEMD_NSPAWN_UNIFIED_HIERARCHY=1
    exec systemd-nspawn "${options[@]}"
}

in_container() {
    nsenter --target "$container_init" --all -- /usr/bin/env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C \
        DEBIAN_FRONTEND=noninteractive "$@"
}

container_is_up() {
    container_init=$(awk '{print $1}' "/proc/$container_pid/task/$container_pid/children")
    [[ -n $container_init && $(in_container systemctl is-system-running 2>/dev/null) =~ ^(running|degraded)$ ]]
}

# boot_container ROOT LOG: false where it cannot be done
boot_container() {
    command -v systemd-nspawn >/dev/null || return 1
    make_control_group
    (nspawn "$1") >"$2" 2>&1 </dev/null &
    container_pid=$!
    for _ in $(seq 600); do
        kill -0 "$container_pid" 2>/dev/null || return 1
        if container_is_up; then return 0; fi
        sleep 0.1
    done
    return 1
}

stop_container() {
    local group
    if [[ -n $container_pid ]]; then
        kill "$container_pid" 2>/dev/null
        for _ in $(seq 200); do
            kill -0 "$container_pid" 2>/dev/null || break
            sleep 0.1
        done
        kill -KILL "$container_pid" 2>/dev/null
        wait "$container_pid" 2>/dev/null
        container_pid=
    fi
    for group in "${container_groups[@]}"; do find "$group" -depth -type d -exec rmdir {} \; 2>/dev/null; done
    container_groups=()
    rmdir "/run/systemd/nspawn/propagate/$container_name" 2>/dev/null
    return 0
}
