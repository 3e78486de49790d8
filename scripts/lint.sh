#!/usr/bin/env bash
# Format, static checks and the rules of the house, over every file of the tree.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 1

readonly longest_file=520
# Longer than that, and why:
declare -A -r long_for_a_reason=()

failures=0
list_files() {
    if ! git ls-files --cached --others --exclude-standard 2>/dev/null; then
        # No git, or not its tree: everything that is no product.
        find . -type f -not -path './.git/*' -not -path './build/*' -printf '%P\n'
    fi
}
readarray -t files < <(list_files | while read -r file; do
    [[ ! -f $file ]] || echo "$file"
done)
if [[ ${#files[@]} -eq 0 ]]; then
    echo "lint: no files found" >&2
    exit 1
fi

matching() { printf '%s\n' "${files[@]}" | grep -E "$1" || true; }

result() {
    local name=$1 output=$2
    if [[ -z $output ]]; then
        echo "ok   $name"
    else
        echo "NOT  $name"
        printf '%s\n' "$output" | sed 's/^/    | /'
        failures=$((failures + 1))
    fi
}

readarray -t c_files < <(matching '\.[ch]$')
readarray -t c_sources < <(matching '^(lib|proto|server|client|bindings|bench|demo|tests)/.*\.c$')
readarray -t shell_files < <(matching '\.sh$|^dev$|^\.ci/run$')

# Each version of these judges a little otherwise: those of Debian 12 decide, others only advise.
decide() {
    local name=$1 version=$2 deciding=$3 output=$4
    if [[ $version == "$deciding"* ]]; then
        result "$name" "$output"
    elif [[ -n $output ]]; then
        echo "    $name $version has something to say; $deciding decides:"
        head -n 20 <<<"$output" | sed 's/^/    | /'
    fi
}

check_format() {
    decide "clang-format" "$(clang-format --version | sed -E 's/.*version ([0-9.]+).*/\1/')" 14. \
        "$(clang-format --dry-run -Werror "${c_files[@]}" 2>&1 | grep ': error:' | cut -d: -f1 | uniq -c |
            sed 's|$|: ./dev format mends it|')"
}

check_cppcheck() {
    decide "cppcheck" "$(cppcheck --version | sed 's/Cppcheck //')" 2.10 \
        "$(cppcheck --quiet --std=c11 --language=c --enable=warning,performance,portability \
            --inline-suppr --suppress=missingInclude --suppress=missingIncludeSystem --suppress=unknownMacro \
            --suppress=returnImplicitInt --library=scripts/cppcheck.cfg \
            --template='{file}:{line}: {severity}: {message} [{id}]' -j "$(nproc)" -D_GNU_SOURCE -D__linux__ \
            -Ilib/include -Ilib -Iproto -Iserver -Iclient/include -Iclient -Ibindings/python/src -Itests -Itests/e2e "${c_sources[@]}" 2>&1 |
            grep -v ': information: ')"
}

check_shellcheck() { result "shellcheck" "$(shellcheck -x "${shell_files[@]}" 2>&1)"; }

check_python() {
    local file output=
    while read -r file; do
        [[ -z $file ]] || output+=$(python3 -c 'import ast, sys; ast.parse(open(sys.argv[1]).read(), sys.argv[1])' "$file" 2>&1)
    done < <(matching '\.py$')
    result "python parses" "$output"
}

# includes_of FOLDER: "FILE:LINE:HEADER" of its own sources
includes_of() {
    local file
    while read -r file; do
        [[ -z $file ]] || grep -HnoE '^ *# *include +"[^"]+"' "$file"
    done < <(matching "^$1/.*\.[ch]$") | sed -E 's/# *include +"([^"]+)"/\1/'
}

# has_header FOLDER HEADER: the folder owns a header of that name
has_header() {
    # Not grep -q: it would end before printf does, and pipefail makes that a no.
    printf '%s\n' "${files[@]}" | grep -E "^$1/(.*/)?$(basename "$2" | sed 's/\./\\./g')\$" >/dev/null
}

# server -> proto -> lib <- proto <- client; server and client never meet.
check_arrows() {
    local rule from to file line header output=
    for rule in lib:proto lib:server lib:client proto:server proto:client server:client client:server; do
        from=${rule%:*} to=${rule#*:}
        while IFS=: read -r file line header; do
            header=${header// /}
            # A name of its own folder is meant first.
            if has_header "$to" "$header" && ! has_header "$from" "$header"; then
                output+="$file:$line: $from includes $header of $to"$'\n'
            fi
        done < <(includes_of "$from")
    done
    result "includes point down only" "${output%$'\n'}"
}

# lib has no clock, no thread, no lock, no I/O.
check_lib_is_pure() {
    local forbidden='<(pthread|threads|time|sys/.*|unistd|fcntl|poll|stdio|stdatomic|msgpack|nng/.*|jansson)\.h>'
    local output
    # snprintf and the like live in stdio.h; what reads or writes does not belong here.
    output=$(matching '^lib/.*\.[ch]$' | xargs -r grep -nE "#include $forbidden" | grep -v 'stdio\.h')
    output+=$(matching '^lib/.*\.[ch]$' |
        xargs -r grep -nE '\b(printf|fprintf|fopen|fwrite|puts|open|read|write|clock_gettime|time|pthread_[a-z_]+)\(' |
        grep -vE '^\S+:\s*(/?\*|//)')
    result "lib does no I/O and has no clock" "$output"
}

check_length() {
    local file lines output=
    while read -r file; do
        [[ -n $file && -z ${long_for_a_reason[$file]:-} ]] || continue
        lines=$(wc -l <"$file")
        if [[ $lines -gt $longest_file ]]; then output+="$file: $lines lines"$'\n'; fi
    done < <(matching '\.(c|h|def|py|sh|cmake)$|CMakeLists\.txt$|^dev$')
    result "no file over $longest_file lines" "${output%$'\n'}"
}

check_whitespace() {
    result "no trailing white space" "$(printf '%s\n' "${files[@]}" | grep -E '\.(c|h|def|py|sh|md|cmake|txt|in)$|^dev$' |
        xargs -r grep -nE '[[:space:]]+$')"
}

check_format
check_whitespace
check_length
check_arrows
check_lib_is_pure
check_shellcheck
check_python
check_cppcheck
if [[ $failures -gt 0 ]]; then
    echo "lint: $failures checks failed"
    exit 1
fi
echo "lint: all checks passed"
