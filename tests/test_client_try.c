/* What those ask who must not wait, and handles that nobody is asked for. */
#include <criterion/criterion.h>
#include <string.h>
#include <time.h>

#include "client.h"
#include "client_fixture.h"
#include "fake_board.h"
#include "permit.h"

TestSuite(client_try, .timeout = 60);

#define MINUTE (60 * INT64_C(1000000000))

static fake_board *board;
static cbm_client *client;
static cbm_breaker *breaker;

static void set_up(void)
{
    board = fake_board_start(FAKE_ATTACH_WELL);
    client = open_client(fake_board_address(board), CBM_FAIL_CLOSED);
    breaker = get_breaker(client, "ha_api", NULL);
}

static void tear_down(void)
{
    cbm_close(client);
    fake_board_stop(board);
}

static int messages(cbm_operation op)
{
    return fake_broker_count(fake_board_broker(board), op);
}

static void put(cbm_core_state state, uint64_t flags, int64_t aux)
{
    fake_board_put(board, 0, fake_board_word(board, state, flags, 1), aux);
}

static fake_counts counts(void)
{
    return fake_counts_of(fake_board_ledger(board), 0);
}

Test(client_try, what_the_board_answers_needs_no_message, .init = set_up, .fini = tear_down)
{
    cbm_report_options timed = {.size = sizeof(timed), .duration_ns = 5000};
    cbm_permit permit;

    cr_assert_eq(cbm_call_try_begin(breaker, &permit), 0);
    cr_assert_eq(cbm_call_try_report(&permit, CBM_SUCCESS, NULL), 0);
    cr_assert_eq(cbm_call_try_begin(breaker, &permit), 0);
    cr_assert_eq(cbm_call_try_report(&permit, CBM_SUCCESS, &timed), 0);
    cr_assert_eq(counts().successes, 2);
    cr_assert_eq(counts().timed, 1);
    cr_assert_eq(cbm_call_report(&permit, CBM_SUCCESS), CBM_E_INVALID, "it is spent");
    cr_assert_eq(messages(CBM_OP_CALL_BEGIN) + messages(CBM_OP_CALL_REPORT), 0);
}

Test(client_try, an_open_circuit_refuses_without_a_message, .init = set_up, .fini = tear_down)
{
    struct timespec now;
    cbm_permit permit;

    clock_gettime(CLOCK_MONOTONIC, &now);
    put(CBM_CORE_OPEN, 0, now.tv_sec * INT64_C(1000000000) + MINUTE);
    cr_assert_eq(cbm_call_try_begin(breaker, &permit), CBM_E_OPEN);
    cr_assert_gt(cbm_permit_retry_after_ms(&permit), 0);
    cr_assert_eq(messages(CBM_OP_CALL_BEGIN), 0);
}

Test(client_try, a_begin_that_would_wait_does_nothing, .init = set_up, .fini = tear_down)
{
    cbm_permit permit;

    put(CBM_CORE_CLOSED, CBM_WORD_FAST | CBM_WORD_ASK, 0);
    cr_assert_eq(cbm_call_try_begin(breaker, &permit), CBM_WOULD_WAIT);
    cr_assert_eq(messages(CBM_OP_CALL_BEGIN), 0);
    cr_assert_eq(cbm_call_report(&permit, CBM_SUCCESS), CBM_E_INVALID, "there is no permit");
    cr_assert_eq(cbm_call_begin(breaker, &permit), 0);
    cr_assert_eq(messages(CBM_OP_CALL_BEGIN), 1);
    cr_assert_eq(cbm_call_try_report(&permit, CBM_SUCCESS, NULL), CBM_WOULD_WAIT, "the broker gave it");
    cr_assert_eq(cbm_call_report(&permit, CBM_SUCCESS), 0);
}

Test(client_try, a_report_that_would_wait_is_still_to_be_made, .init = set_up, .fini = tear_down)
{
    cbm_report_options text = {.size = sizeof(text), .error_text = "slow"};
    cbm_permit permit;

    cr_assert_eq(cbm_call_try_begin(breaker, &permit), 0);
    cr_assert_eq(cbm_call_try_report(&permit, CBM_FAILURE, NULL), CBM_WOULD_WAIT);
    cr_assert_eq(cbm_call_try_report(&permit, CBM_SUCCESS, &text), CBM_WOULD_WAIT);
    put(CBM_CORE_CLOSED, 0, 0);
    cr_assert_eq(cbm_call_try_report(&permit, CBM_SUCCESS, NULL), CBM_WOULD_WAIT, "it may decide something");
    cr_assert_eq(counts().successes, 0);
    cr_assert_eq(messages(CBM_OP_CALL_REPORT), 0);
    cr_assert_eq(cbm_call_report_with(&permit, CBM_FAILURE, NULL), 0);
    cr_assert_eq(messages(CBM_OP_CALL_REPORT), 1);
}

Test(client_try, a_success_that_is_counted_already_owes_a_pull_alone, .init = set_up, .fini = tear_down)
{
    cbm_permit permit;

    cr_assert_eq(cbm_call_try_begin(breaker, &permit), 0);
    permit.cbm_private_kind = CBM_PERMIT_PULLS; /* as when the broker looks between adding and looking again */
    cr_assert_eq(cbm_call_try_report(&permit, CBM_SUCCESS, NULL), CBM_WOULD_WAIT);
    cr_assert_eq(cbm_call_report(&permit, CBM_SUCCESS), 0);
    cr_assert_eq(messages(CBM_OP_PULL), 1);
    cr_assert_eq(messages(CBM_OP_CALL_REPORT), 0);
    cr_assert_eq(cbm_call_report(&permit, CBM_SUCCESS), CBM_E_INVALID, "it is spent");
}

Test(client_try, a_handle_asks_nobody_and_the_first_begin_is_one_message, .init = set_up, .fini = tear_down)
{
    cbm_policy policy = CBM_POLICY_INIT;
    cbm_breaker *handle;
    cbm_permit permit;

    policy.failure_threshold = 3;
    cr_assert_eq(cbm_handle(client, "other", &policy, &handle), 0);
    cr_assert_eq(messages(CBM_OP_GET), 1, "that of ha_api");
    cr_assert_eq(cbm_call_try_begin(handle, &permit), CBM_WOULD_WAIT);
    cr_assert_eq(call_with(handle, CBM_SUCCESS), 0);
    cr_assert_eq(messages(CBM_OP_GET) + messages(CBM_OP_CALL_BEGIN), 2, "one message for the first begin");
    cr_assert_eq(cbm_call_try_begin(handle, &permit), 0);
    cr_assert_eq(get_breaker(client, "other", NULL), handle);
}

Test(client_try, of_a_local_manager_nothing_waits)
{
    cbm_client *local = open_client("local:", CBM_FAIL_OPEN);
    cbm_policy policy = CBM_POLICY_INIT;
    cbm_breaker *handle;
    cbm_permit permit;

    policy.failure_threshold = 1;
    cr_assert_eq(cbm_handle(local, "ha_api", &policy, &handle), 0);
    cr_assert_eq(cbm_call_try_begin(handle, &permit), 0);
    cr_assert_eq(cbm_call_try_report(&permit, CBM_FAILURE, NULL), 0);
    cr_assert_eq(cbm_call_try_begin(handle, &permit), CBM_E_OPEN);
    cbm_close(local);
}

Test(client_try, what_is_not_valid_is_an_error, .init = set_up, .fini = tear_down)
{
    cbm_policy policy = {.size = 1};
    cbm_breaker *handle = breaker;
    cbm_permit permit;

    cr_assert_eq(cbm_handle(client, "", NULL, &handle), CBM_E_INVALID);
    cr_assert_null(handle);
    cr_assert_eq(cbm_handle(client, "x", &policy, &handle), CBM_E_INVALID);
    cr_assert_eq(cbm_handle(NULL, "x", NULL, &handle), CBM_E_INVALID);
    cr_assert_eq(cbm_handle(client, "x", NULL, NULL), CBM_E_INVALID);
    cr_assert_eq(cbm_call_try_begin(NULL, &permit), CBM_E_INVALID);
    cr_assert_eq(cbm_call_try_begin(breaker, NULL), CBM_E_INVALID);
    cr_assert_eq(cbm_call_try_report(NULL, CBM_SUCCESS, NULL), CBM_E_INVALID);
}
