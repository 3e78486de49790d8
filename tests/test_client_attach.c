/* How the board gets into the client, and what happens when it does not: all goes by message, and never an error. */
#include <criterion/criterion.h>
#include <fcntl.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "client.h"
#include "client_fixture.h"
#include "fake_board.h"

TestSuite(client_attach, .timeout = 60);

static int count(fake_board *board, cbm_operation op)
{
    return fake_broker_count(fake_board_broker(board), op);
}

static void calls_go_by_message(fake_board *board, cbm_breaker *breaker, int calls)
{
    int before = count(board, CBM_OP_CALL_BEGIN);

    for (int i = 0; i < calls; i++)
        cr_assert_eq(call_with(breaker, CBM_SUCCESS), 0);
    cr_assert_eq(count(board, CBM_OP_CALL_BEGIN), before + calls);
}

static void calls_are_free(fake_board *board, cbm_breaker *breaker)
{
    int before = count(board, CBM_OP_CALL_BEGIN) + count(board, CBM_OP_CALL_REPORT) + count(board, CBM_OP_GET);

    for (int i = 0; i < 10; i++)
        cr_assert_eq(call_with(breaker, CBM_SUCCESS), 0);
    cr_assert_eq(count(board, CBM_OP_CALL_BEGIN) + count(board, CBM_OP_CALL_REPORT) + count(board, CBM_OP_GET), before);
}

Test(client_attach, get_names_the_ledger_that_was_attached)
{
    fake_board *board = fake_board_start(FAKE_ATTACH_WELL);
    cbm_client *client = open_client(fake_board_address(board), CBM_FAIL_OPEN);
    cbm_request request;

    cr_assert_eq(fake_board_attached(board), 0, "whoever only looks shares no memory");
    get_breaker(client, "ha_api", NULL);
    cr_assert_eq(fake_board_attached(board), 1);
    request = fake_broker_last(fake_board_broker(board), CBM_OP_GET);
    cr_assert(request.given & CBM_FIELD(LEDGER));
    cr_assert_not(request.given & CBM_FIELD(ENTRY));
    cr_assert_eq(memcmp(request.ledger, fake_board_ledger(board)->id, CBM_ID_SIZE), 0);
    get_breaker(client, "ha_api", NULL);
    request = fake_broker_last(fake_board_broker(board), CBM_OP_GET);
    cr_assert(request.given & CBM_FIELD(ENTRY));
    cr_assert_eq(request.entry, 0);
    cr_assert_eq(fake_board_attached(board), 1);
    cbm_close(client);
    cr_assert_eq(count(board, CBM_OP_DETACH), 1);
    request = fake_broker_last(fake_board_broker(board), CBM_OP_DETACH);
    cr_assert_eq(memcmp(request.ledger, fake_board_ledger(board)->id, CBM_ID_SIZE), 0);
    fake_board_stop(board);
}

Test(client_attach, who_wants_no_shared_memory_gets_none)
{
    fake_board *board = fake_board_start(FAKE_ATTACH_WELL);
    cbm_open_options options = CBM_OPEN_OPTIONS_INIT;
    cbm_client *client;

    options.flags = CBM_OPEN_NO_SHM;
    cr_assert_eq(cbm_open(&client, fake_board_address(board), &options), 0);
    calls_go_by_message(board, get_breaker(client, "ha_api", NULL), 3);
    cbm_close(client);
    cr_assert_eq(count(board, CBM_OP_ATTACH) + count(board, CBM_OP_DETACH), 0);
    fake_board_stop(board);
}

static void goes_on_by_message(fake_attach how)
{
    fake_board *board = fake_board_start(how);
    cbm_client *client = open_client(fake_board_address(board), CBM_FAIL_CLOSED);
    cbm_breaker *breaker = get_breaker(client, "ha_api", NULL);

    calls_go_by_message(board, breaker, 5);
    cr_assert_leq(count(board, CBM_OP_ATTACH), 2, "it is not tried again at each call");
    cr_assert_eq(cbm_connected(client), 1);
    cbm_close(client);
    fake_board_stop(board);
}

Test(client_attach, without_the_other_socket_all_goes_by_message)
{
    goes_on_by_message(FAKE_ATTACH_NO_SOCKET);
}

Test(client_attach, a_process_that_may_write_no_large_file_lives_and_goes_by_message)
{
    struct rlimit small = {100 << 10, 100 << 10};
    fake_board *board = fake_board_start(FAKE_ATTACH_WELL);
    cbm_client *client = open_client(fake_board_address(board), CBM_FAIL_CLOSED);

    cr_assert_eq(setrlimit(RLIMIT_FSIZE, &small), 0);
    calls_go_by_message(board, get_breaker(client, "ha_api", NULL), 10);
    cr_assert_eq(fake_board_attached(board), 0);
    cbm_close(client);
    fake_board_stop(board);
}

Test(client_attach, a_refusal_is_no_error)
{
    goes_on_by_message(FAKE_ATTACH_REFUSED);
}

Test(client_attach, a_board_that_others_could_write_or_cut_is_not_used)
{
    goes_on_by_message(FAKE_ATTACH_UNSEALED);
}

Test(client_attach, a_board_of_another_size_than_was_said_is_not_used)
{
    goes_on_by_message(FAKE_ATTACH_SHORT);
}

Test(client_attach, a_board_of_another_broker_is_not_used)
{
    goes_on_by_message(FAKE_ATTACH_OTHER_INCARNATION);
}

Test(client_attach, in_another_time_namespace_the_board_is_not_used)
{
    goes_on_by_message(FAKE_ATTACH_OTHER_TIME);
}

Test(client_attach, a_reply_without_a_board_is_no_board)
{
    goes_on_by_message(FAKE_ATTACH_NO_BOARD);
}

static void costs_half_a_deadline_once(fake_attach how)
{
    fake_board *board = fake_board_start(how);
    cbm_client *client = open_hurried(fake_board_address(board), CBM_FAIL_CLOSED);
    int64_t begun_ms = test_clock_ms();
    cbm_breaker *breaker = get_breaker(client, "ha_api", NULL);

    cr_assert_geq(test_clock_ms() - begun_ms, TIMEOUT_MS / 2 - 1);
    begun_ms = test_clock_ms();
    calls_go_by_message(board, breaker, 3);
    cr_assert_lt(test_clock_ms() - begun_ms, TIMEOUT_MS + SLACK_MS);
    cr_assert_leq(count(board, CBM_OP_ATTACH), 2);
    cbm_close(client);
    fake_board_stop(board);
}

Test(client_attach, a_broker_that_takes_the_ledger_and_says_nothing_costs_half_a_deadline_once)
{
    costs_half_a_deadline_once(FAKE_ATTACH_SILENT);
}

Test(client_attach, a_broker_that_does_not_confirm_has_not_got_the_ledger)
{
    costs_half_a_deadline_once(FAKE_ATTACH_HANGS_UP);
}

Test(client_attach, another_broker_is_tried_at_once_and_gets_the_same_ledger)
{
    fake_board *board = fake_board_start(FAKE_ATTACH_WELL);
    cbm_client *client = open_client(fake_board_address(board), CBM_FAIL_CLOSED);
    cbm_breaker *breaker = get_breaker(client, "ha_api", NULL);
    uint8_t id[CBM_ID_SIZE];

    calls_are_free(board, breaker);
    memcpy(id, fake_board_ledger(board)->id, CBM_ID_SIZE);
    for (int i = 2; i < 6; i++) {
        fake_board_restart(board);
        cr_assert_eq(call_with(breaker, CBM_SUCCESS), 0);
        cr_assert_eq(fake_board_attached(board), i);
        cr_assert_eq(memcmp(id, fake_board_ledger(board)->id, CBM_ID_SIZE), 0);
        cr_assert_eq(fake_broker_last(fake_board_broker(board), CBM_OP_GET).entry, 0);
        calls_are_free(board, breaker);
    }
    cr_assert_eq(fake_counts_of(fake_board_ledger(board), 0).successes, 50, "what stands in it stays");
    cr_assert_eq(count(board, CBM_OP_CALL_BEGIN), 0);
    cbm_close(client);
    fake_board_stop(board);
}

Test(client_attach, a_connection_that_is_lost_ends_nothing)
{
    fake_board *board = fake_board_start(FAKE_ATTACH_WELL);
    cbm_client *client = open_client(fake_board_address(board), CBM_FAIL_CLOSED);
    cbm_breaker *breaker = get_breaker(client, "ha_api", NULL);

    fake_broker_hang_up(fake_board_broker(board));
    calls_are_free(board, breaker);
    cr_assert_eq(call_with(breaker, CBM_FAILURE), 0, "on a new connection");
    cr_assert_eq(fake_broker_connections(fake_board_broker(board)), 2);
    cr_assert_eq(fake_board_attached(board), 1);
    calls_are_free(board, breaker);
    cbm_close(client);
    fake_board_stop(board);
}

Test(client_attach, where_the_broker_sees_no_pid_a_lost_connection_ends_the_ledger)
{
    fake_board *board = fake_board_start(FAKE_ATTACH_WELL);
    const cbm_ledger *first;
    cbm_client *client;
    cbm_breaker *breaker;
    cbm_permit permit;

    fake_board_hide_pid(board);
    client = open_client(fake_board_address(board), CBM_FAIL_CLOSED);
    breaker = get_breaker(client, "ha_api", NULL);
    calls_are_free(board, breaker);
    first = fake_board_ledger(board);
    cr_assert_eq(cbm_call_begin(breaker, &permit), 0);

    fake_broker_hang_up(fake_board_broker(board));
    cr_assert_eq(cbm_call_report(&permit, CBM_FAILURE), 0, "on a new connection");
    cr_assert_eq(call_with(breaker, CBM_SUCCESS), 0);
    cr_assert_eq(fake_board_attached(board), 2);
    cr_assert_neq(memcmp(fake_board_ledger(board)->id, first->id, CBM_ID_SIZE), 0, "another ledger");
    cr_assert_eq(count(board, CBM_OP_DETACH), 1, "should the first one be there still");
    cr_assert_eq(fake_counts_of(first, 0).successes, 10, "nothing more is counted where nobody looks");
    calls_are_free(board, breaker);
    cr_assert_eq(fake_counts_of(fake_board_ledger(board), 0).successes, 10);
    cbm_close(client);
    fake_board_stop(board);
}

Test(client_attach, a_program_that_has_closed_all_descriptors_passes_on_no_other_file)
{
    fake_board *board = fake_board_start(FAKE_ATTACH_WELL);
    cbm_client *client = open_client(fake_board_address(board), CBM_FAIL_CLOSED);
    cbm_breaker *breaker = get_breaker(client, "ha_api", NULL);
    int fd = client->memory.ledger_fd;
    int other;

    cr_assert_gt(fd, 2);
    close(fd);
    other = open("/dev/null", O_RDONLY | O_CLOEXEC);
    if (other != fd) {
        cr_assert_eq(dup3(other, fd, O_CLOEXEC), fd);
        close(other);
    }
    fake_board_restart(board);
    cr_assert_eq(call_with(breaker, CBM_SUCCESS), 0);
    cr_assert_eq(fake_board_attached(board), 2, "a new ledger");
    calls_are_free(board, breaker);
    cbm_close(client);
    cr_assert_neq(fcntl(fd, F_GETFD), -1, "what took its place is left alone");
    close(fd);
    fake_board_stop(board);
}

Test(client_attach, a_client_that_is_closed_leaves_its_memory_to_the_next_one)
{
    fake_board *board = fake_board_start(FAKE_ATTACH_WELL);
    cbm_client *client = open_client(fake_board_address(board), CBM_FAIL_OPEN);
    const cbm_board *range = client->board;
    cbm_breaker *breaker = get_breaker(client, "ha_api", NULL);
    cbm_permit permit;

    cr_assert_eq(range->magic, CBM_BOARD_MAGIC);
    cbm_close(client);
    cr_assert_eq(range->magic, 0, "reads as zeros");
    cr_assert_eq(cbm_call_begin(breaker, &permit), CBM_E_INVALID);
    cr_assert_eq(cbm_ping(client), CBM_E_INVALID);
    for (int i = 0; i < 20; i++) {
        client = open_client(fake_board_address(board), CBM_FAIL_OPEN);
        cr_assert_eq(client->board, range);
        cr_assert_eq(get_breaker(client, "another", NULL), breaker, "so do its handles");
        cr_assert_str_eq(cbm_breaker_name(breaker), "another");
        calls_are_free(board, breaker);
        cbm_close(client);
    }
    fake_board_stop(board);
}
