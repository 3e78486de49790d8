/* The broker dies, hangs or comes back, as the board and the deadlines tell, while no call asks it anything. */
#include <criterion/criterion.h>
#include <time.h>

#include "client_fixture.h"
#include "fake_board.h"

TestSuite(client_dead, .timeout = 60);

#define SECOND INT64_C(1000000000)

static int64_t now_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * SECOND + now.tv_nsec;
}

static int messages(fake_board *board)
{
    int sum = 0;

    for (int op = 0; op < CBM_OP_COUNT; op++)
        sum += fake_broker_count(fake_board_broker(board), (cbm_operation)op);
    return sum;
}

static void put(fake_board *board, cbm_core_state state, uint64_t flags, uint32_t epoch, int64_t aux)
{
    fake_board_put(board, 0, fake_board_word(board, state, flags, epoch), aux);
}

/* What the very next begin says after a death that nobody has noticed by a message. */
static int next_begin(cbm_when_away when_away, cbm_permit *permit)
{
    fake_board *board = fake_board_start(FAKE_ATTACH_WELL);
    cbm_client *client = open_client(fake_board_address(board), when_away);
    cbm_breaker *breaker = get_breaker(client, "ha_api", NULL);
    int error;

    cr_assert_eq(call_with(breaker, CBM_SUCCESS), 0);
    cr_assert_eq(cbm_connected(client), 1);
    fake_board_die(board);
    cr_assert_eq(cbm_connected(client), 0, "seen from the board");
    error = cbm_call_begin(breaker, permit);
    if (!error && !cbm_permit_unprotected(permit))
        cr_assert_eq(cbm_call_report(permit, CBM_FAILURE), 0);
    cbm_close(client);
    fake_board_stop(board);
    return error;
}

Test(client_dead, fail_open_holds_from_the_very_next_begin)
{
    cbm_permit permit;

    cr_assert_eq(next_begin(CBM_FAIL_OPEN, &permit), 0);
    cr_assert_eq(cbm_permit_unprotected(&permit), 1);
}

Test(client_dead, fail_closed_holds_from_the_very_next_begin)
{
    cbm_permit permit;

    cr_assert_eq(next_begin(CBM_FAIL_CLOSED, &permit), CBM_E_AWAY);
}

Test(client_dead, local_holds_from_the_very_next_begin)
{
    cbm_permit permit;

    cr_assert_eq(next_begin(CBM_LOCAL, &permit), 0);
    cr_assert_eq(cbm_permit_unprotected(&permit), 0);
}

static void open_is_honoured(cbm_when_away when_away, int afterwards)
{
    fake_board *board = fake_board_start(FAKE_ATTACH_WELL);
    cbm_client *client = open_client(fake_board_address(board), when_away);
    cbm_breaker *breaker = get_breaker(client, "ha_api", NULL);
    int64_t end_ns = now_ns() + SECOND / 3;
    cbm_permit permit;
    int error;

    put(board, CBM_CORE_OPEN, 0, 2, end_ns);
    fake_board_die(board);
    while ((error = cbm_call_begin(breaker, &permit)) == CBM_E_OPEN)
        cr_assert_gt(cbm_permit_retry_after_ms(&permit), 0);
    cr_assert_geq(now_ns(), end_ns);
    cr_assert_eq(error, afterwards);
    cbm_close(client);
    fake_board_stop(board);
}

Test(client_dead, what_the_board_says_of_open_holds_to_its_end_in_every_mode)
{
    open_is_honoured(CBM_FAIL_OPEN, 0);
    open_is_honoured(CBM_FAIL_CLOSED, CBM_E_AWAY);
    open_is_honoured(CBM_LOCAL, 0);
}

Test(client_dead, forced_open_holds_until_somebody_enables_it)
{
    fake_board *board = fake_board_start(FAKE_ATTACH_WELL);
    cbm_client *client = open_client(fake_board_address(board), CBM_LOCAL);
    cbm_breaker *breaker = get_breaker(client, "ha_api", NULL);
    cbm_permit permit;

    put(board, CBM_CORE_FORCED_OPEN, 0, 2, INT64_MAX);
    fake_board_die(board);
    cr_assert_eq(cbm_call_begin(breaker, &permit), CBM_E_FORCED_OPEN);
    cr_assert_eq(cbm_permit_retry_after_ms(&permit), -1);
    cr_assert_eq(cbm_enable(client, "ha_api"), 0, "the manager in this process takes it over");
    cr_assert_eq(call_with(breaker, CBM_SUCCESS), 0);
    cbm_close(client);
    fake_board_stop(board);
}

Test(client_dead, a_full_half_open_breaker_refuses_nobody_once_its_broker_is_dead)
{
    fake_board *board = fake_board_start(FAKE_ATTACH_WELL);
    cbm_client *client = open_client(fake_board_address(board), CBM_FAIL_OPEN);
    cbm_breaker *breaker = get_breaker(client, "ha_api", NULL);
    cbm_permit permit;

    put(board, CBM_CORE_HALF_OPEN, CBM_WORD_FULL, 2, now_ns() + 60 * SECOND);
    cr_assert_eq(cbm_call_begin(breaker, &permit), CBM_E_HALF_OPEN_FULL);
    fake_board_die(board);
    cr_assert_eq(cbm_call_begin(breaker, &permit), 0);
    cr_assert_eq(cbm_permit_unprotected(&permit), 1);
    cbm_close(client);
    fake_board_stop(board);
}

Test(client_dead, local_goes_on_from_the_boards_last_word)
{
    fake_board *board = fake_board_start(FAKE_ATTACH_WELL);
    cbm_client *client = open_client(fake_board_address(board), CBM_LOCAL);
    cbm_breaker *opened = get_breaker(client, "opened", NULL), *closed = get_breaker(client, "closed", NULL);
    cbm_breaker_state state;

    cr_assert_eq(call_with(opened, CBM_SUCCESS), 0);
    put(board, CBM_CORE_OPEN, 0, 2, now_ns() + 40 * SECOND);
    fake_board_die(board);
    state = state_of(client, "opened");
    cr_assert_eq(state.state, CBM_OPEN, "no message had told of it");
    cr_assert(state.retry_after_ms > 30000 && state.retry_after_ms <= 40000);
    cr_assert_eq(state_of(client, "closed").state, CBM_CLOSED);
    for (int i = 0; i < 5; i++)
        cr_assert_eq(call_with(closed, CBM_FAILURE), 0);
    cr_assert_eq(call_with(closed, CBM_SUCCESS), CBM_E_OPEN, "the manager in this process opens it");
    fake_board_restart(board);
    cr_assert(await_broker(client));
    cr_assert_eq(call_with(closed, CBM_SUCCESS), 0, "the broker's word counts again");
    cbm_close(client);
    fake_board_stop(board);
}

Test(client_dead, a_success_of_a_call_that_the_broker_did_not_survive_stands_in_the_ledger)
{
    fake_board *board = fake_board_start(FAKE_ATTACH_WELL);
    cbm_client *client = open_client(fake_board_address(board), CBM_FAIL_CLOSED);
    cbm_breaker *breaker = get_breaker(client, "ha_api", NULL);
    cbm_permit permit, failed;

    cr_assert_eq(cbm_call_begin(breaker, &permit), 0);
    cr_assert_eq(cbm_call_begin(breaker, &failed), 0);
    fake_board_die(board);
    cr_assert_eq(cbm_call_report(&permit, CBM_SUCCESS), 0);
    cr_assert_eq(cbm_call_report(&failed, CBM_FAILURE), CBM_E_AWAY);
    fake_board_restart(board);
    cr_assert(await_broker(client));
    cr_assert_eq(call_with(breaker, CBM_SUCCESS), 0);
    cr_assert_eq(fake_counts_of(fake_board_ledger(board), 0).successes, 1);
    cbm_close(client);
    fake_board_stop(board);
}

Test(client_dead, a_permit_of_a_dead_broker_is_reported_to_the_next_one_as_what_it_is)
{
    fake_board *board = fake_board_start(FAKE_ATTACH_WELL);
    cbm_client *client = open_client(fake_board_address(board), CBM_FAIL_CLOSED);
    cbm_breaker *breaker = get_breaker(client, "ha_api", NULL);
    cbm_permit before, after;
    cbm_request request;
    cbm_core_permit core;
    uint8_t incarnation[CBM_ID_SIZE] = {0};
    bool ours;

    cr_assert_eq(cbm_call_begin(breaker, &before), 0);
    fake_board_restart(board);
    cr_assert_eq(cbm_call_begin(breaker, &after), 0);
    cr_assert_eq(cbm_call_report(&before, CBM_SUCCESS), 0);
    cr_assert_eq(fake_broker_count(fake_board_broker(board), CBM_OP_CALL_REPORT), 1, "not counted as one of the new");
    request = fake_broker_last(fake_board_broker(board), CBM_OP_CALL_REPORT);
    cr_assert(cbm_permit_read(request.report.permit, request.report.permit_size, incarnation, &core, &ours));
    cr_assert_eq(core.slot_generation, FAKE_GENERATION);
    cr_assert_eq(fake_counts_of(fake_board_ledger(board), 0).late, 0);
    cbm_close(client);
    fake_board_stop(board);
}

Test(client_dead, a_hung_broker_is_noticed_by_a_deadline_and_the_board_serves_again_when_it_answers)
{
    fake_board *board = fake_board_start(FAKE_ATTACH_WELL);
    cbm_client *client = open_hurried(fake_board_address(board), CBM_FAIL_CLOSED);
    cbm_breaker *breaker = get_breaker(client, "ha_api", NULL);
    cbm_permit permit;
    int64_t begun_ms;
    int before;

    fake_board_hang(board, true);
    cr_assert_eq(call_with(breaker, CBM_SUCCESS), 0, "nobody has asked it anything");
    cr_assert_eq(call_with(breaker, CBM_FAILURE), CBM_E_AWAY);
    begun_ms = test_clock_ms();
    cr_assert_eq(cbm_call_begin(breaker, &permit), CBM_E_AWAY, "at once");
    cr_assert_lt(test_clock_ms() - begun_ms, CALL_TIMEOUT_MS);
    put(board, CBM_CORE_OPEN, 0, 2, now_ns() + 60 * SECOND);
    cr_assert_eq(cbm_call_begin(breaker, &permit), CBM_E_OPEN, "what the board says of OPEN holds");
    put(board, CBM_CORE_CLOSED, CBM_WORD_FAST, 3, 0);
    fake_board_hang(board, false);
    cr_assert(await_broker(client));
    before = messages(board);
    cr_assert_eq(call_with(breaker, CBM_SUCCESS), 0);
    cr_assert_eq(messages(board), before);
    cbm_close(client);
    fake_board_stop(board);
}

Test(client_dead, a_broker_that_hangs_while_a_probe_is_out_is_noticed_when_the_probe_should_be_back)
{
    fake_board *board = fake_board_start(FAKE_ATTACH_WELL);
    cbm_client *client = open_hurried(fake_board_address(board), CBM_FAIL_OPEN);
    cbm_breaker *breaker = get_breaker(client, "ha_api", NULL);
    int64_t end_ns = now_ns() + SECOND / 5;
    cbm_permit permit;
    int error;

    put(board, CBM_CORE_HALF_OPEN, CBM_WORD_FULL, 2, end_ns);
    fake_board_hang(board, true);
    while ((error = cbm_call_begin(breaker, &permit)) == CBM_E_HALF_OPEN_FULL)
        continue;
    cr_assert_eq(error, 0);
    cr_assert_eq(cbm_permit_unprotected(&permit), 1);
    cr_assert_geq(now_ns(), end_ns);
    cbm_close(client);
    fake_board_stop(board);
}
