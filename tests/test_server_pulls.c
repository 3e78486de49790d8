/*
 * The engine and processes that count by themselves: what they counted comes before what the broker does, at each moment at which
 * it has to, and the board says what follows before anybody is answered.
 */
#include <criterion/criterion.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "counting_client.h"
#include "engine_inner.h"
#include "error.h"
#include "log.h"
#include "sanitizers.h"

static cbm_engine *engine;
static counting_client *client;
static int ended;

static cbm_engine *new_engine(cbm_engine_options options)
{
    cbm_engine *made;

    options.max_breakers = 1000;
    options.rate_window_ms = 1000;
    options.address = "ipc:///tmp/s";
    cr_assert_eq(cbm_engine_new(&made, &options), 0);
    counting_listen(made, &ended);
    return made;
}

static void set_up(void)
{
    cbm_log_set_level(CBM_LOG_ERROR);
    ended = 0;
    engine = new_engine((cbm_engine_options){0});
    client = counting_client_new(engine, 1);
}

static void tear_down(void)
{
    counting_client_free(client);
    cbm_engine_free(engine);
}

TestSuite(server_pulls, .init = set_up, .fini = tear_down, .timeout = 60);

static cbm_core_state begin(counting_client *who, const char *name, int *error)
{
    cbm_core_decision decision;

    *error = cbm_engine_call_begin(engine, &who->caller, name, NULL, NULL, &decision);
    return decision.state;
}

static uint64_t flag(const counting_handle *handle, uint64_t flags)
{
    return counting_word(handle, NULL) & flags;
}

static cbm_core_state board_state(const counting_handle *handle)
{
    return cbm_word_state(counting_word(handle, NULL));
}

static void control(const counting_handle *handle, cbm_core_control what, uint32_t for_ms)
{
    cbm_core_status status;

    cr_assert_eq(cbm_engine_control(engine, &client->caller, handle->name, what, NULL, for_ms, &status), 0);
}

static void wait_until(int64_t at_ns)
{
    struct timespec time = {at_ns / CBM_CORE_NS_PER_S, at_ns % CBM_CORE_NS_PER_S};

    clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &time, NULL);
}

/* Waits for a whole second to begin, if less of this one is left than that. */
static void have_time_in_this_second(int64_t needed_ns)
{
    int64_t now_ns = cbm_clock_ns(), next_ns = (now_ns / CBM_CORE_NS_PER_S + 1) * CBM_CORE_NS_PER_S;

    if (next_ns - now_ns < needed_ns)
        wait_until(next_ns);
}

static cbm_core_snapshot snapshot(const counting_handle *handle)
{
    cbm_core_snapshot made;

    pthread_mutex_lock(&engine->lock);
    cr_assert_eq(cbm_core_snapshot_at(engine->manager, handle->slot, cbm_clock_ns(), &made), 0);
    pthread_mutex_unlock(&engine->lock);
    return made;
}

/* What the engine has recorded, without a look at ledgers. */
static uint64_t recorded(const counting_handle *handle)
{
    return snapshot(handle).statistics.successful_calls;
}

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
    counting_handle handle = counting_get(client, "a", "rule=count_window window_size=10 minimum_calls=10 failure_rate=50");

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
    counting_handle handle = counting_get(client, "a", "rule=count_window window_size=4 minimum_calls=4 failure_rate=75");

    counting_report(&handle, CBM_CORE_FAILURE);
    counting_report(&handle, CBM_CORE_FAILURE);
    counting_report(&handle, CBM_CORE_SUCCESS);
    cr_assert(flag(&handle, CBM_WORD_FAST));
    counting_successes(&handle, 100);
    cr_assert_eq(counting_report(&handle, CBM_CORE_FAILURE), CBM_CORE_CLOSED);
    cr_assert_eq(counting_status(&handle).failures, 1);
}

/* ---- Before whatever is done by hand ----------------------------------------------------------------------------------- */

static cbm_core_statistics statistics(const counting_handle *handle)
{
    return counting_status(handle).statistics;
}

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

/* A million times `fast` is taken away under a thread that counts. What it takes for counted was recorded, and decided, by then. */
Test(server_pulls, none_is_missed_when_fast_ends_under_it, .timeout = 300)
{
    racer runner = {.handle = counting_get(
                        client, "a", "rule=count_window window_size=1000 minimum_calls=1000 failure_rate=0.1")};
    uint64_t asked, would_pull = 0, missed = 0;
    cbm_core_status status;
    pthread_t thread;

    pthread_create(&thread, NULL, race, &runner);
    for (unsigned round = 1; round <= (TEST_UNDER_ASAN ? 100000 : 1000000); round++) {
        counting_report(&runner.handle, CBM_CORE_FAILURE);
        cr_assert_not(flag(&runner.handle, CBM_WORD_FAST), "decided, or about to be");
        atomic_store(&runner.round, round);
        while (atomic_load(&runner.seen_off) != round)
            continue;
        asked = atomic_load(&runner.would_pull) - would_pull;
        missed += not_recorded(&runner) > asked ? not_recorded(&runner) - asked : 0;
        would_pull += asked;
        cbm_engine_pull(engine, &client->caller, "a");
        cbm_engine_reset(engine, &client->caller, "a", &status);
    }
    atomic_store(&runner.stop, true);
    pthread_join(thread, NULL);
    status = counting_status(&runner.handle);
    cr_log_info("%lu counted, %lu of them as it ended, %lu missed", status.statistics.successful_calls, would_pull, missed);
    cr_assert_gt(status.statistics.successful_calls, 1000);
    cr_assert_eq(missed, 0);
}

/* ---- Seconds ------------------------------------------------------------------------------------------------------------ */

#define ONE_SECOND "rule=time_window window_s=1 minimum_calls=1000"

Test(server_pulls, what_was_counted_belongs_to_the_second_in_which_it_was_when_a_request_comes_after_it)
{
    counting_handle handle;

    have_time_in_this_second(200 * CBM_CORE_NS_PER_MS);
    handle = counting_get(client, "a", ONE_SECOND);
    counting_successes(&handle, 10);
    cr_assert_eq(counting_status(&handle).calls, 10);
    counting_successes(&handle, 10);
    wait_until((cbm_clock_ns() / CBM_CORE_NS_PER_S + 1) * CBM_CORE_NS_PER_S);
    cr_assert_eq(counting_status(&handle).calls, 0);
    cr_assert_eq(statistics(&handle).successful_calls, 20);
    have_time_in_this_second(200 * CBM_CORE_NS_PER_MS);
    counting_successes(&handle, 4);
    cr_assert_eq(counting_status(&handle).calls, 4);
}

Test(server_pulls, nobody_needs_to_ask_for_that)
{
    counting_handle handle;

    have_time_in_this_second(200 * CBM_CORE_NS_PER_MS);
    handle = counting_get(client, "a", ONE_SECOND);
    counting_successes(&handle, 10);
    for (int64_t end_ns = cbm_clock_ns() + 10 * CBM_CORE_NS_PER_S; recorded(&handle) < 10;)
        cr_assert_lt(cbm_clock_ns(), end_ns);
    have_time_in_this_second(200 * CBM_CORE_NS_PER_MS);
    cr_assert_eq(counting_status(&handle).calls, 0);
    cr_assert_gt(engine->shared.ticks.lateness_last_ns, 0);
    cr_assert_leq(engine->shared.ticks.lateness_last_ns, engine->shared.ticks.lateness_max_ns);
}

Test(server_pulls, fast_follows_the_window_as_it_moves)
{
    counting_handle handle;
    uint64_t fast = CBM_WORD_FAST;

    have_time_in_this_second(200 * CBM_CORE_NS_PER_MS);
    handle = counting_get(client, "a", "rule=time_window window_s=1 minimum_calls=10 failure_rate=50");
    for (int i = 0; i < 6; i++)
        counting_report(&handle, CBM_CORE_FAILURE);
    cr_assert_not(flag(&handle, CBM_WORD_FAST), "with four successes it would open");
    for (int64_t end_ns = cbm_clock_ns() + 10 * CBM_CORE_NS_PER_S; flag(&handle, CBM_WORD_FAST) != fast;)
        cr_assert_lt(cbm_clock_ns(), end_ns);
}

Test(server_pulls, there_are_ticks_only_while_a_time_window_has_holders)
{
    counting_handle other = counting_get(client, "b", "rule=count_window");
    counting_handle handle;

    cr_assert_eq(engine->shared.ticks.next_ns, CBM_CORE_NEVER_NS);
    handle = counting_get(client, "a", ONE_SECOND);
    cr_assert_eq(engine->shared.ticks.count, 1);
    cr_assert_lt(engine->shared.ticks.next_ns, CBM_CORE_NEVER_NS);
    control(&handle, CBM_CORE_CONTROL_FORCE_OPEN, 0);
    cr_assert_eq(engine->shared.ticks.next_ns, CBM_CORE_NEVER_NS);
    control(&handle, CBM_CORE_CONTROL_ENABLE, 0);
    cr_assert_eq(engine->shared.ticks.count, 1);
    control(&other, CBM_CORE_CONTROL_METRICS_ONLY, 0);
    cr_assert_eq(engine->shared.ticks.count, 1);
    cbm_engine_ledger_end(engine, client->holder);
    cr_assert_eq(engine->shared.ticks.next_ns, CBM_CORE_NEVER_NS);
}

Test(server_pulls, many_ticks_leave_none_out)
{
    counting_handle handles[200];
    uint64_t removed;
    char name[16];

    for (int i = 0; i < 200; i++) {
        snprintf(name, sizeof name, "b%d", i);
        handles[i] = counting_get(client, name, ONE_SECOND);
    }
    cr_assert_eq(cbm_engine_remove(engine, &client->caller, "b1?", &removed), 0);
    have_time_in_this_second(200 * CBM_CORE_NS_PER_MS);
    for (int i = 0; i < 200; i++)
        if (i < 10 || i > 19)
            counting_successes(&handles[i], 1);
    for (int i = 0; i < 200; i++)
        for (int64_t end_ns = cbm_clock_ns() + 10 * CBM_CORE_NS_PER_S; (i < 10 || i > 19) && !recorded(&handles[i]);)
            cr_assert_lt(cbm_clock_ns(), end_ns, "%d", i);
    cr_assert_eq(engine->shared.ticks.count, 190);
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

/* ---- The board ---------------------------------------------------------------------------------------------------------- */

Test(server_pulls, the_board_says_what_the_breaker_is_before_anybody_is_answered)
{
    counting_handle handle = counting_get(client, "a", "failure_threshold=1 timeout_ms=60000");
    cbm_core_status status = counting_status(&handle);
    int64_t aux, now_ns;

    cr_assert_eq(counting_word(&handle, &aux),
                 cbm_word_make(CBM_CORE_CLOSED, CBM_WORD_FAST, status.epoch, status.slot_generation));
    cr_assert_eq(aux, 0);
    now_ns = cbm_clock_ns();
    counting_report(&handle, CBM_CORE_FAILURE);
    cr_assert_eq(counting_word(&handle, &aux), cbm_word_make(CBM_CORE_OPEN, 0, status.epoch + 1, status.slot_generation));
    cr_assert_geq(aux, now_ns + 60 * CBM_CORE_NS_PER_S);
    cr_assert_leq(aux, cbm_clock_ns() + 60 * CBM_CORE_NS_PER_S);
    control(&handle, CBM_CORE_CONTROL_FORCE_OPEN, 0);
    cr_assert_eq(counting_word(&handle, &aux),
                 cbm_word_make(CBM_CORE_FORCED_OPEN, 0, status.epoch + 2, status.slot_generation));
    cr_assert_eq(aux, INT64_MAX);
    control(&handle, CBM_CORE_CONTROL_DISABLE, 0);
    cr_assert_eq(board_state(&handle), CBM_CORE_DISABLED);
    cr_assert(flag(&handle, CBM_WORD_FAST));
}

Test(server_pulls, a_report_that_only_lengthens_open_is_on_the_board_too)
{
    counting_handle handle = counting_get(client, "a", "failure_threshold=1 timeout_ms=1000");
    cbm_report_message message = {.name = "a", .outcome = CBM_CORE_FAILURE, .duration_ns = -1, .open_for_ms = 500000};
    int64_t before, after;
    cbm_core_state state;

    counting_report(&handle, CBM_CORE_FAILURE);
    counting_word(&handle, &before);
    cr_assert_eq(cbm_engine_call_report(engine, &client->caller, &message, &state), 0);
    counting_word(&handle, &after);
    cr_assert_gt(after, before + 400 * CBM_CORE_NS_PER_S);
}

Test(server_pulls, windows_want_durations_while_calls_pass)
{
    counting_handle handle = counting_get(client, "a", "rule=count_window slow_call_duration_ms=250");
    int64_t aux;

    cr_assert(counting_word(&handle, &aux) & CBM_WORD_TIMED);
    cr_assert_eq(aux, 250 * CBM_CORE_NS_PER_MS);
    control(&handle, CBM_CORE_CONTROL_FORCE_OPEN, 0);
    cr_assert_not(counting_word(&handle, &aux) & CBM_WORD_TIMED);
    cr_assert_eq(aux, INT64_MAX);
}

static void open_and_wait(const counting_handle *handle)
{
    cbm_core_status status;

    counting_report(handle, CBM_CORE_FAILURE);
    for (int64_t end_ns = cbm_clock_ns() + 10 * CBM_CORE_NS_PER_S; !(status = counting_status(handle)).due;)
        cr_assert_lt(cbm_clock_ns(), end_ns);
}

Test(server_pulls, a_full_half_open_refuses_from_the_board_for_as_long_as_its_lease)
{
    counting_handle handle = counting_get(client, "a", "failure_threshold=1 timeout_ms=1 permit_lease_ms=5000");
    int64_t now_ns, aux;
    int error;

    open_and_wait(&handle);
    cr_assert_eq(board_state(&handle), CBM_CORE_OPEN, "until somebody asks");
    now_ns = cbm_clock_ns();
    cr_assert_eq(begin(client, "a", &error), CBM_CORE_HALF_OPEN);
    cr_assert_eq(error, 0);
    cr_assert_eq(board_state(&handle), CBM_CORE_HALF_OPEN);
    cr_assert(counting_word(&handle, &aux) & CBM_WORD_FULL);
    cr_assert_geq(aux, now_ns + 5100 * CBM_CORE_NS_PER_MS);
    cr_assert_leq(aux, cbm_clock_ns() + 5100 * CBM_CORE_NS_PER_MS);
}

Test(server_pulls, a_lease_without_end_is_looked_at_every_second)
{
    counting_handle handle = counting_get(client, "a", "failure_threshold=1 timeout_ms=1 permit_lease_ms=0");
    int64_t aux, again;
    int error;

    open_and_wait(&handle);
    begin(client, "a", &error);
    cr_assert(counting_word(&handle, &aux) & CBM_WORD_FULL);
    cr_assert_leq(aux, cbm_clock_ns() + CBM_CORE_NS_PER_S);
    begin(client, "a", &error);
    cr_assert_eq(error, CBM_PROTO_E_HALF_OPEN_FULL);
    cr_assert(counting_word(&handle, &again) & CBM_WORD_FULL);
    cr_assert_gt(again, aux);
}

Test(server_pulls, half_open_with_a_permit_to_give_is_asked)
{
    counting_handle handle = counting_get(client, "a", "failure_threshold=1 timeout_ms=1 half_open_calls=2 success_threshold=2");
    int error;

    open_and_wait(&handle);
    begin(client, "a", &error);
    cr_assert_not(flag(&handle, CBM_WORD_FULL));
    begin(client, "a", &error);
    cr_assert(flag(&handle, CBM_WORD_FULL));
}

Test(server_pulls, an_empty_slot_is_of_its_next_breaker_and_asks)
{
    counting_handle handle = counting_get(client, "a", "");
    uint64_t removed;

    cr_assert_eq(cbm_engine_remove(engine, &client->caller, "a", &removed), 0);
    cr_assert_eq(removed, 1);
    cr_assert_gt(cbm_word_generation(counting_word(&handle, NULL)), handle.generation);
    cr_assert(flag(&handle, CBM_WORD_ASK));
    cr_assert_not(flag(&handle, CBM_WORD_FAST));
}

Test(server_pulls, where_each_begin_is_limited_each_asks_and_counts_once)
{
    cbm_engine *saved = engine;
    counting_client *asking;
    counting_handle handle;
    cbm_core_stats stats;

    engine = new_engine((cbm_engine_options){.rate_limit_calls = true});
    asking = counting_client_new(engine, 1);
    handle = counting_get(asking, "a", "");
    cr_assert(flag(&handle, CBM_WORD_ASK));
    counting_successes(&handle, 5);
    cbm_engine_pull_ledgers(engine);
    cbm_engine_stats(engine, &stats);
    cr_assert_eq(stats.total_operations, 1, "the get: those that began asked");
    cr_assert_eq(counting_status(&handle).statistics.successful_calls, 5);
    counting_client_free(asking);
    cbm_engine_free(engine);
    engine = saved;
}

/* ---- Coming and going --------------------------------------------------------------------------------------------------- */

Test(server_pulls, a_process_that_is_gone_loses_nothing_that_it_counted)
{
    counting_client *other = counting_client_new(engine, 2);
    counting_handle handle = counting_get(client, "a", ""), others = counting_get(other, "a", "");

    counting_successes(&others, 9);
    counting_entry(&others)->late = 1;
    cbm_engine_ledger_end(engine, other->holder);
    cbm_engine_ledger_end(engine, other->holder);
    cr_assert_eq(recorded(&handle), 10);
    cr_assert_eq(snapshot(&handle).statistics.late_reports, 1);
    cr_assert_eq(ended, 0, "who says so knows it");
    counting_client_free(other);
}

Test(server_pulls, a_probe_belongs_to_the_process_and_not_to_its_connection)
{
    counting_handle handle = counting_get(client, "a", "failure_threshold=1 timeout_ms=1 permit_lease_ms=0");
    int error;

    open_and_wait(&handle);
    begin(client, "a", &error);
    cr_assert_eq(error, 0);
    cbm_engine_caller_gone(engine, &client->caller);
    cr_assert_eq(counting_status(&handle).permits_out, 1);
    cbm_engine_ledger_end(engine, client->holder);
    cr_assert_eq(board_state(&handle), CBM_CORE_OPEN, "a worker that died in the probe is a failed one");
    cr_assert_eq(counting_status(&handle).statistics.abandoned, 1);
}

Test(server_pulls, a_detached_ledger_is_nobodys_holder)
{
    counting_handle handle = counting_get(client, "a", "failure_threshold=1 timeout_ms=1 permit_lease_ms=0");
    cbm_caller stranger = {.uid = 1000, .pid = 7, .holder = 7, .connection = 7, .correlation_id = ""};
    int error;

    counting_successes(&handle, 2);
    cr_assert_eq(cbm_engine_detach(engine, &stranger, client->ledger->id), CBM_PROTO_E_NOT_FOUND);
    cr_assert_eq(cbm_engine_detach(engine, &client->caller, client->ledger->id), 0);
    cr_assert_eq(cbm_engine_detach(engine, &client->caller, client->ledger->id), CBM_PROTO_E_NOT_FOUND);
    cr_assert_eq(ended, 1);
    cr_assert_eq(recorded(&handle), 2);
    open_and_wait(&handle);
    begin(client, "a", &error);
    cr_assert_eq(error, 0);
    cbm_engine_caller_gone(engine, &client->caller);
    cr_assert_eq(counting_status(&handle).statistics.abandoned, 1, "its permits are its connection's again");
}

Test(server_pulls, a_ledger_that_comes_again_goes_on)
{
    counting_handle handle = counting_get(client, "a", "");
    uint64_t holder = client->holder;

    counting_successes(&handle, 2);
    cr_assert_eq(counting_client_attach(client), 0);
    cr_assert_eq(client->holder, holder);
    cr_assert_eq(recorded(&handle), 2);
    counting_successes(&handle, 3);
    cr_assert_eq(counting_status(&handle).statistics.successful_calls, 5);
    cr_assert_eq(counting_status(&handle).statistics.late_reports, 0);
    counting_get_again(&handle);
    cr_assert_eq(handle.entry, 0);
    cr_assert_eq(ended, 0);
}

Test(server_pulls, a_ledger_is_not_taken_from_who_has_it)
{
    counting_client thief = *client;

    thief.caller.pid = 2;
    cr_assert_eq(counting_client_attach(&thief), CBM_PROTO_E_DENIED);
    thief.caller = client->caller;
    thief.caller.uid = 1001;
    cr_assert_eq(counting_client_attach(&thief), CBM_PROTO_E_DENIED);
}

Test(server_pulls, who_names_anothers_ledger_gets_no_entry_and_no_say)
{
    cbm_caller thief = {.uid = 1000, .pid = 2, .holder = 2, .connection = 2, .correlation_id = ""};
    cbm_ledger_claim claim = {.ledger = client->ledger->id, .wanted = -1, .entry = -1};
    cbm_core_policy_request policy = {0};
    cbm_core_get_result result;

    cr_assert_eq(cbm_engine_get(engine, &thief, "a", &policy, &claim, &result), 0);
    cr_assert_eq(claim.entry, -1);
    cr_assert_eq(thief.holder, 2);
}

Test(server_pulls, a_new_broker_takes_what_the_old_one_did_not_see_as_statistics_only)
{
    counting_handle handle;
    cbm_engine *old = engine;
    cbm_core_status status;

    counting_get(client, "b", "");
    handle = counting_get(client, "a", "failure_threshold=2");
    cr_assert_eq(handle.entry, 1);
    counting_successes(&handle, 6);
    engine = new_engine((cbm_engine_options){0});
    client->engine = engine;
    client->board = counting_client_new(engine, 9)->board; /* the new broker's */
    cr_assert_eq(counting_client_attach(client), 0);
    handle.client = client;
    counting_get_again(&handle);
    cr_assert_eq(handle.entry, 1, "it names its entries");
    status = counting_status(&handle);
    cr_assert_eq(status.statistics.successful_calls, 6);
    cr_assert_eq(status.statistics.late_reports, 6);
    counting_successes(&handle, 1);
    status = counting_status(&handle);
    cr_assert_eq(status.statistics.successful_calls, 7);
    cr_assert_eq(status.statistics.late_reports, 6);
    cbm_engine_free(old);
}

Test(server_pulls, a_process_without_a_pid_ends_with_its_connection)
{
    cbm_caller caller = {.uid = 1000, .holder = 5, .connection = 5, .correlation_id = ""};
    counting_client nameless = *client;
    uint8_t token[CBM_ID_SIZE];
    int64_t now_ns;

    cr_assert_eq(cbm_engine_detach(engine, &client->caller, client->ledger->id), 0);
    nameless.caller = caller;
    cr_assert_eq(counting_client_attach(&nameless), CBM_PROTO_E_DENIED, "who has no token has no connection");
    cr_assert_eq(cbm_engine_attach(engine, &caller, token, &now_ns), 0);
    cr_assert(caller.holds, "so that its end is told");
    cr_assert_eq(counting_client_attach(&nameless), 0);
    cr_assert_eq(engine->shared.ledgers.count, 1);
    cbm_engine_caller_gone(engine, &caller);
    cr_assert_eq(engine->shared.ledgers.count, 0);
    cr_assert_eq(ended, 2);
    cr_assert_eq(counting_client_attach(&nameless), CBM_PROTO_E_DENIED, "the token may come late");
}

/* ---- Breakers that go and come again ------------------------------------------------------------------------------------ */

Test(server_pulls, a_breaker_that_is_made_again_begins_anew_in_the_same_entry)
{
    counting_handle handle = counting_get(client, "a", "");
    uint64_t removed;

    counting_successes(&handle, 4);
    cr_assert_eq(cbm_engine_remove(engine, &client->caller, "a", &removed), 0);
    cr_assert_eq(counting_succeed(&handle, counting_word(&handle, NULL) ^ CBM_WORD_GENERATION_MASK), NOT_COUNTED);
    counting_get_again(&handle);
    cr_assert_eq(handle.entry, 0);
    cr_assert_eq(counting_status(&handle).statistics.successful_calls, 0);
    counting_successes(&handle, 2);
    cr_assert_eq(counting_status(&handle).statistics.successful_calls, 2);
}

Test(server_pulls, reset_manager_takes_all_breakers_and_no_watermark)
{
    counting_handle handle = counting_get(client, "a", ""), other = counting_get(client, "b", "");
    cbm_core_stats stats;

    counting_successes(&handle, 4);
    counting_successes(&other, 4);
    cr_assert_eq(cbm_engine_reset_manager(engine, &client->caller), 0);
    cbm_engine_pull_ledgers(engine);
    cbm_engine_stats(engine, &stats);
    cr_assert_eq(stats.total_operations, 0);
    counting_get_again(&other);
    counting_get_again(&handle);
    cr_assert_eq(handle.entry, 0);
    cr_assert_eq(other.entry, 1);
    counting_successes(&handle, 1);
    cr_assert_eq(counting_status(&handle).statistics.successful_calls, 1);
    cr_assert_eq(counting_status(&other).statistics.successful_calls, 0);
}

Test(server_pulls, a_breaker_that_is_only_called_by_ledger_does_not_expire)
{
    counting_handle handle = counting_get(client, "a", "expire_after_s=1"), idle = counting_get(client, "b", "expire_after_s=1");
    int64_t end_ns = cbm_clock_ns() + 1500 * CBM_CORE_NS_PER_MS;
    cbm_core_status status;

    while (cbm_clock_ns() < end_ns) {
        counting_successes(&handle, 1);
        wait_until(cbm_clock_ns() + 10 * CBM_CORE_NS_PER_MS);
    }
    cr_assert_eq(cbm_engine_state_of(engine, "b", &status), CBM_PROTO_E_NOT_FOUND);
    cr_assert_neq(cbm_word_generation(counting_word(&idle, NULL)), idle.generation);
    cr_assert_eq(counting_status(&handle).slot_generation, handle.generation);
}

/* ---- What makes no sense ------------------------------------------------------------------------------------------------- */

Test(server_pulls, a_ledger_that_makes_no_sense_is_given_up_and_the_process_goes_on_by_message)
{
    counting_client *other = counting_client_new(engine, 2);
    counting_handle handle = counting_get(client, "a", "failure_threshold=2"), others = counting_get(other, "a", "");
    cbm_core_state state;
    int error;

    counting_entry(&handle)->successes[0] = UINT64_C(1) << 50;
    counting_successes(&others, 3);
    cr_assert_eq(counting_report(&others, CBM_CORE_FAILURE), CBM_CORE_CLOSED);
    cr_assert_eq(recorded(&others), 3);
    cr_assert_eq(counting_status(&others).failures, 1, "it clears nothing either");
    state = begin(client, "a", &error);
    cr_assert_eq(state, CBM_CORE_CLOSED);
    cr_assert_eq(error, 0);
    counting_get_again(&handle);
    cr_assert_eq(handle.entry, -1);
    cr_assert_eq(ended, 0, "its process is watched still, for its permits");
    cr_assert_eq(engine->shared.ledgers.count, 2);
    cbm_engine_ledger_end(engine, client->holder);
    cr_assert_eq(engine->shared.ledgers.count, 1);
    counting_client_free(other);
}

Test(server_pulls, a_ledger_that_was_given_up_may_come_again)
{
    counting_handle handle = counting_get(client, "a", "");

    counting_successes(&handle, 3);
    cr_assert_eq(cbm_engine_pull(engine, &client->caller, "a"), 0);
    counting_entry(&handle)->successes[cbm_word_epoch(counting_word(&handle, NULL)) % CBM_LEDGER_EPOCHS] = 2;
    cr_assert_eq(cbm_engine_pull(engine, &client->caller, "a"), 0);
    counting_entry(&handle)->successes[cbm_word_epoch(counting_word(&handle, NULL)) % CBM_LEDGER_EPOCHS] = 3;
    cr_assert_eq(counting_client_attach(client), 0);
    counting_get_again(&handle);
    cr_assert_eq(handle.entry, 0);
    counting_successes(&handle, 1);
    cr_assert_eq(counting_status(&handle).statistics.successful_calls, 4);
}

Test(server_pulls, a_ledger_of_another_kind_is_refused)
{
    client->ledger->version++;
    cr_assert_eq(counting_client_attach(client), CBM_PROTO_E_INVALID);
}

/* Who may report may trip any breaker, by ledger as by message; but that is all that it can do. */
Test(server_pulls, forged_permits_are_late_or_refused)
{
    counting_handle handle = counting_get(client, "a", ""), other = counting_get(client, "b", "");
    cbm_core_permit forged[] = {
        {.slot = UINT32_MAX, .slot_generation = handle.generation, .flags = UINT32_MAX},
        {.slot = handle.slot, .slot_generation = UINT32_MAX, .epoch = UINT32_MAX, .flags = UINT32_MAX},
        {.slot = handle.slot, .slot_generation = handle.generation, .epoch = UINT32_MAX},
        {.slot = handle.slot, .slot_generation = handle.generation, .id = UINT64_MAX},
        {.slot = other.slot, .slot_generation = other.generation},
    };
    size_t count = sizeof forged / sizeof forged[0];
    cbm_report_message message = {.name = "a", .outcome = CBM_CORE_FAILURE, .duration_ns = -1, .count = 1};
    cbm_core_state state;

    for (size_t i = 0; i < count; i++) {
        message.permit_size = cbm_permit_write(message.permit, &forged[i], cbm_engine_incarnation(engine));
        cr_assert_eq(cbm_engine_call_report(engine, &client->caller, &message, &state),
                     i == count - 1 ? CBM_PROTO_E_INVALID : 0);
    }
    cr_assert_eq(statistics(&handle).late_reports, count - 1);
    cr_assert_eq(counting_status(&handle).failures, 0);
}
