#include "board_scene.h"

#include <criterion/criterion.h>
#include <time.h>

static scene with_client(fake_board *board, cbm_client *client)
{
    scene s = {.board = board, .client = client, .breaker = get_breaker(client, "ha_api", NULL)};

    cr_assert_eq(fake_board_attached(board), 1);
    return s;
}

scene new_scene(cbm_when_away when_away)
{
    fake_board *board = fake_board_start(FAKE_ATTACH_WELL);

    return with_client(board, open_client(fake_board_address(board), when_away));
}

scene new_hurried_scene(cbm_when_away when_away)
{
    fake_board *board = fake_board_start(FAKE_ATTACH_WELL);

    return with_client(board, open_hurried(fake_board_address(board), when_away));
}

void end_scene(scene *s)
{
    cbm_close(s->client);
    fake_board_stop(s->board);
}

int64_t now_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * SECOND + now.tv_nsec;
}

int count(const scene *s, cbm_operation op)
{
    return fake_broker_count(fake_board_broker(s->board), op);
}

int messages(const scene *s)
{
    int sum = 0;

    for (int op = 0; op < CBM_OP_COUNT; op++)
        sum += count(s, (cbm_operation)op);
    return sum;
}

fake_counts counts(const scene *s)
{
    return fake_counts_of(fake_board_ledger(s->board), 0);
}

void put(const scene *s, cbm_core_state state, uint64_t flags, uint32_t epoch, int64_t aux)
{
    fake_board_put(s->board, 0, fake_board_word(s->board, state, flags, epoch), aux);
}
