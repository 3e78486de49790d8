/* Calls on a breaker that is on the board: what costs no message, what is counted where, and what is asked of the broker after all. */
#include <criterion/criterion.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "board_scene.h"
#include "error.h"

TestSuite(client_board, .timeout = 60);

#define FAST CBM_WORD_FAST
#define TIMED (CBM_WORD_FAST | CBM_WORD_TIMED)

/* The permit of the report received last. */
static cbm_core_permit reported_permit(const scene *s, bool *ours)
{
    cbm_request request = fake_broker_last(fake_board_broker(s->board), CBM_OP_CALL_REPORT);
    uint8_t incarnation[CBM_ID_SIZE];
    cbm_core_permit permit;

    memset(incarnation, fake_broker_incarnation(fake_board_broker(s->board)), sizeof(incarnation));
    cr_assert(cbm_permit_read(request.report.permit, request.report.permit_size, incarnation, &permit, ours));
    return permit;
}

/* ---- What costs nothing ---------------------------------------------------------------------------------------------- */

Test(client_board, a_success_sends_no_message_and_stands_in_the_ledger)
{
    scene s = new_scene(CBM_FAIL_CLOSED);
    int before = messages(&s);

    for (int i = 0; i < 1000; i++)
        cr_assert_eq(call_with(s.breaker, CBM_SUCCESS), 0);
    cr_assert_eq(messages(&s), before);
    cr_assert_eq(counts(&s).successes, 1000);
    cr_assert_eq(atomic_load(&fake_board_ledger(s.board)->entries[0][0].successes[1]), 1000, "by the epoch");
    cr_assert_eq(counts(&s).timed, 0, "nobody wants durations");
    end_scene(&s);
}

Test(client_board, successes_are_counted_by_their_epoch)
{
    scene s = new_scene(CBM_FAIL_CLOSED);

    for (uint32_t epoch = 2; epoch < 12; epoch++) {
        put(&s, CBM_CORE_CLOSED, FAST, epoch, 0);
        for (uint32_t i = 0; i < epoch; i++)
            cr_assert_eq(call_with(s.breaker, CBM_SUCCESS), 0);
    }
    for (uint32_t slot = 0; slot < CBM_LEDGER_EPOCHS; slot++)
        cr_assert_eq(atomic_load(&fake_board_ledger(s.board)->entries[0][0].successes[slot]),
                     slot < 2 ? slot + 8 : (slot < 4 ? slot + slot + 8 : slot));
    end_scene(&s);
}

Test(client_board, manual_states_that_let_calls_pass_do_so_without_a_message)
{
    scene s = new_scene(CBM_FAIL_CLOSED);
    int before = messages(&s);

    put(&s, CBM_CORE_DISABLED, FAST, 2, 0);
    cr_assert_eq(call_with(s.breaker, CBM_SUCCESS), 0);
    put(&s, CBM_CORE_METRICS_ONLY, FAST, 3, 0);
    cr_assert_eq(call_with(s.breaker, CBM_SUCCESS), 0);
    cr_assert_eq(messages(&s), before);
    cr_assert_eq(counts(&s).successes, 2);
    end_scene(&s);
}

static int answer_7(void *argument)
{
    (void)argument;
    return 7;
}

static int answer_0(void *argument)
{
    (void)argument;
    return 0;
}

Test(client_board, calls_by_name_send_no_message_either)
{
    scene s = new_scene(CBM_FAIL_CLOSED);
    cbm_breaker *other = get_breaker(s.client, "other", NULL);
    int before = messages(&s);
    int result = -1;

    for (int i = 0; i < 10; i++) {
        cr_assert_eq(cbm_call(s.client, "ha_api", answer_0, NULL, &result), 0);
        cr_assert_eq(cbm_call_with(s.client, "other", "an id", answer_0, NULL, NULL), 0);
    }
    cr_assert_eq(result, 0);
    cr_assert_eq(messages(&s), before);
    cr_assert_eq(counts(&s).successes, 10);
    cr_assert_eq(fake_counts_of(fake_board_ledger(s.board), 1).successes, 10);
    cr_assert_eq(cbm_call(s.client, "ha_api", answer_7, NULL, &result), 0);
    cr_assert_eq(result, 7);
    cr_assert_eq(count(&s, CBM_OP_CALL_REPORT), 1, "a failure is reported");
    cr_assert_not_null(other);
    end_scene(&s);
}

Test(client_board, a_handle_that_was_not_got_is_got_by_its_first_begin_which_is_one_operation)
{
    scene s = new_scene(CBM_FAIL_CLOSED);
    bool ours = false;

    cr_assert_eq(cbm_call(s.client, "by_name", answer_0, NULL, NULL), 0);
    cr_assert_eq(count(&s, CBM_OP_GET), 2);
    cr_assert_eq(count(&s, CBM_OP_CALL_BEGIN), 0, "get has brought it onto the board");
    cr_assert_eq(count(&s, CBM_OP_CALL_REPORT), 1, "and was counted, so its success is not counted by the ledger");
    cr_assert_eq(reported_permit(&s, &ours).flags, 0);
    cr_assert(ours);
    cr_assert_eq(cbm_call(s.client, "by_name", answer_0, NULL, NULL), 0);
    cr_assert_eq(count(&s, CBM_OP_GET), 2);
    cr_assert_eq(count(&s, CBM_OP_CALL_REPORT), 1);
    end_scene(&s);
}

/* ---- Refused from the board ------------------------------------------------------------------------------------------- */

static void refused(const scene *s, int error, int64_t least_ms, int64_t most_ms)
{
    cbm_permit permit;
    int before = messages(s);

    cr_assert_eq(cbm_call_begin(s->breaker, &permit), error);
    cr_assert_str_eq(cbm_last_message(), cbm_strerror(error));
    cr_assert_geq(cbm_permit_retry_after_ms(&permit), least_ms);
    cr_assert_leq(cbm_permit_retry_after_ms(&permit), most_ms);
    cr_assert_eq(cbm_permit_unprotected(&permit), 0);
    cr_assert_eq(cbm_permit_probe(&permit), 0);
    cr_assert_eq(cbm_call_report(&permit, CBM_SUCCESS), CBM_E_INVALID);
    cr_assert_eq(messages(s), before);
}

Test(client_board, open_refuses_without_a_message_and_says_when_to_try_again)
{
    scene s = new_scene(CBM_FAIL_CLOSED);

    put(&s, CBM_CORE_OPEN, 0, 2, now_ns() + 30 * SECOND);
    refused(&s, CBM_E_OPEN, 29000, 30020);
    put(&s, CBM_CORE_FORCED_OPEN, 0, 3, INT64_MAX);
    refused(&s, CBM_E_FORCED_OPEN, -1, -1);
    put(&s, CBM_CORE_FORCED_OPEN, 0, 4, now_ns() + SECOND);
    refused(&s, CBM_E_FORCED_OPEN, 1, 1020);
    cr_assert_eq(counts(&s).rejected, 3);
    end_scene(&s);
}

Test(client_board, when_open_is_over_the_broker_is_asked_and_not_before)
{
    scene s = new_scene(CBM_FAIL_CLOSED);
    int64_t end_ns = now_ns() + SECOND / 20;
    cbm_permit permit;
    int error;

    put(&s, CBM_CORE_OPEN, 0, 2, end_ns);
    while ((error = cbm_call_begin(s.breaker, &permit)) == CBM_E_OPEN)
        cr_assert_gt(cbm_permit_retry_after_ms(&permit), 0);
    cr_assert_eq(error, 0);
    cr_assert_geq(now_ns(), end_ns);
    cr_assert_eq(count(&s, CBM_OP_CALL_BEGIN), 1);
    end_scene(&s);
}

Test(client_board, a_half_open_breaker_is_asked_for_unless_it_is_full)
{
    scene s = new_scene(CBM_FAIL_CLOSED);
    cbm_permit permit;

    put(&s, CBM_CORE_HALF_OPEN, CBM_WORD_FULL, 2, now_ns() + 30 * SECOND);
    refused(&s, CBM_E_HALF_OPEN_FULL, 29000, 30020);
    cr_assert_eq(counts(&s).half_open_rejected, 1);
    cr_assert_eq(counts(&s).rejected, 0);
    put(&s, CBM_CORE_HALF_OPEN, CBM_WORD_FULL, 2, now_ns() - 1);
    cr_assert_eq(cbm_call_begin(s.breaker, &permit), 0, "the lease is over");
    put(&s, CBM_CORE_HALF_OPEN, 0, 2, 0);
    cr_assert_eq(cbm_call_begin(s.breaker, &permit), 0);
    cr_assert_eq(count(&s, CBM_OP_CALL_BEGIN), 2);
    end_scene(&s);
}

Test(client_board, every_begin_is_asked_where_the_board_says_so)
{
    scene s = new_scene(CBM_FAIL_CLOSED);
    cbm_permit permit;

    put(&s, CBM_CORE_CLOSED, FAST | CBM_WORD_ASK, 1, 0);
    cr_assert_eq(cbm_call_begin(s.breaker, &permit), 0);
    put(&s, CBM_CORE_OPEN, CBM_WORD_ASK, 2, now_ns() + 30 * SECOND);
    cr_assert_eq(cbm_call_begin(s.breaker, &permit), 0, "this broker lets everybody in");
    cr_assert_eq(count(&s, CBM_OP_CALL_BEGIN), 2);
    end_scene(&s);
}

/* ---- What is reported by message -------------------------------------------------------------------------------------- */

static cbm_permit begun(const scene *s)
{
    cbm_permit permit;

    cr_assert_eq(cbm_call_begin(s->breaker, &permit), 0);
    return permit;
}

Test(client_board, whatever_is_no_success_is_reported_with_a_permit_that_says_where_it_is_from)
{
    scene s = new_scene(CBM_FAIL_CLOSED);
    bool ours = false;

    for (int outcome = CBM_FAILURE; outcome <= CBM_IGNORED; outcome++) {
        cbm_permit permit = begun(&s);
        cbm_core_permit reported;

        cr_assert_eq(cbm_call_report(&permit, (cbm_outcome)outcome), 0);
        cr_assert_eq(count(&s, CBM_OP_CALL_REPORT), outcome);
        reported = reported_permit(&s, &ours);
        cr_assert(ours);
        cr_assert(reported.slot == 0 && reported.slot_generation == FAKE_GENERATION && reported.epoch == 1);
        cr_assert(reported.flags == CBM_CORE_PERMIT_UNCOUNTED && reported.id == 0);
        cr_assert_eq(fake_broker_last(fake_board_broker(s.board), CBM_OP_CALL_REPORT).report.duration_ns, -1);
        cr_assert_eq(cbm_call_report(&permit, CBM_SUCCESS), CBM_E_INVALID, "reported already");
    }
    cr_assert_eq(count(&s, CBM_OP_CALL_BEGIN), 0);
    cr_assert_eq(counts(&s).successes, 0);
    end_scene(&s);
}

Test(client_board, a_success_that_may_decide_something_is_reported_by_message)
{
    scene s = new_scene(CBM_FAIL_CLOSED);
    cbm_permit permit = begun(&s);

    put(&s, CBM_CORE_CLOSED, 0, 1, 0);
    cr_assert_eq(cbm_call_report(&permit, CBM_SUCCESS), 0);
    cr_assert_eq(count(&s, CBM_OP_CALL_REPORT), 1);
    cr_assert_eq(counts(&s).successes, 0);
    end_scene(&s);
}

Test(client_board, a_report_that_says_more_than_success_is_sent)
{
    scene s = new_scene(CBM_FAIL_CLOSED);
    cbm_report_options options = {.size = sizeof(options)};
    cbm_permit permit = begun(&s);

    options.open_for_ms = 1000;
    cr_assert_eq(cbm_call_report_with(&permit, CBM_SUCCESS, &options), 0);
    cr_assert_eq(count(&s, CBM_OP_CALL_REPORT), 1);
    options = (cbm_report_options){.size = sizeof(options), .error_text = "odd"};
    permit = begun(&s);
    cr_assert_eq(cbm_call_report_with(&permit, CBM_SUCCESS, &options), 0);
    cr_assert_eq(count(&s, CBM_OP_CALL_REPORT), 2);
    options = (cbm_report_options){.size = sizeof(options), .correlation_id = "for the log of what is logged"};
    permit = begun(&s);
    cr_assert_eq(cbm_call_report_with(&permit, CBM_SUCCESS, &options), 0);
    cr_assert_eq(count(&s, CBM_OP_CALL_REPORT), 2);
    cr_assert_eq(counts(&s).successes, 1);
    end_scene(&s);
}

Test(client_board, a_late_success_is_counted_as_such_without_a_message)
{
    scene s = new_scene(CBM_FAIL_CLOSED);
    cbm_permit permit = begun(&s);
    int before = messages(&s);

    put(&s, CBM_CORE_OPEN, 0, 2, now_ns() + 30 * SECOND);
    cr_assert_eq(cbm_call_report(&permit, CBM_SUCCESS), 0);
    cr_assert_eq(counts(&s).late, 1);
    cr_assert_eq(counts(&s).successes, 0);
    cr_assert_eq(messages(&s), before);
    end_scene(&s);
}

Test(client_board, a_late_failure_is_sent_with_the_epoch_of_its_permit)
{
    scene s = new_scene(CBM_FAIL_CLOSED);
    cbm_permit permit = begun(&s);
    bool ours = false;

    put(&s, CBM_CORE_OPEN, 0, 2, now_ns() + 30 * SECOND);
    cr_assert_eq(cbm_call_report(&permit, CBM_FAILURE), 0);
    cr_assert_eq(reported_permit(&s, &ours).epoch, 1);
    end_scene(&s);
}

Test(client_board, a_breaker_that_is_gone_is_got_again_and_its_last_permit_is_reported_as_it_was)
{
    scene s = new_scene(CBM_FAIL_CLOSED);
    cbm_permit permit = begun(&s);
    bool ours = false;

    fake_board_renew_slot(s.board, 0);
    cr_assert_eq(cbm_call_report(&permit, CBM_SUCCESS), 0);
    cr_assert_eq(reported_permit(&s, &ours).slot_generation, FAKE_GENERATION);
    cr_assert_eq(call_with(s.breaker, CBM_SUCCESS), 0);
    cr_assert_eq(count(&s, CBM_OP_GET), 2);
    cr_assert_eq(fake_broker_last(fake_board_broker(s.board), CBM_OP_GET).entry, 0, "it names the entry that it has");
    cr_assert_eq(count(&s, CBM_OP_CALL_BEGIN), 0);
    cr_assert_eq(call_with(s.breaker, CBM_SUCCESS), 0);
    cr_assert_eq(counts(&s).successes, 1, "the first after the get was a message");
    end_scene(&s);
}

Test(client_board, a_place_where_the_breaker_is_not_found_is_not_asked_for_at_every_begin)
{
    scene s = new_scene(CBM_FAIL_CLOSED);

    fake_board_put(s.board, 0, cbm_word_make(CBM_CORE_CLOSED, FAST, 1, FAKE_GENERATION + 50), 0);
    for (int i = 0; i < 10; i++)
        cr_assert_eq(call_with(s.breaker, CBM_SUCCESS), 0);
    cr_assert_leq(count(&s, CBM_OP_GET), 3);
    cr_assert_eq(count(&s, CBM_OP_CALL_BEGIN), 10);
    end_scene(&s);
}

Test(client_board, without_room_in_the_ledger_begins_cost_nothing_and_reports_go_by_message)
{
    scene s = {.board = fake_board_start(FAKE_ATTACH_WELL)};
    bool ours = false;

    fake_board_limit_entries(s.board, 0);
    s.client = open_client(fake_board_address(s.board), CBM_FAIL_CLOSED);
    s.breaker = get_breaker(s.client, "ha_api", NULL);
    for (int i = 0; i < 10; i++)
        cr_assert_eq(call_with(s.breaker, CBM_SUCCESS), 0);
    cr_assert_eq(count(&s, CBM_OP_CALL_BEGIN), 0);
    cr_assert_eq(count(&s, CBM_OP_CALL_REPORT), 10);
    cr_assert_eq(reported_permit(&s, &ours).flags, CBM_CORE_PERMIT_UNCOUNTED);
    put(&s, CBM_CORE_OPEN, 0, 2, now_ns() + 30 * SECOND);
    cr_assert_eq(call_with(s.breaker, CBM_SUCCESS), 0, "the broker is to count the refusal");
    cr_assert_eq(count(&s, CBM_OP_CALL_BEGIN), 1);
    end_scene(&s);
}

/* ---- Durations -------------------------------------------------------------------------------------------------------- */

Test(client_board, durations_are_taken_where_the_rule_wants_them)
{
    scene s = new_scene(CBM_FAIL_CLOSED);

    put(&s, CBM_CORE_CLOSED, TIMED, 1, 30 * SECOND);
    for (int i = 0; i < 10; i++)
        cr_assert_eq(call_with(s.breaker, CBM_SUCCESS), 0);
    cr_assert_eq(counts(&s).successes, 10);
    cr_assert_eq(counts(&s).timed, 10);
    cr_assert_eq(counts(&s).histogram, 10);
    cr_assert_eq(call_with(s.breaker, CBM_FAILURE), 0);
    cr_assert_geq(fake_broker_last(fake_board_broker(s.board), CBM_OP_CALL_REPORT).report.duration_ns, 0);
    end_scene(&s);
}

Test(client_board, a_slow_success_is_reported_by_message)
{
    scene s = new_scene(CBM_FAIL_CLOSED);
    cbm_permit permit;

    put(&s, CBM_CORE_CLOSED, TIMED, 1, SECOND / 100);
    permit = begun(&s);
    sleep_ms(11);
    cr_assert_eq(cbm_call_report(&permit, CBM_SUCCESS), 0);
    cr_assert_eq(count(&s, CBM_OP_CALL_REPORT), 1);
    cr_assert_gt(fake_broker_last(fake_board_broker(s.board), CBM_OP_CALL_REPORT).report.duration_ns, SECOND / 100);
    cr_assert_eq(counts(&s).timed, 0);
    end_scene(&s);
}

Test(client_board, a_duration_that_is_given_is_kept_also_where_the_rule_has_no_use_for_it)
{
    scene s = {.board = fake_board_start(FAKE_ATTACH_WELL)};
    cbm_report_options options = {.size = sizeof(options), .duration_ns = 5000000};
    cbm_permit permit;

    fake_board_set_slow(s.board, 10);
    s.client = open_client(fake_board_address(s.board), CBM_FAIL_CLOSED);
    s.breaker = get_breaker(s.client, "ha_api", NULL);
    permit = begun(&s);
    cr_assert_eq(cbm_call_report_with(&permit, CBM_SUCCESS, &options), 0);
    cr_assert_eq(counts(&s).timed, 1);
    cr_assert_eq(atomic_load(&fake_board_ledger(s.board)->histograms[0][0].counts[cbm_ledger_bucket(5000000)]), 1);
    options.duration_ns = 10000001;
    permit = begun(&s);
    cr_assert_eq(cbm_call_report_with(&permit, CBM_SUCCESS, &options), 0);
    cr_assert_eq(count(&s, CBM_OP_CALL_REPORT), 1, "slow calls are counted under every rule");
    options.duration_ns = -1;
    permit = begun(&s);
    cr_assert_eq(cbm_call_report_with(&permit, CBM_SUCCESS, &options), 0);
    cr_assert_eq(counts(&s).timed, 1, "not to be recorded");
    cr_assert_eq(counts(&s).successes, 2);
    end_scene(&s);
}

Test(client_board, whoever_asks_for_it_has_the_duration_taken)
{
    scene s = new_scene(CBM_FAIL_CLOSED);
    cbm_begin_options options = {.size = sizeof(options), .timed = 1};
    cbm_permit permit;
    int before = messages(&s);

    cr_assert_eq(cbm_call_begin_with(s.breaker, &options, &permit), 0);
    cr_assert_eq(cbm_call_report(&permit, CBM_SUCCESS), 0);
    cr_assert_eq(counts(&s).timed, 1);
    cr_assert_eq(messages(&s), before);
    end_scene(&s);
}

/* ---- A word that changes in the middle of a report ---------------------------------------------------------------------- */

static void *change_the_word(void *context)
{
    const scene *s = context;

    for (int i = 0; count(s, CBM_OP_PULL) == 0; i++)
        put(s, CBM_CORE_CLOSED, i % 2 ? FAST : 0, 1, 0);
    return NULL;
}

static void call_while_the_word_changes(const cbm_report_options *options)
{
    scene s = new_scene(CBM_FAIL_CLOSED);
    int64_t end_ms = test_clock_ms() + PATIENCE_MS;
    cbm_permit permit;
    uint64_t calls = 0;
    pthread_t thread;

    cr_assert_eq(pthread_create(&thread, NULL, change_the_word, &s), 0);
    while (count(&s, CBM_OP_PULL) == 0 && test_clock_ms() < end_ms) {
        permit = begun(&s);
        cr_assert_eq(
            options ? cbm_call_report_with(&permit, CBM_SUCCESS, options) : cbm_call_report(&permit, CBM_SUCCESS), 0);
        calls++;
    }
    cr_assert_eq(count(&s, CBM_OP_PULL), 1);
    cr_assert_str_eq(fake_broker_last(fake_board_broker(s.board), CBM_OP_PULL).name, "ha_api");
    pthread_join(thread, NULL);
    cr_assert_eq(counts(&s).successes + (uint64_t)count(&s, CBM_OP_CALL_REPORT), calls, "each went one way, once");
    end_scene(&s);
}

Test(client_board, when_the_word_changes_while_a_success_is_added_the_broker_is_made_to_look_again)
{
    call_while_the_word_changes(NULL);
}

Test(client_board, a_report_with_options_that_makes_the_broker_look_again_does_not_keep_the_client_from_closing)
{
    cbm_report_options options = {.size = sizeof(options), .correlation_id = "job 7"};

    call_while_the_word_changes(&options);
}
