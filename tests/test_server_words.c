/*
 * What the board says of breakers, before anybody is answered.
 */
#include <criterion/criterion.h>

#include "counting_engine.h"
#include "error.h"

TestSuite(server_words, .init = counting_set_up, .fini = counting_tear_down, .timeout = 60);

/* ---- The board ---------------------------------------------------------------------------------------------------------- */

Test(server_words, the_board_says_what_the_breaker_is_before_anybody_is_answered)
{
    counting_handle handle = counting_get(client, "a", "failure_threshold=1 timeout_ms=60000");
    cbm_core_status status = counting_status(&handle);
    int64_t aux, now_ns;

    cr_assert_eq(counting_word(&handle, &aux),
                 cbm_word_make(CBM_CORE_CLOSED, CBM_WORD_FAST, status.epoch, status.slot_generation));
    cr_assert_eq(aux, 0);
    now_ns = cbm_clock_ns();
    counting_report(&handle, CBM_CORE_FAILURE);
    cr_assert_eq(counting_word(&handle, &aux),
                 cbm_word_make(CBM_CORE_OPEN, 0, status.epoch + 1, status.slot_generation));
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

Test(server_words, a_report_that_only_lengthens_open_is_on_the_board_too)
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

Test(server_words, windows_want_durations_while_calls_pass)
{
    counting_handle handle = counting_get(client, "a", "rule=count_window slow_call_duration_ms=250");
    int64_t aux;

    cr_assert(counting_word(&handle, &aux) & CBM_WORD_TIMED);
    cr_assert_eq(aux, 250 * CBM_CORE_NS_PER_MS);
    control(&handle, CBM_CORE_CONTROL_FORCE_OPEN, 0);
    cr_assert_not(counting_word(&handle, &aux) & CBM_WORD_TIMED);
    cr_assert_eq(aux, INT64_MAX);
}

Test(server_words, a_full_half_open_refuses_from_the_board_for_as_long_as_its_lease)
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

Test(server_words, a_lease_without_end_is_looked_at_every_second)
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

Test(server_words, half_open_with_a_permit_to_give_is_asked)
{
    counting_handle handle = counting_get(
        client, "a", "failure_threshold=1 timeout_ms=1 permit_lease_ms=60000 half_open_calls=2 success_threshold=2");
    int error;

    open_and_wait(&handle);
    begin(client, "a", &error);
    cr_assert_not(flag(&handle, CBM_WORD_FULL));
    begin(client, "a", &error);
    cr_assert(flag(&handle, CBM_WORD_FULL));
}

Test(server_words, an_empty_slot_is_of_its_next_breaker_and_asks)
{
    counting_handle handle = counting_get(client, "a", "");
    uint64_t removed;

    cr_assert_eq(cbm_engine_remove(engine, &client->caller, "a", &removed), 0);
    cr_assert_eq(removed, 1);
    cr_assert_gt(cbm_word_generation(counting_word(&handle, NULL)), handle.generation);
    cr_assert(flag(&handle, CBM_WORD_ASK));
    cr_assert_not(flag(&handle, CBM_WORD_FAST));
}

Test(server_words, where_each_begin_is_limited_each_asks_and_counts_once)
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
