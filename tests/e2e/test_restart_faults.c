/* A disk that takes nothing, a file that is damaged or too new, a directory in use. */
#include "kept.h"

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
#include <unistd.h>

TestSuite(restart_faults, .timeout = 100);

/* ---- A disk that does not take it ------------------------------------------------------------------------------------ */

static void limit_files(const kept *k, rlim_t bytes)
{
    struct rlimit limit = {bytes, RLIM_INFINITY};
    cr_assert_eq(prlimit(k->broker->pid, RLIMIT_FSIZE, &limit, NULL), 0);
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

/* A report whose answer was lost comes again: what it is answered must be as true the second time. */
static bool resent_report_is_stored(kept *k, const char *name)
{
    static const char resent[] = "client=000102030405060708090a0b0c0d0e0f sequence=7";
    bool stored = true;
    for (int i = 0; i < 2; i++) {
        json_t *answer = told(k, "call_report %s outcome=failure %s", name, resent);
        stored = json_object_get(json_object_get(answer, "data"), "stored") == NULL;
        json_decref(answer);
    }
    return stored;
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
    TELL(k, "get r failure_threshold=1 timeout_ms=3600000");
    cr_assert_not(resent_report_is_stored(k, "r"), "nor can it have been when it is told again");
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

Test(restart_faults, files_that_may_not_grow_are_told_and_do_not_stop_the_broker)
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

Test(restart_faults, a_full_disk_is_told_and_does_not_stop_the_broker)
{
    char directory[64];
    if (!mount_small(directory))
        return;
    kept k = kept_in(directory);
    goes_on_and_resumes(&k, fill, make_room);
    unmount(&k);
}

/* Its breaker a is OPEN, and stored. False: this test is not allowed to mount. */
static bool kept_in_small_with_one_open(kept *k)
{
    char directory[64];
    if (!mount_small(directory))
        return false;
    *k = kept_in(directory);
    TELL(k, "get a failure_threshold=1 timeout_ms=3600000");
    cr_assert(fail_stored(k, "a"));
    return true;
}

Test(restart_faults, a_broker_starts_on_a_full_disk_with_what_it_had)
{
    kept k;
    if (!kept_in_small_with_one_open(&k))
        return;
    broker_kill(k.broker);
    fill(&k);
    broker_restart(k.broker);
    cr_assert(state_is(k.broker->address, "a", "OPEN"));
    assert_logged(&k, "event=store_failing");
    make_room(&k);
    assert_logged(&k, "event=store_resumed");
    unmount(&k);
}

Test(restart_faults, a_directory_that_is_read_only_is_read_and_told)
{
    kept k;
    if (!kept_in_small_with_one_open(&k))
        return;
    cr_assert_eq(broker_stop(k.broker, SIGTERM), 0);
    cr_assert_eq(mount(NULL, k.directory, NULL, MS_REMOUNT | MS_RDONLY, NULL), 0);
    broker_restart(k.broker);
    cr_assert(state_is(k.broker->address, "a", "OPEN"));
    TELL(&k, "force_open a");
    assert_logged(&k, "event=store_failing");
    cr_assert_eq(mount(NULL, k.directory, NULL, MS_REMOUNT, NULL), 0);
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

Test(restart_faults, a_directory_in_use_is_refused)
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

Test(restart_faults, what_a_newer_broker_has_written_is_refused_and_left_alone)
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

Test(restart_faults, another_program_s_database_is_refused)
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

Test(restart_faults, a_damaged_database_is_moved_aside_and_said_loudly)
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

Test(restart_faults, only_its_owner_can_read_the_state)
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
