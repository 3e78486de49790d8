# shellcheck shell=bash
# What each command of ./dev needs, and how to get it. Sourced by ./dev.
#
# A requirement is a line: package on Debian 12 | package on Debian 13 | probe. The probe says whether it is there, however it
# came there: command:NAME, header:FILE (below an include directory), fuzzer (clang's run-time libraries), python-headers,
# python-module:NAME (of the system's Python).

requirements_of() {
    case $1 in
    build)
        cat <<'LIST'
gcc|gcc|command:gcc
libc6-dev|libc6-dev|header:stdlib.h
cmake|cmake|command:cmake
ninja-build|ninja-build|command:ninja
pkg-config|pkg-config|command:pkg-config
libnng-dev|libnng-dev|header:nng/nng.h
libmsgpack-dev|libmsgpack-c-dev|header:msgpack.h
uthash-dev|uthash-dev|header:uthash.h
libjansson-dev|libjansson-dev|header:jansson.h
libinih-dev|libinih-dev|header:ini.h
libsqlite3-dev|libsqlite3-dev|header:sqlite3.h
LIST
        ;;
    demo)
        cat <<'LIST'
curl|curl|command:curl
jq|jq|command:jq
nng-utils|nng-utils|command:nngcat
python3|python3|command:python3
LIST
        ;;
    test)
        requirements_of demo
        requirements_of package
        requirements_of package-test
        cat <<'LIST'
clang|clang|command:clang
libclang-rt-14-dev|libclang-rt-dev|fuzzer
libcriterion-dev|libcriterion-dev|header:criterion/criterion.h
gunicorn|gunicorn|command:gunicorn
mypy|mypy|command:mypy
LIST
        ;;
    fuzz)
        cat <<'LIST'
clang|clang|command:clang
libclang-rt-14-dev|libclang-rt-dev|fuzzer
libcriterion-dev|libcriterion-dev|header:criterion/criterion.h
LIST
        ;;
    bench)
        cat <<'LIST'
libhiredis-dev|libhiredis-dev|header:hiredis/hiredis.h
redis-server|valkey-server|redis
python3-dev|python3-dev|python-headers
python3|python3|command:python3
LIST
        ;;
    bench-peers)
        cat <<'LIST'
nodejs|nodejs|command:node
npm|npm|command:npm
python3-circuitbreaker|python3-circuitbreaker|python-module:circuitbreaker
LIST
        ;;
    package)
        cat <<'LIST'
scdoc|scdoc|command:scdoc
lintian|lintian|command:lintian
dpkg-dev|dpkg-dev|command:dpkg-shlibdeps
file|file|command:file
python3-dev|python3-dev|python-headers
LIST
        ;;
    package-test)
        cat <<'LIST'
debootstrap|debootstrap|command:debootstrap
abigail-tools|abigail-tools|command:abidiff
LIST
        ;;
    matrix)
        cat <<'LIST'
debootstrap|debootstrap|command:debootstrap
git|git|command:git
LIST
        ;;
    matrix-service)
        cat <<'LIST'
systemd-container|systemd-container|command:systemd-nspawn
LIST
        ;;
    lint)
        cat <<'LIST'
clang-format|clang-format|command:clang-format
cppcheck|cppcheck|command:cppcheck
shellcheck|shellcheck|command:shellcheck
python3|python3|command:python3
LIST
        ;;
    esac
}

# The runtime library of libFuzzer lies where clang looks for its own.
fuzzer_runtime_is_there() {
    command -v clang >/dev/null && compgen -G "$(clang -print-resource-dir)/lib/*/libclang_rt.fuzzer*.a" >/dev/null
}

header_is_there() {
    local directory
    for directory in /usr/include /usr/local/include /usr/include/*-linux-gnu /opt/homebrew/include; do
        [[ -e $directory/$1 ]] && return 0
    done
    return 1
}

is_there() {
    case $1 in
    command:*) command -v "${1#command:}" >/dev/null ;;
    header:*) header_is_there "${1#header:}" ;;
    fuzzer) fuzzer_runtime_is_there ;;
    python-headers) compgen -G "/usr/include/python3*/Python.h" >/dev/null ;;
    python-module:*) /usr/bin/python3 -c "import ${1#python-module:}" 2>/dev/null ;;
    redis) command -v redis-server >/dev/null || command -v valkey-server >/dev/null ;;
    *) false ;;
    esac
}

# debian_release: "12", "13", or nothing where this is neither
debian_release() {
    local id version
    [[ -r /etc/os-release ]] || return 0
    # shellcheck source=/dev/null
    id=$(. /etc/os-release && echo "${ID:-}")
    # shellcheck source=/dev/null
    version=$(. /etc/os-release && echo "${VERSION_ID:-}")
    if [[ $id == debian && ($version == 12 || $version == 13) ]]; then
        echo "$version"
    fi
}

# missing_packages COMMAND...: what these commands of ./dev need and is not there, a package a line, by RELEASE's names
missing_packages() {
    local release=$1 name12 name13 probe topic
    shift
    for topic in "$@"; do
        while IFS='|' read -r name12 name13 probe; do
            if ! is_there "$probe"; then
                if [[ $release == 13 ]]; then echo "$name13"; else echo "$name12"; fi
            fi
        done < <(requirements_of "$topic")
    done | sort -u
}

# need COMMAND...: what these commands of ./dev need is there afterwards, or the script has stopped.
need() {
    local release
    local -a missing
    release=$(debian_release)
    readarray -t missing < <(missing_packages "$release" "$@")
    [[ ${#missing[@]} -gt 0 ]] || return 0

    if [[ -z $release ]]; then
        say "missing: ${missing[*]}"
        die "install these (the names are Debian 12's) and run ./dev again: only Debian 12 and 13 are set up by itself"
    fi
    if [[ $(id -u) -ne 0 ]]; then
        say "missing: ${missing[*]}"
        die "run as root once, or: sudo apt-get install --no-install-recommends ${missing[*]}"
    fi
    say "installing from Debian $release: ${missing[*]}"
    install_packages "${missing[@]}" || die "apt-get could not install them"
}

# wish COMMAND...: likewise, but what cannot be had is named, and done without. One by one: a missing one spoils no other.
wish() {
    local release package
    local -a missing
    release=$(debian_release)
    readarray -t missing < <(missing_packages "$release" "$@")
    for package in "${missing[@]}"; do
        if [[ -z $release || $(id -u) -ne 0 ]]; then
            say "going without $package, which is not installed"
        elif say "installing from Debian $release: $package" && ! install_packages "$package"; then
            say "going without $package, which cannot be installed"
        fi
    done
}

install_packages() {
    local log
    log=$(mktemp)
    export DEBIAN_FRONTEND=noninteractive
    # A machine in use may have apt running by itself: wait for its lock rather than fail.
    local -a options=(-qq -y -o DPkg::Lock::Timeout=120 -o Acquire::Retries=3 -o Dpkg::Use-Pty=0)
    if ! { apt-get "${options[@]}" update && apt-get "${options[@]}" install --no-install-recommends "$@"; } >"$log" 2>&1
    then
        cat "$log" >&2
        rm -f "$log"
        return 1
    fi
    rm -f "$log"
}
