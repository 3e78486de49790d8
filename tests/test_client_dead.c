/* The broker dies, hangs or comes back, as the board and the deadlines tell, while no call asks it anything. */
#include <criterion/criterion.h>

#include "board_scene.h"

TestSuite(client_dead, .timeout = 60);

/* What the very next begin says after a death that nobody has noticed by a message. */
static int next_begin(cbm_when_away when_away, cbm_permit *permit)
{
    scene s = new_scene(when_away);
    int error;

    cr_assert_eq(call_with(s.breaker, CBM_SUCCESS), 0);
    cr_assert_eq(cbm_connected(s.client), 1);
    fake_board_die(s.board);
    cr_assert_eq(cbm_connected(s.client), 0, "seen from the board");
    error = cbm_call_begin(s.breaker, permit);
    if (!error && !cbm_permit_unprotected(permit))
        cr_assert_eq(cbm_call_report(permit, CBM_FAILURE), 0);
    end_scene(&s);
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
    scene s = new_scene(when_away);
    int64_t end_ns = now_ns() + SECOND / 3;
    cbm_permit permit;
    int error;

    put(&s, CBM_CORE_OPEN, 0, 2, end_ns);
    fake_board_die(s.board);
    while ((error = cbm_call_begin(s.breaker, &permit)) == CBM_E_OPEN)
        cr_assert_gt(cbm_permit_retry_after_ms(&permit), 0);
    cr_assert_geq(now_ns(), end_ns);
    cr_assert_eq(error, afterwards);
    end_scene(&s);
}

Test(client_dead, what_the_board_says_of_open_holds_to_its_end_in_every_mode)
{
    open_is_honoured(CBM_FAIL_OPEN, 0);
    open_is_honoured(CBM_FAIL_CLOSED, CBM_E_AWAY);
    open_is_honoured(CBM_LOCAL, 0);
}

Test(client_dead, forced_open_holds_until_somebody_enables_it)
{
    scene s = new_scene(CBM_LOCAL);
    cbm_permit permit;

    put(&s, CBM_CORE_FORCED_OPEN, 0, 2, INT64_MAX);
    fake_board_die(s.board);
    cr_assert_eq(cbm_call_begin(s.breaker, &permit), CBM_E_FORCED_OPEN);
    cr_assert_eq(cbm_permit_retry_after_ms(&permit), -1);
    cr_assert_eq(cbm_enable(s.client, "ha_api"), 0, "the manager in this process takes it over");
    cr_assert_eq(call_with(s.breaker, CBM_SUCCESS), 0);
    end_scene(&s);
}

Test(client_dead, a_full_half_open_breaker_refuses_nobody_once_its_broker_is_dead)
{
    scene s = new_scene(CBM_FAIL_OPEN);
    cbm_permit permit;

    put(&s, CBM_CORE_HALF_OPEN, CBM_WORD_FULL, 2, now_ns() + 60 * SECOND);
    cr_assert_eq(cbm_call_begin(s.breaker, &permit), CBM_E_HALF_OPEN_FULL);
    fake_board_die(s.board);
    cr_assert_eq(cbm_call_begin(s.breaker, &permit), 0);
    cr_assert_eq(cbm_permit_unprotected(&permit), 1);
    end_scene(&s);
}

Test(client_dead, local_goes_on_from_the_boards_last_word)
{
    scene s = new_scene(CBM_LOCAL);
    cbm_breaker *closed = get_breaker(s.client, "closed", NULL);
    cbm_breaker_state state;

    cr_assert_eq(call_with(s.breaker, CBM_SUCCESS), 0);
    put(&s, CBM_CORE_OPEN, 0, 2, now_ns() + 40 * SECOND);
    fake_board_die(s.board);
    state = state_of(s.client, "ha_api");
    cr_assert_eq(state.state, CBM_OPEN, "no message had told of it");
    cr_assert(state.retry_after_ms > 30000 && state.retry_after_ms <= 40000);
    cr_assert_eq(state_of(s.client, "closed").state, CBM_CLOSED);
    for (int i = 0; i < 5; i++)
        cr_assert_eq(call_with(closed, CBM_FAILURE), 0);
    cr_assert_eq(call_with(closed, CBM_SUCCESS), CBM_E_OPEN, "the manager in this process opens it");
    fake_board_restart(s.board);
    cr_assert(await_broker(s.client));
    cr_assert_eq(call_with(closed, CBM_SUCCESS), 0, "the broker's word counts again");
    end_scene(&s);
}

Test(client_dead, a_success_of_a_call_that_the_broker_did_not_survive_stands_in_the_ledger)
{
    scene s = new_scene(CBM_FAIL_CLOSED);
    cbm_permit permit, failed;

    cr_assert_eq(cbm_call_begin(s.breaker, &permit), 0);
    cr_assert_eq(cbm_call_begin(s.breaker, &failed), 0);
    fake_board_die(s.board);
    cr_assert_eq(cbm_call_report(&permit, CBM_SUCCESS), 0);
    cr_assert_eq(cbm_call_report(&failed, CBM_FAILURE), CBM_E_AWAY);
    fake_board_restart(s.board);
    cr_assert(await_broker(s.client));
    cr_assert_eq(call_with(s.breaker, CBM_SUCCESS), 0);
    cr_assert_eq(counts(&s).successes, 1);
    end_scene(&s);
}

Test(client_dead, a_permit_of_a_dead_broker_is_reported_to_the_next_one_as_what_it_is)
{
    scene s = new_scene(CBM_FAIL_CLOSED);
    cbm_permit before, after;
    cbm_request request;
    cbm_core_permit core;
    uint8_t incarnation[CBM_ID_SIZE] = {0};
    bool ours;

    cr_assert_eq(cbm_call_begin(s.breaker, &before), 0);
    fake_board_restart(s.board);
    cr_assert_eq(cbm_call_begin(s.breaker, &after), 0);
    cr_assert_eq(cbm_call_report(&before, CBM_SUCCESS), 0);
    cr_assert_eq(count(&s, CBM_OP_CALL_REPORT), 1, "not counted as one of the new");
    request = fake_broker_last(fake_board_broker(s.board), CBM_OP_CALL_REPORT);
    cr_assert(cbm_permit_read(request.report.permit, request.report.permit_size, incarnation, &core, &ours));
    cr_assert_eq(core.slot_generation, FAKE_GENERATION);
    cr_assert_eq(counts(&s).late, 0);
    end_scene(&s);
}

Test(client_dead, a_hung_broker_is_noticed_by_a_deadline_and_the_board_serves_again_when_it_answers)
{
    scene s = new_hurried_scene(CBM_FAIL_CLOSED);
    cbm_permit permit;
    int64_t begun_ms;
    int before;

    fake_board_hang(s.board, true);
    cr_assert_eq(call_with(s.breaker, CBM_SUCCESS), 0, "nobody has asked it anything");
    cr_assert_eq(call_with(s.breaker, CBM_FAILURE), CBM_E_AWAY);
    begun_ms = test_clock_ms();
    cr_assert_eq(cbm_call_begin(s.breaker, &permit), CBM_E_AWAY, "at once");
    cr_assert_lt(test_clock_ms() - begun_ms, CALL_TIMEOUT_MS);
    put(&s, CBM_CORE_OPEN, 0, 2, now_ns() + 60 * SECOND);
    cr_assert_eq(cbm_call_begin(s.breaker, &permit), CBM_E_OPEN, "what the board says of OPEN holds");
    put(&s, CBM_CORE_CLOSED, CBM_WORD_FAST, 3, 0);
    fake_board_hang(s.board, false);
    cr_assert(await_broker(s.client));
    before = messages(&s);
    cr_assert_eq(call_with(s.breaker, CBM_SUCCESS), 0);
    cr_assert_eq(messages(&s), before);
    end_scene(&s);
}

Test(client_dead, a_broker_that_hangs_while_a_probe_is_out_is_noticed_when_the_probe_should_be_back)
{
    scene s = new_hurried_scene(CBM_FAIL_OPEN);
    int64_t end_ns = now_ns() + SECOND / 5;
    cbm_permit permit;
    int error;

    put(&s, CBM_CORE_HALF_OPEN, CBM_WORD_FULL, 2, end_ns);
    fake_board_hang(s.board, true);
    while ((error = cbm_call_begin(s.breaker, &permit)) == CBM_E_HALF_OPEN_FULL)
        continue;
    cr_assert_eq(error, 0);
    cr_assert_eq(cbm_permit_unprotected(&permit), 1);
    cr_assert_geq(now_ns(), end_ns);
    end_scene(&s);
}
