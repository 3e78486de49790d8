/* Turns of users: what one asks for does not stand in the way of another. */
#include <criterion/criterion.h>
#include <stdlib.h>

#include "cbm_core.h"
#include "task_threads.h"
#include "turns.h"

TestSuite(server_turns, .timeout = 30);

#define NOW_NS (1000 * CBM_CORE_NS_PER_S)
#define MANY 100

static cbm_turns turns;
static cbm_task_threads *threads;

/* A connection, and whose turn came in which order. */
typedef struct connection {
    cbm_turn turn;
    nng_aio *aio;
    int result; /* of its wait; -1: its turn has not come */
    int place;  /* among those that waited */
} connection;

static int places;

static void on_turn(void *argument)
{
    connection *c = argument;

    c->result = nng_aio_result(c->aio);
    c->place = places++;
}

static connection *join(uint64_t uid, int count)
{
    connection *all = calloc((size_t)count, sizeof *all);

    for (int i = 0; i < count; i++) {
        cr_assert_eq(nng_aio_alloc(&all[i].aio, on_turn, &all[i]), 0);
        cr_assert(cbm_turns_join(&turns, &all[i].turn, uid, all[i].aio));
        all[i].result = -1;
    }
    return all;
}

static void leave(connection *all, int count)
{
    for (int i = 0; i < count; i++) {
        nng_aio_wait(all[i].aio);
        cbm_turns_leave(&all[i].turn);
        nng_aio_free(all[i].aio);
    }
    free(all);
}

/* How many of them may go ahead at once. */
static int take(connection *all, int count, int64_t now_ns)
{
    int at_once = 0;

    for (int i = 0; i < count; i++)
        at_once += cbm_turns_take(&all[i].turn, now_ns);
    return at_once;
}

/* Runs the function where requests are handled: nothing else is while it runs. */
static void in_a_callback(void (*function)(void *))
{
    nng_aio *aio;

    cr_assert_eq(nng_aio_alloc(&aio, function, NULL), 0);
    cr_assert(nng_aio_begin(aio));
    nng_aio_finish(aio, 0);
    nng_aio_wait(aio);
    nng_aio_free(aio);
}

static void set_up(void)
{
    cr_assert_eq(cbm_turns_init(&turns), 0);
    threads = cbm_task_threads_hold();
    places = 0;
}

static void tear_down(void)
{
    cbm_turns_stop(&turns);
    cbm_turns_deinit(&turns);
    cbm_task_threads_release(threads);
}

static connection *many, *few;
static int many_at_once, few_at_once; /* asserted by the test's own thread */

static void one_user_asks(void *nothing)
{
    (void)nothing;
    many_at_once = take(many, MANY, NOW_NS);
    many_at_once += take(many, MANY, NOW_NS);
}

Test(server_turns, one_user_alone_never_waits, .init = set_up, .fini = tear_down)
{
    many = join(1, MANY);
    in_a_callback(one_user_asks);
    cr_assert_eq(many_at_once, 2 * MANY);
    leave(many, MANY);
}

static void another_asks_amid(void *nothing)
{
    (void)nothing;
    take(few, 1, NOW_NS - CBM_CORE_NS_PER_MS);
    many_at_once = take(many, MANY, NOW_NS);
    few_at_once = take(few, 3, NOW_NS);
}

Test(server_turns, while_another_asks_a_user_waits_in_its_own_line, .init = set_up, .fini = tear_down)
{
    many = join(1, MANY);
    few = join(2, 3);
    in_a_callback(another_asks_amid);
    cr_assert(many_at_once > 0 && many_at_once < MANY / 10, "%d: more would stand in the way of others", many_at_once);
    cr_assert_eq(few_at_once, 3, "whoever asks for little does not wait");
    for (int i = many_at_once; i < MANY; i++) {
        nng_aio_wait(many[i].aio);
        cr_assert_eq(many[i].result, 0, "everybody's turn comes");
        cr_assert_eq(many[i].place, i - many_at_once, "the first come first");
    }
    leave(many, MANY);
    leave(few, 3);
}

static void two_ask_for_much(void *nothing)
{
    (void)nothing;
    take(few, 1, NOW_NS);
    take(many, MANY, NOW_NS);
    take(few + 1, 19, NOW_NS);
}

Test(server_turns, lines_move_on_side_by_side, .init = set_up, .fini = tear_down)
{
    many = join(1, MANY);
    few = join(2, 20);
    in_a_callback(two_ask_for_much);
    for (int i = 0; i < 20; i++) {
        nng_aio_wait(few[i].aio);
        cr_assert_lt(few[i].place, 45, "%d: the longer line does not go first", few[i].place);
    }
    cr_assert_gt(few[19].place, 20, "nor does the shorter one");
    leave(many, MANY);
    leave(few, 20);
}

static void some_give_up(void *nothing)
{
    (void)nothing;
    take(few, 1, NOW_NS);
    take(many, MANY, NOW_NS);
    for (int i = MANY / 2; i < MANY; i++)
        nng_aio_abort(many[i].aio, NNG_ECLOSED);
}

Test(server_turns, who_is_aborted_stands_in_the_line_no_more, .init = set_up, .fini = tear_down)
{
    many = join(1, MANY);
    few = join(2, 1);
    in_a_callback(some_give_up);
    for (int i = 0; i < MANY; i++) {
        nng_aio_wait(many[i].aio);
        if (i >= MANY / 2)
            cr_assert_eq(many[i].result, NNG_ECLOSED);
        else
            cr_assert_leq(many[i].result, 0);
    }
    leave(many, MANY);
    leave(few, 1);
}

static void the_other_asks_a_last_time(void *nothing)
{
    (void)nothing;
    take(few, 1, NOW_NS);
    many_at_once = take(many, MANY, NOW_NS);
}

static void alone_again(void *nothing)
{
    (void)nothing;
    many_at_once = take(many, MANY, NOW_NS + 2 * CBM_CORE_NS_PER_S);
}

Test(server_turns, who_is_alone_again_waits_no_more, .init = set_up, .fini = tear_down)
{
    many = join(1, MANY);
    few = join(2, 1);
    in_a_callback(the_other_asks_a_last_time);
    cr_assert_lt(many_at_once, MANY);
    for (int i = 0; i < MANY; i++)
        nng_aio_wait(many[i].aio);
    in_a_callback(alone_again);
    cr_assert_eq(many_at_once, MANY);
    leave(many, MANY);
    leave(few, 1);
}
