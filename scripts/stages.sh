# shellcheck shell=bash
# The stages of ./dev test and what ./dev fuzz and soak share with them. Sourced by ./dev.
#
# A stage is a function that builds and runs something. Its output goes to build/logs/NAME.log and is shown only
# when it fails. The number of tests it ran goes to build/logs/NAME.count as "PASSED FAILED".

readonly logs=build/logs
# What tests of faults print of what they did
readonly figures='(figures: |[0-9]+ kills|kills [0-9]+, trips).*'
stage_rows=()
total_passed=0
total_failed=0

# add_count NAME PASSED FAILED
add_count() {
    local passed=0 failed=0
    [[ ! -f $logs/$1.count ]] || read -r passed failed <"$logs/$1.count"
    echo "$((passed + $2)) $((failed + $3))" >"$logs/$1.count"
}

# run_ctest STAGE PRESET [ctest options]: a stage in which no test runs has failed
run_ctest() {
    local stage=$1 preset=$2 status=0 passed failed
    local junit=$PWD/$logs/$stage.xml
    shift 2
    rm -f "$junit"
    "${launcher[@]}" ctest --preset "$preset" --output-junit "$junit" --test-output-size-passed 100000 \
        --test-output-size-failed 1000000 "$@" || status=$?
    if read -r passed failed < <(python3 scripts/count_tests.py "$junit"); then
        add_count "$stage" "$passed" "$failed"
    fi
    [[ ! -f $junit ]] || grep -oE "$figures" "$junit" || true
    return "$status"
}

# The sanitizers' shadow memory needs its addresses: on a kernel that randomises more bits than they were written for they stop
# at once or crash. Sets `launcher` to what makes PRESET's programs start.
choose_launcher() {
    local compiler=$1 flags=$2 probe=$logs/probe attempt
    launcher=()
    echo 'int main(void) { return 0; }' >"$probe.c"
    "$compiler" "-fsanitize=$flags" -o "$probe" "$probe.c"
    # Randomised addresses: it may start by luck. Ten in a row is no luck.
    for attempt in 1 2 3 4 5 6 7 8 9 10; do
        if ! "$probe" >/dev/null 2>&1; then
            echo "a program with -fsanitize=$flags did not start (attempt $attempt): using setarch -R"
            launcher=(setarch "$(uname -m)" -R)
            "${launcher[@]}" "$probe"
            return
        fi
    done
}
launcher=()

stage_release() {
    rm -f "$logs/release.built"
    configure_and_build release
    touch "$logs/release.built"
    run_ctest release release --label-exclude '^tree$'
}

# One of the tests of the whole tree, on what stage_release built
run_tree_test() {
    if [[ ! -f $logs/release.built ]]; then
        echo "not run: the release build failed"
        return 1
    fi
    run_ctest "$1" release --tests-regex "^$1\$"
}
stage_install() { run_tree_test install; }
stage_man() { run_tree_test man; }
stage_readme() { run_tree_test readme; }
stage_demo() { run_tree_test demo; }

# make_packages: into build/package
make_packages() {
    configure_and_build package
    rm -f build/package/*.deb
    (cd build/package && cpack -G DEB)
    # What Debian calls an error is one here; its warnings are read by people.
    lintian --allow-root --fail-on error build/package/*.deb
}

stage_package() {
    make_packages
    tests/abi/check_abi.sh build/package
    add_count package 2 0
    if [[ $(id -u) -eq 0 ]]; then
        tests/package/test_package.sh build/package
        add_count package 1 0
    else
        echo "not root: packages are not installed anywhere"
    fi
}

stage_clang() {
    configure_and_build clang
    add_count clang 1 0
}

stage_asan() {
    choose_launcher "${CC:-cc}" address,undefined
    configure_and_build asan
    run_ctest asan asan
}

stage_tsan() {
    choose_launcher "${CC:-cc}" thread
    configure_and_build tsan
    run_ctest tsan tsan
}

stage_fuzz() {
    choose_launcher clang address,undefined
    configure_and_build fuzz
    run_ctest fuzz fuzz
}

# fuzz_each_target SECONDS: goes on from the corpus of the last time; what a target fails on is kept in build/fuzz
fuzz_each_target() {
    local target name corpus found=0 status=0
    choose_launcher clang address,undefined
    for target in build/fuzz/bin/fuzz_*; do
        [[ -x $target ]] || continue
        found=1
        name=$(basename "$target")
        corpus=build/fuzz/corpus/$name
        mkdir -p "$corpus"
        say "$name for $1 s"
        "${launcher[@]}" "$target" -max_total_time="$1" -timeout=10 -rss_limit_mb=2048 -print_final_stats=1 \
            -artifact_prefix="build/fuzz/$name-" "$corpus" "tests/fuzz/seeds/$name" || status=1
    done
    [[ $found -eq 1 ]] || die "there are no fuzz targets in build/fuzz/bin"
    return $status
}

# run_stage NAME BUDGET_S WHAT: never stops the script; the table says how it went
run_stage() {
    local name=$1 budget_s=$2 what=$3 begun=$SECONDS passed=0 failed=0 result=ok took_s
    rm -f "$logs/$name.count"
    say "$name: $what"
    # Its own shell, so that `set -e` holds inside: in a condition it would not.
    set +e
    (
        set -e
        "stage_$name"
    ) >"$logs/$name.log" 2>&1
    local status=$?
    set -e
    took_s=$((SECONDS - begun))
    [[ ! -f $logs/$name.count ]] || read -r passed failed <"$logs/$name.count"
    if [[ $status -ne 0 ]]; then
        # Whatever broke outside a test (a compiler, a missing program) is a failure too.
        [[ $failed -gt 0 ]] || failed=1
        result=FAILED
        say "$name failed; of $logs/$name.log, without what went well:"
        grep -vE '^ *(Start +[0-9]+:|[0-9]+/[0-9]+ Test +#.* Passed )|^\[[0-9]+/[0-9]+\] (Building|Linking|Creating)' \
            "$logs/$name.log" | tail -n 150 | sed 's/^/    | /'
    else
        grep -hE 'tests passed,|^figures: ' "$logs/$name.log" || true
        if [[ $took_s -gt $budget_s ]]; then result="ok, over budget"; fi
    fi
    total_passed=$((total_passed + passed))
    total_failed=$((total_failed + failed))
    stage_rows+=("$(printf '%-10s %7d %7d %6d s %6d s  %s' "$name" "$passed" "$failed" "$took_s" "$budget_s" "$result")")
}

# run_all_stages SECONDS_OF_SET-UP
run_all_stages() {
    local begun=$SECONDS row
    mkdir -p "$logs"
    stage_rows=("$(printf '%-10s %7s %7s %6d s %6d s  %s' set-up - - "$1" 150 ok)")
    run_stage release 240 "release build with warnings as errors, all tests but the sanitized ones"
    run_stage install 30 "programs built against the installed tree, with pkg-config and with CMake"
    run_stage man 10 "the manual pages against --help, the header and the example of a configuration"
    run_stage readme 30 "the commands and programs shown in README.md"
    run_stage demo 40 "./dev demo"
    run_stage package 150 "Debian packages: made, checked, installed into a fresh root, used and removed"
    run_stage clang 90 "the same sources through clang, warnings as errors"
    run_stage asan 210 "all tests under AddressSanitizer and UndefinedBehaviorSanitizer"
    run_stage tsan 90 "the stress programs under ThreadSanitizer"
    run_stage fuzz 90 "each fuzz target for ten seconds"

    printf '\n%-10s %7s %7s %8s %8s  %s\n' suite passed failed time budget result
    for row in "${stage_rows[@]}"; do echo "$row"; done
    printf 'in all %d s of the 900 s allowed\n\n' $((SECONDS - begun + $1))
    echo "$total_passed passed, $total_failed failed"
    [[ $total_failed -eq 0 && $total_passed -gt 0 ]]
}

# soak_tests PRESET SECONDS: all its tests again and again; the last round is finished
soak_tests() {
    local end=$((SECONDS + $2)) round=0
    configure_and_build "$1" >"$logs/soak.log" 2>&1 || { cat "$logs/soak.log"; die "$1 does not build"; }
    while [[ $SECONDS -lt $end ]]; do
        round=$((round + 1))
        if ! "${launcher[@]}" ctest --preset "$1" >"$logs/soak.log" 2>&1; then
            cat "$logs/soak.log"
            die "a test of $1 failed in round $round"
        fi
        say "$1: round $round: $(grep 'tests passed,' "$logs/soak.log")"
    done
}

# soak_faults SECONDS: kills and what else may go wrong, at their full length; the last round is finished
soak_faults() {
    local end=$((SECONDS + $1)) round=0 name
    configure_and_build release >"$logs/soak.log" 2>&1 || { cat "$logs/soak.log"; die "release does not build"; }
    while [[ $SECONDS -lt $end ]]; do
        round=$((round + 1))
        for name in test_e2e_{kills,client_kills,restart,restart_faults,faults,statistics_agree} stress_shm; do
            if ! CBM_SOAK=1 "build/release/bin/$name" >"$logs/soak.log" 2>&1; then
                cat "$logs/soak.log"
                die "$name failed in round $round"
            fi
            say "$name: round $round"
            grep -oE "$figures" "$logs/soak.log" || true
        done
    done
}

# What no test run has the time for: the same programs, many times over.
run_soak() {
    local minutes=${CBM_SOAK_MINUTES:-60}
    [[ $minutes =~ ^[1-9][0-9]*$ ]] || die "CBM_SOAK_MINUTES is a number of minutes, not '$minutes'"
    mkdir -p "$logs"
    say "about $minutes minutes (CBM_SOAK_MINUTES): faults, stress under ThreadSanitizer, all tests again and again, fuzzing"
    soak_faults $((minutes * 15))
    choose_launcher "${CC:-cc}" thread
    soak_tests tsan $((minutes * 15))
    choose_launcher "${CC:-cc}" address,undefined
    soak_tests asan $((minutes * 15))
    configure_and_build fuzz >"$logs/soak.log" 2>&1 || { cat "$logs/soak.log"; die "fuzz does not build"; }
    local -a targets=(build/fuzz/bin/fuzz_*)
    fuzz_each_target $((minutes * 15 / ${#targets[@]})) || die "a fuzz target failed"
    say "soaked: nothing failed"
}
