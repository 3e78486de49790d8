/* The store: what is kept, and by which clock. */
#include "store_fixture.h"

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

Test(store, does_not_mind_a_wall_clock_that_jumps_within_one_boot)
{
    stored_and_opened_after(INT64_C(86400000) * 3650, 2 * CBM_CORE_NS_PER_S, "first");
    cr_assert_eq(elapsed[0], 2 * CBM_CORE_NS_PER_S);
}

Test(store, finds_all_over_when_the_wall_clock_went_further_than_can_be_told)
{
    stored_and_opened_after(INT64_MAX / 2, 0, "second");
    cr_assert_eq(elapsed[0], INT64_MAX);
}

static uint32_t take_a_second(void *context, const cbm_core_snapshot *snapshot, int64_t elapsed_ns)
{
    uint32_t *count = context;

    (void)snapshot;
    elapsed[*count] = elapsed_ns;
    monotonic_ns += CBM_CORE_NS_PER_S;
    return (*count)++;
}

/* Else each start would make what is open open for longer, by what it took. */
Test(store, counts_the_time_that_restoring_takes)
{
    uint32_t count = 0;

    start_store();
    put(0, "a", CBM_CORE_OPEN);
    put(1, "b", CBM_CORE_OPEN);
    cbm_store_mark(store, 0);
    cr_assert(wait_committed(cbm_store_mark_now(store, 1)));
    close_store();
    cr_assert_eq(try_open(), CBM_STORE_OK, "%s", message);
    cr_assert_eq(cbm_store_restore(store, take_a_second, &count, &restored_how), CBM_STORE_OK);
    cr_assert_eq(count, 2);
    cr_assert_eq(elapsed[0], 0);
    cr_assert_eq(elapsed[1], CBM_CORE_NS_PER_S);
}
