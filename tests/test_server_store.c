/* The store without a broker: a source of breakers that the test makes up, a clock that it turns, a disk that it takes away. */
#include <criterion/criterion.h>
#include <fcntl.h>
#include <pthread.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "engine.h"
#include "log.h"
#include "store.h"
#include "store_inner.h"

#define BREAKERS 64
#define DEADLINE_NS (20 * CBM_CORE_NS_PER_S)

/* ---- What the store collects from --------------------------------------------------------------------------------- */

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static cbm_core_snapshot breakers[BREAKERS]; /* name "": there is none in that slot */
static cbm_core_totals totals;
static uint64_t watermark; /* of entry 5 of the ledger, in the statistics of slot 0 */
static const uint8_t ledger[CBM_ID_SIZE] = "the ledger";

static void collect(void *context, const uint32_t *slots, size_t count, cbm_store_batch *batch)
{
    (void)context;
    pthread_mutex_lock(&lock);
    for (size_t i = 0; i < count; i++) {
        batch->breakers[i].slot = slots[i];
        batch->breakers[i].present = breakers[slots[i]].name[0] != '\0';
        batch->breakers[i].snapshot = breakers[slots[i]];
        if (slots[i] == 0 && watermark)
            cbm_store_batch_watermark(batch, ledger, 5, (uint64_t[]){watermark, 1, 2}, 3);
    }
    batch->count = count;
    batch->totals = totals;
    pthread_mutex_unlock(&lock);
}

static void put(uint32_t slot, const char *name, cbm_core_state state)
{
    pthread_mutex_lock(&lock);
    memset(&breakers[slot], 0, sizeof breakers[slot]);
    snprintf(breakers[slot].name, sizeof breakers[slot].name, "%s", name);
    breakers[slot].state = state;
    breakers[slot].remaining_ns = state == CBM_CORE_OPEN ? 60 * CBM_CORE_NS_PER_S : -1;
    breakers[slot].last_failure_ns_ago = -1;
    breakers[slot].least_duration_ns = breakers[slot].most_duration_ns = -1;
    breakers[slot].slot_generation = 7;
    pthread_mutex_unlock(&lock);
}

/* ---- A clock ------------------------------------------------------------------------------------------------------- */

static int64_t wall_ms = INT64_C(1700000000000), monotonic_ns = 1000 * CBM_CORE_NS_PER_S;
static char boot[64] = "first";

static int64_t read_wall(void *context)
{
    return (void)context, __atomic_load_n(&wall_ms, __ATOMIC_SEQ_CST);
}

static int64_t read_monotonic(void *context)
{
    return (void)context, __atomic_load_n(&monotonic_ns, __ATOMIC_SEQ_CST);
}

/* ---- A store ------------------------------------------------------------------------------------------------------- */

static char directory[64];
static cbm_store *store;
static char message[512];

static void make_directory(void)
{
    strcpy(directory, "/tmp/cbm-store-XXXXXX");
    cr_assert_not_null(mkdtemp(directory));
    cbm_log_set_level(CBM_LOG_ERROR);
}

static void remove_directory(void)
{
    char command[128];

    cbm_store_close(store);
    snprintf(command, sizeof command, "rm -rf %s", directory);
    cr_assert_eq(system(command), 0);
}

static cbm_store_error try_open(void)
{
    cbm_store_clock clock = {read_wall, read_monotonic, boot, NULL};
    return cbm_store_open(&store, &(cbm_store_options){directory, BREAKERS, &clock}, message, sizeof message);
}

/* What was restored, in slots as they came. */
static cbm_core_snapshot restored[BREAKERS];
static int64_t elapsed[BREAKERS];
static uint32_t restored_count;
static cbm_store_restored restored_how;

static uint32_t take(void *context, const cbm_core_snapshot *snapshot, int64_t elapsed_ns)
{
    (void)context;
    restored[restored_count] = *snapshot;
    elapsed[restored_count] = elapsed_ns;
    return restored_count++;
}

static const cbm_core_snapshot *restored_as(const char *name)
{
    for (uint32_t i = 0; i < restored_count; i++)
        if (strcmp(restored[i].name, name) == 0)
            return &restored[i];
    cr_assert_fail("%s was not restored", name);
    return NULL;
}

static void open_store(void)
{
    restored_count = 0;
    cr_assert_eq(try_open(), CBM_STORE_OK, "%s", message);
    cr_assert_eq(cbm_store_restore(store, take, NULL, &restored_how), CBM_STORE_OK);
}

static void start_store(void)
{
    open_store();
    cr_assert_eq(cbm_store_start(store, &(cbm_store_source){collect, NULL}), CBM_STORE_OK);
}

static void close_store(void)
{
    cbm_store_close(store);
    store = NULL;
}

/* As after kill -9: what is in memory only is gone. The files are copied, since a lock goes with its process. */
static void killed_and_opened(void)
{
    char command[256], copy[72];
    snprintf(copy, sizeof copy, "%s.copy", directory);
    snprintf(command, sizeof command, "cp -r %s %s", directory, copy);
    cr_assert_eq(system(command), 0);
    close_store();
    snprintf(command, sizeof command, "rm -rf %s && mv %s %s", directory, copy, directory);
    cr_assert_eq(system(command), 0);
    open_store();
}

static bool wait_committed(uint64_t ticket)
{
    int64_t end_ns = cbm_clock_ns() + DEADLINE_NS;
    while (!cbm_store_is_committed(cbm_store_waits_of(store), ticket) && cbm_clock_ns() < end_ns)
        nanosleep(&(struct timespec){.tv_nsec = 500000}, NULL);
    return cbm_store_is_committed(cbm_store_waits_of(store), ticket);
}

static uint64_t transition(uint32_t slot, cbm_core_state from, cbm_core_state to)
{
    char name[CBM_CORE_NAME_MAX + 1];
    strcpy(name, breakers[slot].name);
    cbm_core_event event = {.type = CBM_CORE_EVENT_TRANSITION,
                            .name = name,
                            .slot = slot,
                            .from = from,
                            .to = to,
                            .cause = CBM_CORE_CAUSE_RULE,
                            .failures = 5};
    put(slot, name, to);
    return cbm_store_transition(store, &event);
}

TestSuite(store, .init = make_directory, .fini = remove_directory, .timeout = 60);

/* ---- What is kept -------------------------------------------------------------------------------------------------- */

Test(store, is_empty_at_first)
{
    open_store();
    cr_assert_eq(restored_count, 0);
    cr_assert_neq(cbm_store_first_number(store), 0);
}

Test(store, gives_back_every_member_of_a_breaker)
{
    start_store();
    put(3, "every_member", CBM_CORE_DISABLED);
    cbm_core_snapshot *b = &breakers[3];
    for (int i = 0; i < CBM_CORE_POLICY_FIELDS; i++) {
        const cbm_core_policy_field *row = &cbm_core_policy_table()[i];
        uint32_t value = row->kind == CBM_CORE_FIELD_WORD ? 1 : row->minimum + (row->scale > 1 ? 3 : 0);
        memcpy((char *)&b->policy.values + (size_t)i * sizeof value, &value, sizeof value);
        b->policy.given |= UINT32_C(1) << i;
    }
    b->remaining_ns = 12345678901;
    b->reopenings = 3;
    b->opened_failures = 4;
    b->in_a_row = 5;
    b->failure_count = 2;
    b->failure_ns_ago[0] = 99;
    b->failure_ns_ago[1] = 11;
    b->would_open = true;
    b->epoch = 4194303;
    strcpy(b->reason, "for a \"reason\"; DROP TABLE breakers");
    b->unused_ns = 77;
    b->last_failure_ns_ago = 11;
    strcpy(b->last_error_text, "n\xc3\xb6");
    for (size_t i = 0; i < CBM_CORE_STATES; i++)
        for (size_t j = 0; j < CBM_CORE_STATES; j++)
            b->statistics.transitions[i][j] = i * 10 + j;
    for (size_t i = 0; i < CBM_CORE_STATES; i++)
        b->statistics.time_in_state_ns[i] = (int64_t)i * 1000;
    b->statistics.successful_calls = UINT64_C(1) << 60;
    b->statistics.failed_calls = 2;
    b->statistics.timeout_calls = 3;
    b->statistics.ignored_calls = 4;
    b->statistics.slow_calls = 5;
    b->statistics.rejected_calls = 6;
    b->statistics.half_open_rejected_calls = 7;
    b->statistics.late_reports = 8;
    b->statistics.lumped_failures = 9;
    b->statistics.leases_expired = 10;
    b->statistics.abandoned = 11;
    b->least_duration_ns = 1;
    b->most_duration_ns = 2;
    b->durations[0] = 1;
    b->durations[200] = UINT32_MAX;
    cr_assert(wait_committed(cbm_store_mark_now(store, 3)));
    cbm_core_snapshot before = *b;
    killed_and_opened();
    cr_assert_eq(restored_count, 1);
    cr_assert_eq(memcmp(&restored[0], &before, sizeof before), 0);
}

Test(store, keeps_the_newest_state_of_each_and_forgets_those_that_are_gone)
{
    start_store();
    put(0, "a", CBM_CORE_CLOSED);
    put(1, "b", CBM_CORE_CLOSED);
    cbm_store_mark_now(store, 0);
    cr_assert(wait_committed(cbm_store_mark_now(store, 1)));
    put(0, "a", CBM_CORE_OPEN);
    put(1, "", CBM_CORE_CLOSED);
    cbm_store_mark_now(store, 0);
    cr_assert(wait_committed(cbm_store_mark_now(store, 1)));
    put(1, "c", CBM_CORE_CLOSED); /* the slot again */
    cr_assert(wait_committed(cbm_store_mark_now(store, 1)));
    killed_and_opened();
    cr_assert_eq(restored_count, 2);
    cr_assert_eq(restored_as("a")->state, CBM_CORE_OPEN);
    cr_assert_eq(restored_as("c")->state, CBM_CORE_CLOSED);
}

Test(store, writes_what_is_not_urgent_by_itself)
{
    start_store();
    put(0, "a", CBM_CORE_CLOSED);
    int64_t begun_ns = cbm_clock_ns();
    cbm_store_mark(store, 0);
    for (;;) {
        sqlite3_int64 pages;
        pthread_mutex_lock(&store->db_lock);
        pages = store->row_of_slot[0];
        pthread_mutex_unlock(&store->db_lock);
        if (pages)
            break;
        cr_assert_lt(cbm_clock_ns() - begun_ns, 5 * CBM_CORE_NS_PER_S, "within five seconds");
        nanosleep(&(struct timespec){.tv_nsec = 10000000}, NULL);
    }
    killed_and_opened();
    cr_assert_eq(restored_count, 1);
}

Test(store, writes_all_when_it_is_closed)
{
    start_store();
    for (uint32_t slot = 0; slot < BREAKERS; slot++) {
        char name[16];
        snprintf(name, sizeof name, "b%u", slot);
        put(slot, name, CBM_CORE_CLOSED);
        cbm_store_mark(store, slot);
    }
    totals = (cbm_core_totals){10, 20, 30, 40};
    close_store();
    open_store();
    cr_assert_eq(restored_count, BREAKERS);
    cr_assert_eq(restored_how.totals.operations, 10);
    cr_assert_eq(restored_how.totals.removed, 40);
}

Test(store, raises_the_first_number_beyond_all_of_before_at_each_start)
{
    start_store();
    uint32_t first = cbm_store_first_number(store);
    put(0, "a", CBM_CORE_CLOSED);
    breakers[0].slot_generation = first + 100;
    cr_assert(wait_committed(cbm_store_mark_now(store, 0)));
    killed_and_opened();
    cr_assert_eq(cbm_store_first_number(store), first + 102);
    killed_and_opened();
    cr_assert_eq(cbm_store_first_number(store), first + 104);
}

Test(store, tells_transitions_the_newest_first)
{
    cbm_store_transition_row rows[10];
    start_store();
    put(0, "a", CBM_CORE_CLOSED);
    put(1, "b", CBM_CORE_CLOSED);
    transition(0, CBM_CORE_CLOSED, CBM_CORE_OPEN);
    transition(1, CBM_CORE_CLOSED, CBM_CORE_FORCED_OPEN);
    cr_assert(wait_committed(transition(0, CBM_CORE_OPEN, CBM_CORE_HALF_OPEN)));
    cr_assert_eq(cbm_store_history(store, NULL, 0, 10, rows), 3);
    cr_assert_str_eq(rows[1].name, "b");
    cr_assert_eq(rows[0].from, CBM_CORE_OPEN);
    cr_assert_eq(rows[0].to, CBM_CORE_HALF_OPEN);
    cr_assert_eq(rows[0].cause, CBM_CORE_CAUSE_RULE);
    cr_assert_eq(rows[0].failures, 5);
    cr_assert_eq(rows[0].at_ms, wall_ms);
    cr_assert_eq(cbm_store_history(store, "a", 0, 10, rows), 2);
    cr_assert_eq(cbm_store_history(store, "a", rows[0].row, 10, rows), 1);
    cr_assert_eq(rows[0].to, CBM_CORE_OPEN);
    cr_assert_eq(cbm_store_history(store, "none", 0, 10, rows), 0);
}

Test(store, bounds_the_history_by_age_and_count)
{
    cbm_store_transition_row rows[10];
    start_store();
    put(0, "a", CBM_CORE_CLOSED);
    transition(0, CBM_CORE_CLOSED, CBM_CORE_OPEN);
    __atomic_add_fetch(&wall_ms, 1000, __ATOMIC_SEQ_CST);
    transition(0, CBM_CORE_OPEN, CBM_CORE_HALF_OPEN);
    cr_assert(wait_committed(transition(0, CBM_CORE_HALF_OPEN, CBM_CORE_OPEN)));
    pthread_mutex_lock(&store->db_lock);
    cr_assert_eq(cbm_store_db_trim_history(&store->db, wall_ms - 500, 100), SQLITE_OK);
    pthread_mutex_unlock(&store->db_lock);
    cr_assert_eq(cbm_store_history(store, NULL, 0, 10, rows), 2);
    pthread_mutex_lock(&store->db_lock);
    cr_assert_eq(cbm_store_db_trim_history(&store->db, 0, 1), SQLITE_OK);
    pthread_mutex_unlock(&store->db_lock);
    cr_assert_eq(cbm_store_history(store, NULL, 0, 10, rows), 1);
    cr_assert_eq(rows[0].to, CBM_CORE_OPEN);
    pthread_mutex_lock(&store->db_lock);
    cr_assert_eq(cbm_store_db_trim_history(&store->db, INT64_MAX, 100), SQLITE_OK);
    pthread_mutex_unlock(&store->db_lock);
    cr_assert_eq(cbm_store_history(store, NULL, 0, 10, rows), 0);
}

Test(store, gives_back_the_watermark_that_belongs_to_the_statistics)
{
    uint64_t counters[4] = {0};
    start_store();
    for (watermark = 1; watermark <= 50; watermark++) {
        put(0, "a", CBM_CORE_CLOSED);
        breakers[0].statistics.successful_calls = watermark;
        cr_assert(wait_committed(cbm_store_mark_now(store, 0)));
    }
    killed_and_opened();
    cr_assert_eq(cbm_store_watermark(store, ledger, 5, counters, 4), 3);
    cr_assert_eq(counters[0], restored[0].statistics.successful_calls);
    cr_assert_eq(counters[2], 2);
    cr_assert_eq(cbm_store_watermark(store, ledger, 6, counters, 4), 0);
    cr_assert_eq(cbm_store_watermark(store, (const uint8_t *)"another ledger..", 5, counters, 4), 0);
}

Test(store, forgets_the_watermarks_of_a_ledger_that_has_ended)
{
    uint64_t counters[4];
    start_store();
    watermark = 9;
    put(0, "a", CBM_CORE_CLOSED);
    cr_assert(wait_committed(cbm_store_mark_now(store, 0)));
    watermark = 0;
    cbm_store_ledger_ended(store, ledger);
    cr_assert(wait_committed(cbm_store_mark_now(store, 0)));
    killed_and_opened();
    cr_assert_eq(cbm_store_watermark(store, ledger, 5, counters, 4), 0);
}

/* ---- Clocks -------------------------------------------------------------------------------------------------------- */

static void stored_and_opened_after(int64_t wall_step_ms, int64_t monotonic_step_ns, const char *next_boot)
{
    start_store();
    put(0, "a", CBM_CORE_OPEN);
    cr_assert(wait_committed(cbm_store_mark_now(store, 0)));
    wall_ms += wall_step_ms;
    monotonic_ns += monotonic_step_ns;
    strcpy(boot, next_boot);
    killed_and_opened();
    cr_assert_eq(restored_count, 1);
}

Test(store, counts_what_has_passed_by_the_monotonic_clock_within_one_boot)
{
    stored_and_opened_after(-1000000000, 5 * CBM_CORE_NS_PER_S, "first");
    cr_assert_eq(elapsed[0], 5 * CBM_CORE_NS_PER_S);
}

Test(store, counts_what_has_passed_by_the_wall_clock_across_boots)
{
    stored_and_opened_after(90000, -999 * CBM_CORE_NS_PER_S, "second");
    cr_assert_eq(elapsed[0], 90 * CBM_CORE_NS_PER_S);
}

Test(store, takes_a_wall_clock_that_went_back_for_one_that_stood_still)
{
    stored_and_opened_after(-INT64_C(86400000) * 365, 0, "second");
    cr_assert_eq(elapsed[0], 0);
    cr_assert_eq(restored[0].remaining_ns, 60 * CBM_CORE_NS_PER_S, "no longer than it would have been");
}

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

Test(store, with_other_tables_counts_as_damaged)
{
    one_stored();
    run_sql("CREATE TRIGGER evil AFTER INSERT ON history BEGIN DELETE FROM breakers; END");
    open_store();
    cr_assert_eq(restored_count, 0);
    cr_assert_eq(damaged_files(), 1);
}

Test(store, that_is_no_database_is_moved_aside)
{
    char path[128];
    path_of("cbm.db", path);
    FILE *file = fopen(path, "w");
    fprintf(file, "these are words, and many of them, but none that a database would be made of\n");
    fclose(file);
    open_store();
    cr_assert_eq(damaged_files(), 1);
}

Test(store, of_which_the_making_was_cut_short_is_made)
{
    char path[128];
    path_of("cbm.db", path);
    fclose(fopen(path, "w"));
    run_sql("PRAGMA journal_mode=WAL");
    open_store();
    cr_assert_eq(damaged_files(), 0);
}

Test(store, of_which_only_the_log_is_left_is_moved_aside)
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

Test(store, with_pages_of_another_size_is_not_taken_for_a_new_one)
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

Test(store, of_a_newer_version_is_refused_and_stays_as_it_is)
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

Test(store, passes_over_rows_that_make_no_sense)
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

Test(store, is_for_one_at_a_time)
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

Test(store, goes_on_when_a_full_disk_has_room_again)
{
    fails_and_resumes(SQLITE_FULL);
}

Test(store, goes_on_after_errors_of_the_disk)
{
    fails_and_resumes(SQLITE_IOERR_WRITE);
}

Test(store, goes_on_after_a_disk_that_was_read_only)
{
    fails_and_resumes(SQLITE_READONLY);
}

Test(store, begins_anew_when_it_finds_itself_damaged_and_writes_all_it_knows)
{
    use_failing_disk();
    start_store();
    put(0, "a", CBM_CORE_CLOSED);
    put(1, "b", CBM_CORE_CLOSED);
    cbm_store_mark_now(store, 1);
    cr_assert(wait_committed(transition(0, CBM_CORE_CLOSED, CBM_CORE_OPEN)));
    disk_error = SQLITE_CORRUPT;
    uint64_t ticket = transition(0, CBM_CORE_OPEN, CBM_CORE_HALF_OPEN);
    cr_assert(wait_failing(true));
    disk_error = SQLITE_OK;
    cr_assert(wait_committed(ticket));
    close_store();
    cr_assert_geq(damaged_files(), 1);
    open_store();
    cr_assert_eq(restored_count, 2, "also what had not changed since");
}

Test(store, keeps_the_newest_transitions_when_too_many_wait)
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
