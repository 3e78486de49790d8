/* Reports that come again are known, of each client the last 1024. */
#include <criterion/criterion.h>
#include <string.h>

#include "replay.h"

TestSuite(server_replay);

static const uint64_t key[2] = {0x0123456789abcdefu, 0xfedcba9876543210u};

static void id_of(uint8_t id[CBM_ID_SIZE], uint32_t number)
{
    memset(id, 0, CBM_ID_SIZE);
    memcpy(id, &number, sizeof number);
}

static cbm_replay new_replay(uint32_t capacity)
{
    cbm_replay replay;

    cr_assert_eq(cbm_replay_init(&replay, capacity, key), 0);
    return replay;
}

static bool seen(cbm_replay *replay, uint32_t client, uint64_t sequence)
{
    uint8_t id[CBM_ID_SIZE];

    id_of(id, client);
    return cbm_replay_seen(replay, id, sequence);
}

static void mark(cbm_replay *replay, uint32_t client, uint64_t sequence)
{
    uint8_t id[CBM_ID_SIZE];

    id_of(id, client);
    cbm_replay_mark(replay, 1000, id, sequence);
}

Test(server_replay, a_report_is_new_once)
{
    cbm_replay replay = new_replay(8);

    cr_assert_not(seen(&replay, 1, 1));
    mark(&replay, 1, 1);
    cr_assert(seen(&replay, 1, 1));
    cr_assert_not(seen(&replay, 1, 2));
    cr_assert_not(seen(&replay, 2, 1), "another client counts for itself");
    cbm_replay_deinit(&replay);
}

Test(server_replay, threads_of_one_client_may_arrive_in_any_order)
{
    cbm_replay replay = new_replay(8);

    mark(&replay, 1, 10);
    cr_assert_not(seen(&replay, 1, 9));
    mark(&replay, 1, 9);
    cr_assert(seen(&replay, 1, 9));
    cr_assert(seen(&replay, 1, 10));
    cr_assert_not(seen(&replay, 1, 8));
    cbm_replay_deinit(&replay);
}

Test(server_replay, the_last_1024_are_remembered_each_for_itself)
{
    cbm_replay replay = new_replay(8);

    for (uint64_t sequence = 1; sequence <= 5000; sequence += 2)
        mark(&replay, 1, sequence);
    /* 4999 is the highest: the window begins at 3976 */
    for (uint64_t sequence = 3976; sequence <= 4999; sequence++)
        cr_assert_eq(seen(&replay, 1, sequence), sequence % 2 == 1, "%lu", (unsigned long)sequence);
    cbm_replay_deinit(&replay);
}

Test(server_replay, what_is_older_than_the_window_is_never_applied_again)
{
    cbm_replay replay = new_replay(8);

    mark(&replay, 1, 5000);
    cr_assert_not(seen(&replay, 1, 5000 - 1023));
    cr_assert(seen(&replay, 1, 5000 - 1024));
    cr_assert(seen(&replay, 1, 1));
    mark(&replay, 1, 1);
    cr_assert_not(seen(&replay, 1, 5000 - 1023), "marking an old one touches nothing");
    cbm_replay_deinit(&replay);
}

Test(server_replay, a_leap_forgets_what_stood_in_the_window)
{
    cbm_replay replay = new_replay(8);

    for (uint64_t sequence = 1; sequence <= 1024; sequence++)
        mark(&replay, 1, sequence);
    mark(&replay, 1, UINT64_MAX);
    cr_assert(seen(&replay, 1, UINT64_MAX));
    for (uint64_t back = 1; back < 1024; back++)
        cr_assert_not(seen(&replay, 1, UINT64_MAX - back));
    cbm_replay_deinit(&replay);
}

Test(server_replay, the_client_not_heard_for_longest_makes_room)
{
    cbm_replay replay = new_replay(4);

    for (uint32_t client = 1; client <= 4; client++)
        mark(&replay, client, 1);
    mark(&replay, 1, 2); /* heard again: 2 is the oldest now */
    mark(&replay, 5, 1);
    cr_assert_not(seen(&replay, 2, 1));
    cr_assert(seen(&replay, 1, 1));
    cr_assert(seen(&replay, 3, 1));
    cr_assert(seen(&replay, 4, 1));
    cr_assert(seen(&replay, 5, 1));
    cbm_replay_deinit(&replay);
}

Test(server_replay, a_flood_of_clients_takes_no_more_memory_and_leaves_the_newest_known)
{
    cbm_replay replay = new_replay(256);

    for (uint32_t client = 0; client < 100000; client++)
        mark(&replay, client, client + 1);
    cr_assert_eq(replay.used, 256);
    for (uint32_t client = 0; client < 100000; client++)
        cr_assert_eq(seen(&replay, client, client + 1), client >= 100000 - 256, "%u", client);
    cbm_replay_deinit(&replay);
}

static void mark_of(cbm_replay *replay, uint64_t uid, uint32_t client)
{
    uint8_t id[CBM_ID_SIZE] = {0};

    memcpy(id, &client, sizeof client);
    cbm_replay_mark(replay, uid, id, 1);
}

Test(server_replay, no_user_makes_others_be_forgotten_who_have_less_than_their_share)
{
    cbm_replay replay = new_replay(256);

    for (uint32_t client = 0; client < 100; client++)
        mark_of(&replay, 1000, client);
    for (uint32_t client = 1000; client < 5000; client++)
        mark_of(&replay, 2000, client);
    for (uint32_t client = 0; client < 100; client++)
        cr_assert(seen(&replay, client, 1), "%u", client);
    for (uint32_t client = 5000 - 156; client < 5000; client++)
        cr_assert(seen(&replay, client, 1), "%u", client);
    cbm_replay_deinit(&replay);
}

Test(server_replay, who_has_more_than_a_share_makes_room_for_who_comes_next)
{
    cbm_replay replay = new_replay(256);

    for (uint32_t client = 0; client < 256; client++)
        mark_of(&replay, 1000, client);
    for (uint32_t client = 1000; client < 1128; client++)
        mark_of(&replay, 2000, client);
    for (uint32_t client = 0; client < 128; client++)
        cr_assert_not(seen(&replay, client, 1), "%u", client);
    for (uint32_t client = 128; client < 256; client++)
        cr_assert(seen(&replay, client, 1), "%u", client);
    for (uint32_t client = 1000; client < 1128; client++)
        cr_assert(seen(&replay, client, 1), "%u", client);
    cbm_replay_deinit(&replay);
}

Test(server_replay, more_users_than_it_tells_apart_are_remembered_all_the_same)
{
    cbm_replay replay = new_replay(1024);

    for (uint32_t client = 0; client < 1024; client++)
        mark_of(&replay, client, client);
    for (uint32_t client = 0; client < 1024; client++)
        cr_assert(seen(&replay, client, 1), "%u", client);
    for (uint32_t client = 1024; client < 4096; client++)
        mark_of(&replay, client, client);
    cr_assert(seen(&replay, 4095, 1));
    cbm_replay_deinit(&replay);
}
