# shellcheck shell=bash
# Fresh Debian roots, from the mirror that this machine's apt is set to. Sourced.

# debian_mirror SUITE: where this machine gets that release from, or any release
debian_mirror() {
    # shellcheck disable=SC2016 # apt fills these in
    local format='$(REPO_URI) $(CODENAME)' uri
    uri=$(apt-get indextargets --format "$format" 'Created-By: Packages' | awk -v suite="$1" '$2 == suite {print $1; exit}')
    if [[ -z $uri ]]; then
        uri=$(apt-get indextargets --format "$format" 'Created-By: Packages' | awk '$2 !~ /security|updates|backports/ {print $1; exit}')
    fi
    [[ -n $uri ]] || return 1
    echo "$uri"
}

# make_debian_root SUITE DIRECTORY
make_debian_root() {
    local suite=$1 root=$2 mirror file
    mirror=$(debian_mirror "$suite") || { echo "apt knows no mirror" >&2; return 1; }
    debootstrap --variant=minbase "$suite" "$root" "$mirror" || return 1
    echo "deb $mirror $suite main" >"$root/etc/apt/sources.list"
    # What the way to the mirror needs here: proxies and the like. Not what throws away what was fetched, nor what a package of this
    # machine brought, which the same package would ask about there.
    for file in /etc/apt/apt.conf /etc/apt/apt.conf.d/*; do
        if [[ -f $file && $file != *docker* ]] && ! dpkg -S "$file" >/dev/null 2>&1; then cp "$file" "$root${file}"; fi
    done
    for file in /etc/hosts /etc/resolv.conf; do
        if [[ -e $file ]]; then cp "$file" "$root$file"; fi
    done
}
