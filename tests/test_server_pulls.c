/*
 * The engine and processes that count by themselves: what they counted comes before what the broker does, at each moment at which
 * it has to.
 */
#include <criterion/criterion.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>

#include "counting_engine.h"
#include "engine_inner.h"
#include "error.h"

TestSuite(server_pulls, .init = counting_set_up, .fini = counting_tear_down, .timeout = 120);

/* ---- Before a report ------------------------------------------------------------------------------------------------- */

Test(server_pulls, successes_in_ledgers_come_before_the_failure_that_follows)
{
    counting_handle handle = counting_get(client, "a", "failure_threshold=3");

    cr_assert_eq(counting_report(&handle, CBM_CORE_FAILURE), CBM_CORE_CLOSED);
    cr_assert_eq(counting_report(&handle, CBM_CORE_FAILURE), CBM_CORE_CLOSED);
    counting_successes(&handle, 1);
    cr_assert_eq(counting_report(&handle, CBM_CORE_FAILURE), CBM_CORE_CLOSED, "the success came in between");
    cr_assert_eq(counting_report(&handle, CBM_CORE_FAILURE), CBM_CORE_CLOSED);
    cr_assert_eq(counting_report(&handle, CBM_CORE_FAILURE), CBM_CORE_OPEN);
}

Test(server_pulls, they_do_so_whoever_reports_and_whoever_counted)
{
    counting_client *other = counting_client_new(engine, 2);
    counting_handle handle = counting_get(client, "a", "failure_threshold=2");
    counting_handle others = counting_get(other, "a", "");

    cr_assert_eq(counting_report(&handle, CBM_CORE_FAILURE), CBM_CORE_CLOSED);
    counting_successes(&others, 1);
    cr_assert_eq(counting_report(&handle, CBM_CORE_FAILURE), CBM_CORE_CLOSED);
    cr_assert_eq(counting_report(&others, CBM_CORE_FAILURE), CBM_CORE_OPEN);
    cr_assert_eq(board_state(&others), CBM_CORE_OPEN);
    counting_client_free(other);
}

Test(server_pulls, a_pull_reads_the_holders_of_that_breaker_and_nobody_else)
{
    counting_client *other = counting_client_new(engine, 2);
    counting_handle handle = counting_get(client, "a", ""), others = counting_get(other, "b", "");

    counting_successes(&handle, 2);
    counting_successes(&others, 3);
    cr_assert_eq(cbm_engine_pull(engine, &client->caller, "a"), 0);
    cr_assert_eq(recorded(&handle), 2);
    cr_assert_eq(recorded(&others), 0);
    cr_assert_eq(cbm_engine_pull(engine, &client->caller, "nobody"), CBM_PROTO_E_NOT_FOUND);
    counting_client_free(other);
}

Test(server_pulls, a_window_counts_them_in_their_place)
{
    counting_handle handle =
        counting_get(client, "a", "rule=count_window window_size=10 minimum_calls=10 failure_rate=50");

    for (int i = 0; i < 4; i++)
        counting_report(&handle, CBM_CORE_FAILURE);
    counting_successes(&handle, 4);
    cr_assert_eq(counting_report(&handle, CBM_CORE_FAILURE), CBM_CORE_CLOSED, "five of nine, but nine are too few");
    cr_assert_not(flag(&handle, CBM_WORD_FAST), "one more success would decide");
    cr_assert_eq(counting_succeed(&handle, counting_word(&handle, NULL)), NOT_COUNTED);
    cr_assert_eq(counting_report(&handle, CBM_CORE_SUCCESS), CBM_CORE_OPEN);
}

Test(server_pulls, fast_comes_back_when_successes_decide_nothing_any_more)
{
    counting_handle handle =
        counting_get(client, "a", "rule=count_window window_size=4 minimum_calls=4 failure_rate=75");

    counting_report(&handle, CBM_CORE_FAILURE);
    counting_report(&handle, CBM_CORE_FAILURE);
    counting_report(&handle, CBM_CORE_SUCCESS);
    cr_assert(flag(&handle, CBM_WORD_FAST));
    counting_successes(&handle, 100);
    cr_assert_eq(counting_report(&handle, CBM_CORE_FAILURE), CBM_CORE_CLOSED);
    cr_assert_eq(counting_status(&handle).failures, 1);
}

/* ---- Before whatever is done by hand ----------------------------------------------------------------------------------- */

Test(server_pulls, nothing_done_by_hand_makes_those_before_it_late)
{
    static const cbm_core_control controls[] = {CBM_CORE_CONTROL_METRICS_ONLY, CBM_CORE_CONTROL_DISABLE,
                                                CBM_CORE_CONTROL_ENABLE, CBM_CORE_CONTROL_FORCE_OPEN};
    counting_handle handle = counting_get(client, "a", "");
    cbm_core_status status;
    uint64_t calls = 0;

    for (size_t i = 0; i < sizeof controls / sizeof controls[0]; i++) {
        counting_successes(&handle, 5);
        calls += 5;
        control(&handle, controls[i], 0);
    }
    control(&handle, CBM_CORE_CONTROL_ENABLE, 0);
    counting_successes(&handle, 5);
    cr_assert_eq(cbm_engine_reset(engine, &client->caller, "a", &status), 0);
    counting_successes(&handle, 5);
    cbm_engine_reset_all(engine, &client->caller);
    calls += 10;
    cr_assert_eq(statistics(&handle).successful_calls, calls);
    cr_assert_eq(statistics(&handle).late_reports, 0);
}

Test(server_pulls, those_under_a_control_are_not_late_when_it_ends_by_time)
{
    counting_handle handle = counting_get(client, "a", "");

    control(&handle, CBM_CORE_CONTROL_METRICS_ONLY, 20);
    counting_successes(&handle, 7);
    for (int64_t end_ns = cbm_clock_ns() + 10 * CBM_CORE_NS_PER_S; board_state(&handle) != CBM_CORE_CLOSED;)
        cr_assert_lt(cbm_clock_ns(), end_ns, "the timer ends it, and says so on the board");
    cr_assert_eq(statistics(&handle).successful_calls, 7);
    cr_assert_eq(statistics(&handle).late_reports, 0);
}

Test(server_pulls, nor_when_a_request_finds_it_over_before_the_timer_does)
{
    counting_handle handle = counting_get(client, "a", "");
    cbm_core_state state;
    int error;

    for (int i = 0; i < 20; i++) {
        control(&handle, CBM_CORE_CONTROL_METRICS_ONLY, 1);
        counting_succeed(&handle, counting_word(&handle, NULL));
        wait_until(cbm_clock_ns() + CBM_CORE_NS_PER_MS + 10000);
        state = begin(client, "a", &error);
        cr_assert_eq(state, CBM_CORE_CLOSED);
    }
    cr_assert_eq(statistics(&handle).successful_calls, 20);
    cr_assert_eq(statistics(&handle).late_reports, 0);
}

Test(server_pulls, another_policy_finds_them_recorded_under_the_one_before)
{
    counting_handle handle =
        counting_get(client, "a", "rule=count_window window_size=100 minimum_calls=100 policy_version=1");
    cbm_core_policy_request request = {0};
    cbm_core_status status;
    int bad_field;

    counting_successes(&handle, 50);
    cbm_core_policy_set_number(&request, cbm_core_policy_find("window_size", 11), 10);
    cr_assert_eq(cbm_engine_configure(engine, &client->caller, "a", &request, &bad_field, &status), 0);
    cr_assert_eq(status.calls, 10);
    cr_assert_eq(status.statistics.successful_calls, 50);
    counting_successes(&handle, 3);
    counting_get(client, "a", "rule=consecutive policy_version=2");
    cr_assert_eq(recorded(&handle), 53);
}

/* ---- Transitions ------------------------------------------------------------------------------------------------------- */

Test(server_pulls, one_counted_under_an_epoch_that_is_over_is_late)
{
    counting_handle handle = counting_get(client, "a", "failure_threshold=1");
    uint64_t begun = counting_word(&handle, NULL);

    cr_assert_eq(counting_report(&handle, CBM_CORE_FAILURE), CBM_CORE_OPEN);
    cr_assert_eq(counting_succeed(&handle, begun), COUNTED_LATE);
    cr_assert_eq(statistics(&handle).late_reports, 1);
    cr_assert_eq(statistics(&handle).successful_calls, 1);
}

/* As of a thread that was held up between its look at the board and its count. */
Test(server_pulls, epochs_are_told_apart_by_their_last_three_bits)
{
    counting_handle handle = counting_get(client, "a", "failure_threshold=1000000");
    uint64_t late = 0;
    cbm_core_status status;

    for (uint32_t ago = 1; ago < CBM_LEDGER_EPOCHS; ago++) {
        uint32_t epoch = cbm_word_epoch(counting_word(&handle, NULL));

        for (uint32_t i = 0; i < ago; i++)
            cr_assert_eq(cbm_engine_reset(engine, &client->caller, "a", &status), 0);
        counting_report(&handle, CBM_CORE_FAILURE);
        counting_entry(&handle)->successes[epoch % CBM_LEDGER_EPOCHS]++;
        late++;
        cr_assert_eq(cbm_engine_pull(engine, &client->caller, "a"), 0);
        status = counting_status(&handle);
        cr_assert_eq(status.statistics.late_reports, late, "%u epochs ago", ago);
        cr_assert_eq(status.failures, 1, "and clears no failures");
    }
    counting_successes(&handle, 1);
    status = counting_status(&handle);
    cr_assert_eq(status.statistics.late_reports, late);
    cr_assert_eq(status.failures, 0);
}

Test(server_pulls, an_epoch_wraps_without_anything_late)
{
    cbm_engine *saved = engine;
    counting_client *wrapping;
    counting_handle handle;
    cbm_core_status status;

    engine = new_engine((cbm_engine_options){.first_number = CBM_CORE_EPOCH_MASK - 3});
    wrapping = counting_client_new(engine, 1);
    handle = counting_get(wrapping, "a", "");
    for (int i = 0; i < 10; i++) {
        counting_successes(&handle, 1);
        cr_assert_eq(cbm_engine_reset(engine, &wrapping->caller, "a", &status), 0);
    }
    status = counting_status(&handle);
    cr_assert_lt(status.epoch, 20);
    cr_assert_eq(status.statistics.successful_calls, 10);
    cr_assert_eq(status.statistics.late_reports, 0);
    counting_client_free(wrapping);
    cbm_engine_free(engine);
    engine = saved;
}

/* Counts as fast as it can; what it would ask a pull for it only notes. */
typedef struct racer {
    counting_handle handle;
    atomic_bool stop;
    atomic_uint round, seen_off; /* the latest round in which it saw that `fast` is off */
    _Atomic uint64_t would_pull;
} racer;

static void *race(void *argument)
{
    racer *runner = argument;
    const _Atomic uint64_t *board_word = &client->board->slots[runner->handle.slot].word;
    _Atomic uint64_t *counters = counting_entry(&runner->handle)->successes;

    while (!atomic_load_explicit(&runner->stop, memory_order_relaxed)) {
        unsigned round = atomic_load(&runner->round);
        uint64_t word = atomic_load_explicit(board_word, memory_order_acquire);

        if (!(word & CBM_WORD_FAST)) {
            atomic_store(&runner->seen_off, round);
            continue;
        }
        atomic_fetch_add(&counters[cbm_word_epoch(word) % CBM_LEDGER_EPOCHS], 1);
        if (atomic_load(board_word) != word)
            atomic_fetch_add(&runner->would_pull, 1);
    }
    return NULL;
}

/* What stands in the ledger and was not recorded, now that nobody counts. */
static uint64_t not_recorded(const racer *runner)
{
    const cbm_holding *holding = &engine->shared.ledgers.slots[runner->handle.slot].all[0];
    uint64_t sum = 0;

    for (uint32_t i = 0; i < CBM_LEDGER_EPOCHS; i++)
        sum += counting_entry(&runner->handle)->successes[i] - holding->seen[i];
    return sum;
}

/*
 * A million times, or as often as this machine can in some seconds, `fast` is taken away under a thread that counts. What that takes
 * for counted was recorded, and decided, by then.
 */
Test(server_pulls, none_is_missed_when_fast_ends_under_it)
{
    racer runner = {
        .handle = counting_get(client, "a", "rule=count_window window_size=1000 minimum_calls=1000 failure_rate=0.1")};
    int64_t end_ns = cbm_clock_ns() + 6 * CBM_CORE_NS_PER_S;
    uint64_t asked, would_pull = 0, missed = 0;
    unsigned round = 1;
    cbm_core_status status;
    pthread_t thread;

    pthread_create(&thread, NULL, race, &runner);
    for (; round <= 1000000 && cbm_clock_ns() < end_ns; round++) {
        counting_report(&runner.handle, CBM_CORE_FAILURE);
        cr_assert_not(flag(&runner.handle, CBM_WORD_FAST), "decided, or about to be");
        atomic_store(&runner.round, round);
        for (int spins = 1; atomic_load(&runner.seen_off) != round; spins++)
            if (spins % 1000 == 0)
                sched_yield();
        asked = atomic_load(&runner.would_pull) - would_pull;
        missed += not_recorded(&runner) > asked ? not_recorded(&runner) - asked : 0;
        would_pull += asked;
        cbm_engine_pull(engine, &client->caller, "a");
        cbm_engine_reset(engine, &client->caller, "a", &status);
    }
    atomic_store(&runner.stop, true);
    pthread_join(thread, NULL);
    status = counting_status(&runner.handle);
    fprintf(stderr, "%u times; %llu counted, %llu of them as it ended, %llu missed\n", round - 1,
            (unsigned long long)status.statistics.successful_calls, (unsigned long long)would_pull,
            (unsigned long long)missed);
    cr_assert_gt(status.statistics.successful_calls, 1000);
    cr_assert_eq(missed, 0);
}

/* ---- When it is looked at ----------------------------------------------------------------------------------------------- */

Test(server_pulls, states_and_statistics_leave_nothing_out)
{
    counting_handle first = counting_get(client, "a", ""), second = counting_get(client, "b", "");
    cbm_core_status statuses[3];
    cbm_page_reply page = {.statuses = statuses};
    cbm_core_stats before, stats;

    cbm_engine_stats(engine, &before);
    counting_successes(&first, 3);
    counting_successes(&second, 4);
    counting_entry(&second)->rejected = 5;
    counting_entry(&second)->half_open_rejected = 6;
    cbm_engine_states(engine, "*", "", 3, &page);
    cr_assert_eq(page.count, 2);
    cr_assert_eq(statuses[0].statistics.successful_calls, 3);
    cr_assert_eq(statuses[1].statistics.successful_calls, 4);
    cr_assert_eq(statuses[1].statistics.rejected_calls, 11);
    cr_assert_eq(statuses[1].statistics.half_open_rejected_calls, 6);
    counting_successes(&first, 2);
    cbm_engine_pull_ledgers(engine);
    cbm_engine_stats(engine, &stats);
    cr_assert_eq(stats.total_operations, before.total_operations + 3 + 4 + 2, "a call is an operation");
}

Test(server_pulls, durations_become_percentiles)
{
    counting_handle handle = counting_get(client, "a", "rule=count_window");
    uint32_t bucket = cbm_ledger_bucket(50 * CBM_CORE_NS_PER_MS);
    cbm_core_statistics all;

    counting_successes(&handle, 10);
    client->ledger->histograms[0][handle.entry].counts[bucket] = 10;
    counting_entry(&handle)->timed = 10;
    all = statistics(&handle);
    cr_assert_float_eq(all.p50_ms, 50, 10);
    cr_assert_float_eq(all.p99_ms, 50, 10);
    cr_assert_eq(all.total_calls, 10);
}

Test(server_pulls, a_report_of_a_call_from_the_board_counts_its_operation)
{
    counting_handle handle = counting_get(client, "a", "");
    cbm_core_stats before, stats;

    cbm_engine_stats(engine, &before);
    counting_report(&handle, CBM_CORE_FAILURE);
    cbm_engine_stats(engine, &stats);
    cr_assert_eq(stats.total_operations, before.total_operations + 1);
}
