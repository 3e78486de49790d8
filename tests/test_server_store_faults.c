/* The store when things go wrong: files that are not as they should be, a disk that takes nothing. */
#include <fcntl.h>
#include <sqlite3.h>
#include <sys/wait.h>

#include "store_fixture.h"

TestSuite(store_faults, .init = make_directory, .fini = remove_directory, .timeout = 60);

/* ---- Files that are not as they should be -------------------------------------------------------------------------- */

static void path_of(const char *name, char path[128])
{
    snprintf(path, 128, "%s/%s", directory, name);
}

static void run_sql(const char *sql)
{
    char path[128];
    sqlite3 *database;
    path_of("cbm.db", path);
    cr_assert_eq(sqlite3_open(path, &database), SQLITE_OK);
    cr_assert_eq(sqlite3_exec(database, sql, NULL, NULL, NULL), SQLITE_OK, "%s", sqlite3_errmsg(database));
    sqlite3_close(database);
}

static void one_stored(void)
{
    start_store();
    put(0, "a", CBM_CORE_OPEN);
    cr_assert(wait_committed(cbm_store_mark_now(store, 0)));
    close_store();
}

static int damaged_files(void)
{
    char command[128];
    snprintf(command, sizeof command, "exit $(ls %s | grep -c damaged)", directory);
    return WEXITSTATUS(system(command));
}

Test(store_faults, with_other_tables_counts_as_damaged)
{
    one_stored();
    run_sql("CREATE TRIGGER evil AFTER INSERT ON history BEGIN DELETE FROM breakers; END");
    open_store();
    cr_assert_eq(restored_count, 0);
    cr_assert_eq(damaged_files(), 1);
}

Test(store_faults, that_is_no_database_is_moved_aside)
{
    char path[128];
    path_of("cbm.db", path);
    FILE *file = fopen(path, "w");
    fprintf(file, "these are words, and many of them, but none that a database would be made of\n");
    fclose(file);
    open_store();
    cr_assert_eq(damaged_files(), 1);
}

Test(store_faults, of_which_the_making_was_cut_short_is_made)
{
    char path[128];
    path_of("cbm.db", path);
    fclose(fopen(path, "w"));
    run_sql("PRAGMA journal_mode=WAL");
    open_store();
    cr_assert_eq(damaged_files(), 0);
}

Test(store_faults, of_which_only_the_log_is_left_is_moved_aside)
{
    char path[128];
    start_store();
    put(0, "a", CBM_CORE_OPEN);
    cr_assert(wait_committed(cbm_store_mark_now(store, 0)));
    path_of("cbm.db", path);
    cr_assert_eq(truncate(path, 0), 0);
    killed_and_opened();
    cr_assert_eq(restored_count, 0);
    cr_assert_geq(damaged_files(), 1);
}

Test(store_faults, with_pages_of_another_size_is_not_taken_for_a_new_one)
{
    char path[128];
    one_stored();
    path_of("cbm.db", path);
    int file = open(path, O_WRONLY);
    cr_assert_eq(pwrite(file, "\0\1", 2, 16), 2); /* 65536 */
    close(file);
    open_store();
    cr_assert_eq(damaged_files(), 1);
}

Test(store_faults, of_a_newer_version_is_refused_and_stays_as_it_is)
{
    one_stored();
    run_sql("PRAGMA user_version = 2");
    cr_assert_eq(try_open(), CBM_STORE_E_REFUSED);
    cr_assert_not_null(strstr(message, "newer"));
    cr_assert_eq(damaged_files(), 0);
    run_sql("PRAGMA user_version = 1");
    open_store();
    cr_assert_eq(restored_count, 1);
}

Test(store_faults, passes_over_rows_that_make_no_sense)
{
    one_stored();
    run_sql(
        "INSERT INTO breakers SELECT id + 1, name, 'SIDEWAYS', policy, reason, remaining_ns, written_ms, written_ns, "
        "written_boot, reopenings, opened_failures, in_a_row, would_open, epoch, slot_generation, unused_ns, "
        "last_failure_ns_ago, last_error_text, successful_calls, failed_calls, timeout_calls, ignored_calls, "
        "slow_calls, rejected_calls, half_open_rejected_calls, late_reports, lumped_failures, leases_expired, "
        "abandoned, transitions, time_in_state_ns, least_duration_ns, most_duration_ns, durations, failures FROM "
        "breakers");
    open_store();
    cr_assert_eq(restored_count, 1);
    cr_assert_eq(restored_how.unreadable, 1);
}

Test(store_faults, is_for_one_at_a_time)
{
    open_store();
    cbm_store *first = store;
    cr_assert_eq(try_open(), CBM_STORE_E_BUSY);
    cr_assert_null(store);
    store = first;
}

/* ---- A disk that does not take it ---------------------------------------------------------------------------------- */

static sqlite3_vfs failing_vfs;
static const sqlite3_io_methods *real_write_methods;
static sqlite3_io_methods failing_methods[2]; /* the database has locks, its log has none */
static _Atomic int disk_error;                /* what writes give; SQLITE_OK: they are done */

static int failing_write(sqlite3_file *file, const void *bytes, int size, sqlite3_int64 offset)
{
    return disk_error ? disk_error : real_write_methods->xWrite(file, bytes, size, offset);
}

static int failing_open(sqlite3_vfs *vfs, sqlite3_filename name, sqlite3_file *file, int flags, int *got)
{
    sqlite3_vfs *real = vfs->pAppData;
    int result = real->xOpen(real, name, file, flags, got);

    if (result == SQLITE_OK && file->pMethods) {
        sqlite3_io_methods *methods = &failing_methods[(flags & SQLITE_OPEN_MAIN_DB) != 0];

        real_write_methods = file->pMethods;
        *methods = *file->pMethods;
        methods->xWrite = failing_write;
        file->pMethods = methods;
    }
    return result;
}

static void use_failing_disk(void)
{
    sqlite3_vfs *real = sqlite3_vfs_find(NULL);

    failing_vfs = *real;
    failing_vfs.zName = "failing";
    failing_vfs.pAppData = real;
    failing_vfs.xOpen = failing_open;
    cr_assert_eq(sqlite3_vfs_register(&failing_vfs, 1), SQLITE_OK);
    if (!getenv("CBM_TEST_LOG"))
        cbm_log_set_output(open("/dev/null", O_WRONLY));
}

static bool wait_failing(bool failing)
{
    int64_t end_ns = cbm_clock_ns() + DEADLINE_NS;
    cbm_store_health health;

    do {
        cbm_store_health_get(store, &health);
        nanosleep(&(struct timespec){.tv_nsec = 500000}, NULL);
    } while (health.failing != failing && cbm_clock_ns() < end_ns);
    cr_assert_eq(health.error[0] != '\0', health.failing);
    return health.failing == failing;
}

static void fails_and_resumes(int error)
{
    cbm_store_transition_row rows[4];

    use_failing_disk();
    start_store();
    put(0, "a", CBM_CORE_CLOSED);
    put(1, "b", CBM_CORE_CLOSED);
    cr_assert(wait_committed(transition(0, CBM_CORE_CLOSED, CBM_CORE_OPEN)));
    disk_error = error;
    uint64_t ticket = transition(1, CBM_CORE_CLOSED, CBM_CORE_OPEN);
    cr_assert(wait_failing(true));
    cr_assert_not(cbm_store_is_committed(cbm_store_waits_of(store), ticket));
    transition(1, CBM_CORE_OPEN, CBM_CORE_HALF_OPEN);
    disk_error = SQLITE_OK;
    cr_assert(wait_committed(ticket + 1));
    cr_assert(wait_failing(false));
    cr_assert_eq(cbm_store_history(store, NULL, 0, 4, rows), 3, "no transition is lost");
    killed_and_opened();
    cr_assert_eq(restored_count, 2);
    cr_assert_eq(restored_as("b")->state, CBM_CORE_HALF_OPEN);
}

Test(store_faults, tells_its_source_whether_a_transaction_was_written)
{
    use_failing_disk();
    start_store();
    put(0, "a", CBM_CORE_CLOSED);
    cr_assert(wait_committed(transition(0, CBM_CORE_CLOSED, CBM_CORE_OPEN)));
    cr_assert_geq(atomic_load(&told_stored), 1);
    cr_assert_eq(atomic_load(&told_not_stored), 0);
    disk_error = SQLITE_FULL;
    uint64_t ticket = transition(0, CBM_CORE_OPEN, CBM_CORE_HALF_OPEN);
    cr_assert(wait_failing(true));
    cr_assert_geq(atomic_load(&told_not_stored), 1);
    int before = atomic_load(&told_stored);
    disk_error = SQLITE_OK;
    cr_assert(wait_committed(ticket));
    cr_assert_gt(atomic_load(&told_stored), before);
}

Test(store_faults, goes_on_when_a_full_disk_has_room_again)
{
    fails_and_resumes(SQLITE_FULL);
}

Test(store_faults, goes_on_after_errors_of_the_disk)
{
    fails_and_resumes(SQLITE_IOERR_WRITE);
}

Test(store_faults, goes_on_after_a_disk_that_was_read_only)
{
    fails_and_resumes(SQLITE_READONLY);
}

/* Two breakers are stored; then one of them has a transition, and the disk an error. Returns its ticket. */
static uint64_t one_of_two_meets(int error)
{
    use_failing_disk();
    start_store();
    put(0, "a", CBM_CORE_CLOSED);
    put(1, "b", CBM_CORE_CLOSED);
    cbm_store_mark_now(store, 1);
    cr_assert(wait_committed(transition(0, CBM_CORE_CLOSED, CBM_CORE_OPEN)));
    disk_error = error;
    uint64_t ticket = transition(0, CBM_CORE_OPEN, CBM_CORE_HALF_OPEN);
    cr_assert(wait_failing(true));
    return ticket;
}

static void all_is_stored_with(uint64_t ticket)
{
    disk_error = SQLITE_OK;
    cr_assert(wait_committed(ticket));
    close_store();
    open_store();
    cr_assert_eq(restored_count, 2, "also what had not changed since");
}

Test(store_faults, begins_anew_when_it_finds_itself_damaged_and_writes_all_it_knows)
{
    all_is_stored_with(one_of_two_meets(SQLITE_CORRUPT));
    cr_assert_geq(damaged_files(), 1);
}

Test(store_faults, writes_all_it_knows_when_its_file_was_taken_away)
{
    char path[128];
    uint64_t ticket = one_of_two_meets(SQLITE_READONLY);
    path_of("cbm.db", path);
    unlink(path);
    path_of("cbm.db-wal", path);
    unlink(path);
    all_is_stored_with(ticket);
}

Test(store_faults, keeps_the_newest_transitions_when_too_many_wait)
{
    cbm_store_queue queue = {0};
    cbm_store_transition_row row = {0};
    for (uint32_t i = 0; i < CBM_STORE_TRANSITIONS_MAX + 10; i++) {
        row.failures = i;
        cr_assert(cbm_store_queue_add(&queue, &row));
    }
    cr_assert_leq(queue.count, CBM_STORE_TRANSITIONS_MAX);
    cr_assert_eq(queue.count + queue.dropped, CBM_STORE_TRANSITIONS_MAX + 10);
    cr_assert_eq(queue.rows[queue.count - 1].failures, CBM_STORE_TRANSITIONS_MAX + 9);
    cr_assert_eq(queue.rows[0].failures, queue.dropped);
    free(queue.rows);
}
