/* What users are charged for, and the pace of those who ask for much. */
#include <criterion/criterion.h>

#include "cbm_core.h"
#include "quota.h"

TestSuite(server_quota);

#define MS CBM_CORE_NS_PER_MS
#define US (CBM_CORE_NS_PER_MS / 1000)

static cbm_quota *new_quota(const cbm_quota_limits *limits)
{
    cbm_quota *quota;

    cr_assert_eq(cbm_quota_new(&quota, limits), 0);
    return quota;
}

static cbm_quota_usage usage_of(cbm_quota *quota, uint64_t uid)
{
    cbm_quota_usage usage = {0};

    cr_assert_eq(cbm_quota_list(quota, uid, &usage, 1), 1);
    cr_assert_eq(usage.uid, uid);
    return usage;
}

/* ---- Charges ---------------------------------------------------------------------------------------------------- */

Test(server_quota, a_user_is_charged_up_to_its_limit_and_no_further)
{
    cbm_quota *quota = new_quota(&(cbm_quota_limits){.each = {[CBM_QUOTA_CONNECTIONS] = 3}});

    for (int i = 0; i < 3; i++)
        cr_assert(cbm_quota_charge(quota, 1000, CBM_QUOTA_CONNECTIONS, 1));
    cr_assert_not(cbm_quota_has_room(quota, 1000, CBM_QUOTA_CONNECTIONS));
    cr_assert_not(cbm_quota_charge(quota, 1000, CBM_QUOTA_CONNECTIONS, 1));
    cr_assert(cbm_quota_charge(quota, 1001, CBM_QUOTA_CONNECTIONS, 1), "another user has its own");
    cr_assert_eq(usage_of(quota, 1000).used[CBM_QUOTA_CONNECTIONS], 3);
    cr_assert_eq(usage_of(quota, 1000).refused, 1);
    cbm_quota_discharge(quota, 1000, CBM_QUOTA_CONNECTIONS, 1);
    cr_assert(cbm_quota_charge(quota, 1000, CBM_QUOTA_CONNECTIONS, 1));
    cbm_quota_free(quota);
}

Test(server_quota, a_limit_of_0_is_none)
{
    cbm_quota *quota = new_quota(&(cbm_quota_limits){0});

    cr_assert(cbm_quota_charge(quota, 1, CBM_QUOTA_PERMITS, UINT32_MAX));
    cr_assert(cbm_quota_charge(quota, 1, CBM_QUOTA_BYTES, UINT32_MAX));
    cbm_quota_free(quota);
}

Test(server_quota, whom_no_limit_holds_back_is_counted_all_the_same)
{
    cbm_quota *quota = new_quota(&(cbm_quota_limits){.each = {[CBM_QUOTA_BREAKERS] = 1}});

    for (int i = 0; i < 5; i++)
        cr_assert(cbm_quota_charge_unlimited(quota, 0, CBM_QUOTA_BREAKERS, 1));
    cr_assert_eq(usage_of(quota, 0).used[CBM_QUOTA_BREAKERS], 5);
    cr_assert_not(cbm_quota_charge(quota, 0, CBM_QUOTA_BREAKERS, 1));
    cbm_quota_free(quota);
}

Test(server_quota, of_the_memory_a_user_has_as_much_as_is_left_for_others)
{
    cbm_quota *quota = new_quota(&(cbm_quota_limits){.bytes_together = 1000});

    cr_assert(cbm_quota_charge(quota, 1, CBM_QUOTA_BYTES, 500));
    cr_assert_not(cbm_quota_charge(quota, 1, CBM_QUOTA_BYTES, 1), "half for a user alone");
    cr_assert(cbm_quota_charge(quota, 2, CBM_QUOTA_BYTES, 250));
    cr_assert_not(cbm_quota_charge(quota, 2, CBM_QUOTA_BYTES, 1));
    cr_assert(cbm_quota_charge(quota, 3, CBM_QUOTA_BYTES, 125), "whoever comes next finds some");
    cbm_quota_discharge(quota, 1, CBM_QUOTA_BYTES, 500);
    cr_assert(cbm_quota_charge(quota, 2, CBM_QUOTA_BYTES, 150));
    cr_assert_not(cbm_quota_charge(quota, 4, CBM_QUOTA_BYTES, UINT64_MAX));
    cbm_quota_free(quota);
}

Test(server_quota, users_are_listed_by_uid)
{
    cbm_quota *quota = new_quota(&(cbm_quota_limits){0});
    cbm_quota_usage usages[4];

    for (uint64_t uid = 5; uid > 0; uid--)
        cbm_quota_charge(quota, uid * 100, CBM_QUOTA_LEDGERS, uid);
    cr_assert_eq(cbm_quota_list(quota, UINT64_MAX, usages, 4), 4);
    for (uint64_t i = 0; i < 4; i++)
        cr_assert_eq(usages[i].used[CBM_QUOTA_LEDGERS], usages[i].uid / 100);
    cr_assert_eq(usages[0].uid, 100);
    cr_assert_eq(cbm_quota_list(quota, 7, usages, 4), 0);
    cbm_quota_free(quota);
}

Test(server_quota, users_who_came_and_went_take_no_memory_for_ever)
{
    cbm_quota *quota = new_quota(&(cbm_quota_limits){0});
    static cbm_quota_usage usages[5000];

    for (uint64_t uid = 1; uid <= 5000; uid++) {
        cbm_quota_charge(quota, uid, CBM_QUOTA_CONNECTIONS, 1);
        cbm_quota_discharge(quota, uid, CBM_QUOTA_CONNECTIONS, 1);
    }
    cr_assert_leq(cbm_quota_list(quota, UINT64_MAX, usages, 5000), 1024);
    cbm_quota_free(quota);
}

/* ---- Pace ------------------------------------------------------------------------------------------------------- */

typedef struct paced {
    uint64_t uid;
    cbm_pace_peer peer;
    uint64_t connection;
    int64_t ready_ns; /* after its rest */
} paced;

/* A round at the peer's time: returns when it is over. */
static int64_t play_round(cbm_quota *quota, paced *p, uint32_t requests, size_t bytes, int64_t begun_ns,
                          int64_t took_ns)
{
    cbm_pace_round round = {p->connection, requests, bytes, begun_ns, begun_ns + took_ns};
    uint32_t rest_ms = cbm_quota_round(quota, p->uid, &p->peer, &round);

    p->ready_ns = round.ended_ns + rest_ms * MS;
    return round.ended_ns;
}

Test(server_pace, who_asks_for_little_never_rests)
{
    cbm_quota *quota = new_quota(&(cbm_quota_limits){.requests_per_s = 200000});
    paced p = {.uid = 1, .connection = 1};
    int64_t now_ns = 1000 * MS;

    for (int i = 0; i < 100000; i++) {
        now_ns = play_round(quota, &p, 1, 300, now_ns, 20 * US);
        cr_assert_eq(p.ready_ns, now_ns);
        now_ns += 20 * US;
    }
    cr_assert_eq(usage_of(quota, 1).rests, 0);
    cr_assert_eq(usage_of(quota, 1).requests, 100000);
    cbm_quota_free(quota);
}

Test(server_pace, a_heavy_peer_alone_has_all_the_time)
{
    cbm_quota *quota = new_quota(&(cbm_quota_limits){0});
    paced p = {.uid = 1, .connection = 1};
    int64_t now_ns = 1000 * MS;

    for (int i = 0; i < 1000; i++) {
        now_ns = play_round(quota, &p, 1, 300000, now_ns, 5 * MS);
        cr_assert_eq(p.ready_ns, now_ns, "%d", i);
    }
    cbm_quota_free(quota);
}

/* The share of time in which heavy rounds run, of so many peers with rounds of 4 ms, in 10 s. */
static double share_of_heavy(cbm_quota *quota, paced *peers, int count, bool somebody_asks_for_little)
{
    paced light = {.uid = 900, .connection = 900};
    int64_t now_ns = 1000 * MS, end_ns = now_ns + 10000 * MS, busy_ns = 0;

    while (now_ns < end_ns) {
        int64_t before_ns = now_ns;

        for (int i = 0; i < count; i++) {
            if (peers[i].ready_ns > now_ns)
                continue;
            now_ns = play_round(quota, &peers[i], 1, 300000, now_ns, 4 * MS);
            busy_ns += 4 * MS;
        }
        if (somebody_asks_for_little && now_ns / (100 * MS) != before_ns / (100 * MS))
            play_round(quota, &light, 1, 200, now_ns, 10 * US);
        if (now_ns == before_ns)
            now_ns += MS;
    }
    return (double)busy_ns / (double)(end_ns - 1000 * MS);
}

Test(server_pace, heavy_peers_leave_most_of_the_time_to_who_asks_for_little_whatever_their_number)
{
    static const int counts[] = {1, 5, 50};

    for (size_t c = 0; c < sizeof counts / sizeof *counts; c++) {
        cbm_quota *quota = new_quota(&(cbm_quota_limits){0});
        paced peers[50] = {0};
        double share;

        for (int i = 0; i < counts[c]; i++)
            peers[i] = (paced){.uid = 1, .connection = (uint64_t)i + 1};
        share = share_of_heavy(quota, peers, counts[c], true);
        cr_assert(share > 0.12 && share < 0.28, "%d peers: %.2f", counts[c], share);
        cbm_quota_free(quota);
    }
}

Test(server_pace, when_nobody_asks_for_little_they_have_nearly_all_of_it)
{
    cbm_quota *quota = new_quota(&(cbm_quota_limits){0});
    paced peers[50] = {0};

    for (int i = 0; i < 50; i++)
        peers[i] = (paced){.uid = 1, .connection = (uint64_t)i + 1};
    cr_assert_gt(share_of_heavy(quota, peers, 50, false), 0.9);
    cbm_quota_free(quota);
}

Test(server_pace, a_heavy_user_does_not_wait_behind_all_the_peers_of_another)
{
    cbm_quota *quota = new_quota(&(cbm_quota_limits){0});
    paced peers[51] = {0};
    uint64_t of_many, of_one;

    for (int i = 0; i < 50; i++)
        peers[i] = (paced){.uid = 1, .connection = (uint64_t)i + 1};
    peers[50] = (paced){.uid = 2, .connection = 51};
    share_of_heavy(quota, peers, 51, true);
    of_many = usage_of(quota, 1).requests;
    of_one = usage_of(quota, 2).requests;
    cr_assert(of_one * 2 > of_many && of_many * 2 > of_one, "%lu and %lu", (unsigned long)of_one,
              (unsigned long)of_many);
    cbm_quota_free(quota);
}

Test(server_pace, requests_a_second_are_those_that_were_set)
{
    cbm_quota *quota = new_quota(&(cbm_quota_limits){.requests_per_s = 1000});
    paced peers[4] = {0};
    int64_t now_ns = 1000 * MS, end_ns = now_ns + 10000 * MS;
    uint64_t requests;

    for (int i = 0; i < 4; i++)
        peers[i] = (paced){.uid = 1, .connection = (uint64_t)i + 1};
    for (; now_ns < end_ns; now_ns += MS)
        for (int i = 0; i < 4; i++)
            if (peers[i].ready_ns <= now_ns)
                play_round(quota, &peers[i], 5, 500, now_ns, 10 * US);
    requests = usage_of(quota, 1).requests;
    cr_assert(requests > 9500 && requests < 10700, "%lu in 10 s", (unsigned long)requests);
    cr_assert_gt(usage_of(quota, 1).rests, 0);
    cbm_quota_free(quota);
}

Test(server_pace, a_connection_has_half_of_its_users_requests)
{
    cbm_quota *quota = new_quota(&(cbm_quota_limits){.requests_per_s = 1000});
    paced p = {.uid = 1, .connection = 1};
    int64_t now_ns = 1000 * MS, end_ns = now_ns + 10000 * MS;

    for (; now_ns < end_ns; now_ns += MS / 10)
        if (p.ready_ns <= now_ns)
            play_round(quota, &p, 5, 500, now_ns, 10 * US);
    cr_assert_float_eq((double)usage_of(quota, 1).requests, 5000, 300, "%lu",
                       (unsigned long)usage_of(quota, 1).requests);
    cbm_quota_free(quota);
}
