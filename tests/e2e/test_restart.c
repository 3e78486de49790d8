/* What outlives the broker: kill -9, a full disk, a file that is damaged or too new, a directory in use. */
#include "clients.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

TestSuite(restart, .timeout = 100);

#define STATISTICS_WINDOW_MS 5000 /* what is not urgent is stored within it */

/* ---- A broker that keeps its state in a directory of the test's ---------------------------------------------------- */

typedef struct kept {
    broker *broker;
    char directory[96]; /* of the state */
    char database[160];
} kept;

static kept kept_in(const char *directory)
{
    static char argument[96]; /* each test has a process of its own, and one such broker */
    kept k;
    snprintf(argument, sizeof argument, "%s", directory);
    snprintf(k.directory, sizeof k.directory, "%s", directory);
    snprintf(k.database, sizeof k.database, "%s/cbm.db", directory);
    k.broker = broker_start(&(broker_options){.arguments = {"--rate-limit", "0", "--state-dir", argument}});
    return k;
}

static void new_directory(char directory[64])
{
    strcpy(directory, "/tmp/cbm-e2e-state-XXXXXX");
    cr_assert_not_null(mkdtemp(directory));
}

static kept kept_new(void)
{
    char directory[64];
    new_directory(directory);
    return kept_in(directory);
}

static void kept_end(kept *k)
{
    program_result removed;
    broker_free(k->broker);
    program_run(&removed, (const char *const[]){"rm", "-rf", k->directory, NULL}, NULL, HARNESS_DEADLINE_MS);
    program_result_deinit(&removed);
}

static void killed_and_started(kept *k)
{
    broker_kill(k->broker);
    broker_restart(k->broker);
}

static json_t *told(kept *k, const char *format, ...) __attribute__((format(printf, 2, 3)));
static json_t *told(kept *k, const char *format, ...)
{
    char command[256];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(command, sizeof command, format, arguments);
    va_end(arguments);
    json_t *answer = ask(k->broker->address, command);
    cr_assert(json_is_true(json_object_get(answer, "success")), "%s: %s", command,
              json_string_value(json_object_get(answer, "message")));
    return answer;
}
#define TELL(...) json_decref(told(__VA_ARGS__))

/* Whether the report's answer says that it is stored; it must not be silent about it for long. */
static bool fail_stored(kept *k, const char *name)
{
    int64_t begun = clock_ms();
    json_t *answer = told(k, "call_report %s outcome=failure", name);
    json_t *stored = json_object_get(json_object_get(answer, "data"), "stored");
    bool said_so = stored == NULL;
    cr_assert(stored == NULL || json_is_false(stored));
    cr_assert_lt(clock_ms() - begun, 5000);
    json_decref(answer);
    return said_so;
}

static int64_t state_number(kept *k, const char *name, const char *key)
{
    json_t *state = ask_state(k->broker->address, name);
    int64_t value = json_integer_value(json_object_get(state, key));
    json_decref(state);
    return value;
}

static int rounds(int ordinary, int soak)
{
    return getenv("CBM_SOAK") != NULL ? soak : ordinary;
}

/* ---- Kill -9 --------------------------------------------------------------------------------------------------------- */

Test(restart, an_open_circuit_is_open_after_kill_9_for_the_time_that_was_left)
{
    kept k = kept_new();
    TELL(&k, "get a failure_threshold=2 timeout_ms=60000");
    TELL(&k, "call_report a outcome=failure");
    TELL(&k, "call_report a outcome=failure error_text=\"no answer\"");
    int64_t before = state_number(&k, "a", "retry_after_ms");
    int64_t begun = clock_ms();
    killed_and_started(&k);
    int64_t after = state_number(&k, "a", "retry_after_ms"), passed = clock_ms() - begun;
    cr_assert(state_is(k.broker->address, "a", "OPEN"));
    cr_assert_leq(after, before);
    cr_assert_geq(after, before - passed - 100);
    cr_assert_eq(state_number(&k, "a", "failures"), 2);
    cr_assert_eq(statistic(k.broker->address, "a", "failed_calls"), 2);
    json_t *state = ask_state(k.broker->address, "a");
    cr_assert_str_eq(json_string_value(json_object_get(state, "last_error_text")), "no answer");
    cr_assert_eq(json_integer_value(json_object_get(json_object_get(state, "policy"), "failure_threshold")), 2);
    json_decref(state);
    kept_end(&k);
}

Test(restart, control_by_hand_is_kept_with_its_reason)
{
    kept k = kept_new();
    TELL(&k, "get a");
    TELL(&k, "force_open a reason=\"moving house\"");
    killed_and_started(&k);
    json_t *state = ask_state(k.broker->address, "a");
    cr_assert_str_eq(json_string_value(json_object_get(state, "state")), "FORCED_OPEN");
    cr_assert_str_eq(json_string_value(json_object_get(state, "reason")), "moving house");
    json_decref(state);
    TELL(&k, "enable a");
    killed_and_started(&k);
    cr_assert(state_is(k.broker->address, "a", "CLOSED"));
    kept_end(&k);
}

Test(restart, what_was_configured_and_removed_by_hand_is_so_after_kill_9)
{
    kept k = kept_new();
    TELL(&k, "get a");
    TELL(&k, "get b");
    TELL(&k, "configure a timeout_ms=4321");
    TELL(&k, "force_open b");
    TELL(&k, "remove b");
    killed_and_started(&k);
    json_t *state = ask_state(k.broker->address, "a");
    cr_assert_eq(json_integer_value(json_object_get(json_object_get(state, "policy"), "timeout_ms")), 4321);
    json_decref(state);
    cr_assert_null(ask_state(k.broker->address, "b"));
    kept_end(&k);
}

Test(restart, statistics_are_lost_for_five_seconds_at_most)
{
    kept k = kept_new();
    int reported = 0;
    for (; reported < 100; reported++)
        TELL(&k, "call_report a outcome=success duration_ms=%d", reported + 1);
    double p50 = 0;
    json_t *state = ask_state(k.broker->address, "a");
    p50 = json_number_value(json_object_get(json_object_get(state, "statistics"), "p50_ms"));
    json_decref(state);
    /* The window itself is what is promised: there is nothing else to wait for. */
    nanosleep(&(struct timespec){.tv_sec = STATISTICS_WINDOW_MS / 1000}, NULL);
    TELL(&k, "call_report a outcome=success"); /* after it: this one may be lost */
    killed_and_started(&k);
    cr_assert_geq(statistic(k.broker->address, "a", "successful_calls"), reported);
    cr_assert_leq(statistic(k.broker->address, "a", "successful_calls"), reported + 1);
    state = ask_state(k.broker->address, "a");
    cr_assert_float_eq(json_number_value(json_object_get(json_object_get(state, "statistics"), "p50_ms")), p50, 1);
    json_decref(state);
    kept_end(&k);
}

Test(restart, nothing_is_lost_by_a_clean_stop)
{
    kept k = kept_new();
    for (int i = 0; i < 700; i++)
        TELL(&k, "call_report breaker_%d outcome=success", i);
    json_t *stats = told(&k, "stats limit=1");
    json_int_t created = json_integer_value(json_object_get(json_object_get(stats, "data"), "breakers_created"));
    json_decref(stats);
    cr_assert_eq(created, 700);
    cr_assert_eq(broker_stop(k.broker, SIGTERM), 0);
    broker_restart(k.broker);
    stats = told(&k, "stats limit=1");
    cr_assert_eq(json_integer_value(json_object_get(json_object_get(stats, "data"), "breakers_count")), 700);
    cr_assert_eq(json_integer_value(json_object_get(json_object_get(stats, "data"), "breakers_created")), 700);
    json_decref(stats);
    cr_assert_eq(statistic(k.broker->address, "breaker_699", "successful_calls"), 1);
    kept_end(&k);
}

/* Each report that is answered without `stored: false` is a promise, kept by whatever is left the moment after. */
Test(restart, a_trip_that_was_told_is_never_lost)
{
    kept k = kept_new();
    int count = rounds(20, 200), promised = 0;
    for (int i = 0; i < count; i++) {
        char name[32];
        snprintf(name, sizeof name, "trip_%d", i);
        TELL(&k, "get %s failure_threshold=1 timeout_ms=3600000", name);
        bool stored = fail_stored(&k, name);
        killed_and_started(&k);
        if (!stored)
            continue;
        promised++;
        cr_assert(state_is(k.broker->address, name, "OPEN"), "%s was told, and is lost", name);
    }
    fprintf(stderr, "kills %d, trips told and checked %d, lost 0\n", count, promised);
    cr_assert_gt(promised, count / 2, "the disk is hardly ever as slow as that");
    kept_end(&k);
}

Test(restart, permits_of_before_are_late)
{
    kept k = kept_new();
    cbm_client *client = client_open(k.broker->address, CBM_FAIL_OPEN);
    cbm_policy policy = CBM_POLICY_INIT;
    policy.failure_threshold = 1;
    cbm_breaker *breaker = breaker_get(client, "a", &policy);
    cbm_permit permit;
    cr_assert_eq(cbm_call_begin(breaker, &permit), 0);
    TELL(&k, "configure a timeout_ms=5000");
    killed_and_started(&k);
    cr_assert(begin_until_permitted(breaker, &(cbm_permit){0}, HARNESS_DEADLINE_MS));
    (void)cbm_call_report(&permit, CBM_FAILURE);
    cr_assert(state_is(k.broker->address, "a", "CLOSED"), "it decided nothing");
    cbm_close(client);
    kept_end(&k);
}

/* ---- A disk that does not take it ------------------------------------------------------------------------------------ */

static void limit_files(const kept *k, rlim_t bytes)
{
    struct rlimit limit = {bytes, RLIM_INFINITY};
    cr_assert_eq(prlimit(k->broker->pid, RLIMIT_FSIZE, &limit, NULL), 0);
}

static void assert_logged(const kept *k, const char *text)
{
    char *line = broker_wait_log1(k->broker, text, HARNESS_DEADLINE_MS);
    cr_assert_not_null(line, "no line of the log says %s", text);
    free(line);
}

static bool is_stored_again(void *context)
{
    static int attempt;
    char name[32];
    snprintf(name, sizeof name, "again_%d", attempt++);
    TELL(context, "get %s failure_threshold=1 timeout_ms=3600000", name);
    return fail_stored(context, name);
}

static void assert_health(kept *k, const char *state)
{
    json_t *stats = told(k, "stats limit=1"), *data = json_object_get(stats, "data");
    cr_assert_str_eq(json_string_value(json_object_get(data, "store")), state);
    cr_assert_eq(json_object_get(data, "store_error") != NULL, strcmp(state, "failing") == 0);
    json_decref(stats);
}

/* With a disk that takes nothing any more, and then does again. */
static void goes_on_and_resumes(kept *k, void (*no_room)(kept *k), void (*room)(kept *k))
{
    TELL(k, "get a failure_threshold=1 timeout_ms=3600000");
    cr_assert(fail_stored(k, "a"));
    assert_health(k, "ok");
    no_room(k);
    TELL(k, "get b failure_threshold=1 timeout_ms=3600000");
    cr_assert_not(fail_stored(k, "b"), "it cannot have been stored");
    cr_assert(state_is(k->broker->address, "b", "OPEN"));
    assert_logged(k, "event=store_failing");
    assert_health(k, "failing");
    for (int i = 0; i < 50; i++)
        TELL(k, "call_report c outcome=success");
    room(k);
    assert_logged(k, "event=store_resumed");
    cr_assert(wait_until(is_stored_again, k, HARNESS_DEADLINE_MS));
    assert_health(k, "ok");
    killed_and_started(k);
    cr_assert(state_is(k->broker->address, "a", "OPEN"));
    cr_assert(state_is(k->broker->address, "b", "OPEN"), "what waited was written");
}

static void cap(kept *k)
{
    limit_files(k, 20000);
}

static void uncap(kept *k)
{
    limit_files(k, RLIM_INFINITY);
}

Test(restart, files_that_may_not_grow_are_told_and_do_not_stop_the_broker)
{
    kept k = kept_new();
    goes_on_and_resumes(&k, cap, uncap);
    kept_end(&k);
}

/* In mounts of the test's own, which go away with it. False: this test is not allowed to. */
static bool mount_small(char directory[64])
{
    new_directory(directory);
    if (unshare(CLONE_NEWNS) == 0 && mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0 &&
        mount("none", directory, "tmpfs", 0, "size=1m,mode=0700") == 0)
        return true;
    fprintf(stderr, "skipped: a tmpfs cannot be mounted here (%s)\n", strerror(errno));
    rmdir(directory);
    return false;
}

static void unmount(kept *k)
{
    broker_free(k->broker);
    cr_assert_eq(umount(k->directory), 0);
    rmdir(k->directory);
}

static void ballast_path(const kept *k, char path[128])
{
    snprintf(path, 128, "%s/ballast", k->directory);
}

static void fill(kept *k)
{
    static const char block[4096];
    char path[128];
    ballast_path(k, path);
    int fd = open(path, O_WRONLY | O_CREAT, 0600);
    cr_assert_geq(fd, 0);
    while (write(fd, block, sizeof block) > 0)
        ;
    cr_assert_eq(errno, ENOSPC);
    close(fd);
}

static void make_room(kept *k)
{
    char path[128];
    ballast_path(k, path);
    cr_assert_eq(unlink(path), 0);
}

Test(restart, a_full_disk_is_told_and_does_not_stop_the_broker)
{
    char directory[64];
    if (!mount_small(directory))
        return;
    kept k = kept_in(directory);
    goes_on_and_resumes(&k, fill, make_room);
    unmount(&k);
}

Test(restart, a_broker_starts_on_a_full_disk_with_what_it_had)
{
    char directory[64];
    if (!mount_small(directory))
        return;
    kept k = kept_in(directory);
    TELL(&k, "get a failure_threshold=1 timeout_ms=3600000");
    cr_assert(fail_stored(&k, "a"));
    broker_kill(k.broker);
    fill(&k);
    broker_restart(k.broker);
    cr_assert(state_is(k.broker->address, "a", "OPEN"));
    assert_logged(&k, "event=store_failing");
    make_room(&k);
    assert_logged(&k, "event=store_resumed");
    unmount(&k);
}

Test(restart, a_directory_that_is_read_only_is_read_and_told)
{
    char directory[64];
    if (!mount_small(directory))
        return;
    kept k = kept_in(directory);
    TELL(&k, "get a failure_threshold=1 timeout_ms=3600000");
    cr_assert(fail_stored(&k, "a"));
    cr_assert_eq(broker_stop(k.broker, SIGTERM), 0);
    cr_assert_eq(mount(NULL, directory, NULL, MS_REMOUNT | MS_RDONLY, NULL), 0);
    broker_restart(k.broker);
    cr_assert(state_is(k.broker->address, "a", "OPEN"));
    TELL(&k, "force_open a");
    assert_logged(&k, "event=store_failing");
    cr_assert_eq(mount(NULL, directory, NULL, MS_REMOUNT, NULL), 0);
    assert_logged(&k, "event=store_resumed");
    killed_and_started(&k);
    cr_assert(state_is(k.broker->address, "a", "FORCED_OPEN"));
    unmount(&k);
}

/* ---- A file that is not as it should be ------------------------------------------------------------------------------ */

static void start_refused(const kept *k, program_result *result)
{
    const char *argv[] = {broker_program(), "--listen",   "abstract://cbm-e2e-refused",
                          "--state-dir",    k->directory, NULL};
    program_run(result, argv, NULL, HARNESS_DEADLINE_MS);
}

Test(restart, a_directory_in_use_is_refused)
{
    kept k = kept_new();
    program_result result;
    start_refused(&k, &result);
    cr_assert_eq(result.status, 1);
    cr_assert_not_null(strstr(result.err, "another cbmd keeps its state in"), "%s", result.err);
    program_result_deinit(&result);
    TELL(&k, "ping");
    kept_end(&k);
}

static void run_sql(const kept *k, const char *sql)
{
    sqlite3 *database;
    cr_assert_eq(sqlite3_open(k->database, &database), SQLITE_OK);
    cr_assert_eq(sqlite3_exec(database, sql, NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(database);
}

Test(restart, what_a_newer_broker_has_written_is_refused_and_left_alone)
{
    kept k = kept_new();
    TELL(&k, "get a");
    TELL(&k, "force_open a");
    cr_assert_eq(broker_stop(k.broker, SIGTERM), 0);
    run_sql(&k, "PRAGMA user_version = 999");
    program_result result;
    start_refused(&k, &result);
    cr_assert_eq(result.status, 78);
    cr_assert_not_null(strstr(result.err, "newer cbmd"), "%s", result.err);
    program_result_deinit(&result);
    run_sql(&k, "PRAGMA user_version = 1");
    broker_restart(k.broker);
    cr_assert(state_is(k.broker->address, "a", "FORCED_OPEN"));
    kept_end(&k);
}

Test(restart, another_program_s_database_is_refused)
{
    kept k = kept_new();
    cr_assert_eq(broker_stop(k.broker, SIGTERM), 0);
    run_sql(&k, "PRAGMA application_id = 1");
    program_result result;
    start_refused(&k, &result);
    cr_assert_eq(result.status, 78);
    program_result_deinit(&result);
    run_sql(&k, "PRAGMA application_id = 1667394865");
    broker_restart(k.broker);
    kept_end(&k);
}

static int count_files(const kept *k, const char *text)
{
    program_result result;
    int count = 0;
    program_run(&result, (const char *const[]){"ls", k->directory, NULL}, NULL, HARNESS_DEADLINE_MS);
    for (const char *at = result.out; (at = strstr(at, text)) != NULL; at++)
        count++;
    program_result_deinit(&result);
    return count;
}

Test(restart, a_damaged_database_is_moved_aside_and_said_loudly)
{
    kept k = kept_new();
    TELL(&k, "get a");
    TELL(&k, "force_open a");
    cr_assert_eq(broker_stop(k.broker, SIGTERM), 0);
    int fd = open(k.database, O_WRONLY);
    cr_assert_eq(pwrite(fd, "this is not what was written here", 33, 4096), 33);
    close(fd);
    broker_restart(k.broker);
    assert_logged(&k, "event=store_damaged");
    cr_assert_eq(count_files(&k, ".damaged-"), 1);
    cr_assert_null(ask_state(k.broker->address, "a"));
    TELL(&k, "get a failure_threshold=1");
    cr_assert(fail_stored(&k, "a"), "the new one works");
    kept_end(&k);
}

Test(restart, only_its_owner_can_read_the_state)
{
    umask(0);
    char parent[64], directory[96];
    struct stat status;
    new_directory(parent);
    snprintf(directory, sizeof directory, "%s/a/state", parent);
    kept k = kept_in(directory);
    cr_assert_eq(stat(k.directory, &status), 0);
    cr_assert_eq(status.st_mode & 07777, 0700);
    cr_assert_eq(stat(k.database, &status), 0);
    cr_assert_eq(status.st_mode & 07777, 0600);
    strcat(k.database, "-wal");
    cr_assert_eq(stat(k.database, &status), 0);
    cr_assert_eq(status.st_mode & 07777, 0600);
    snprintf(k.directory, sizeof k.directory, "%s", parent);
    kept_end(&k);
}
