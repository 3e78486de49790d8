/* The ledger as its writer and the broker agree on it. */
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "ledger.h"

static const uint8_t id[CBM_ID_SIZE] = {9, 8, 7};

static cbm_ledger *new_ledger(void)
{
    cbm_ledger *ledger = aligned_alloc(4096, CBM_LEDGER_SIZE);

    cr_assert_not_null(ledger);
    memset(ledger, 0, CBM_LEDGER_SIZE);
    cbm_ledger_init(ledger, id);
    return ledger;
}

TestSuite(proto_ledger, .timeout = 30);

Test(proto_ledger, everything_stands_where_protocol_md_says)
{
    cr_assert_eq(offsetof(cbm_ledger, magic), 0);
    cr_assert_eq(offsetof(cbm_ledger, version), 8);
    cr_assert_eq(offsetof(cbm_ledger, entry_size), 12);
    cr_assert_eq(offsetof(cbm_ledger, size), 16);
    cr_assert_eq(offsetof(cbm_ledger, entry_count), 24);
    cr_assert_eq(offsetof(cbm_ledger, lane_count), 28);
    cr_assert_eq(offsetof(cbm_ledger, id), 32);
    cr_assert_eq(offsetof(cbm_ledger, lanes_in_use), 64);
    cr_assert_eq(offsetof(cbm_ledger, entries), 128);
    cr_assert_eq(offsetof(cbm_ledger, histograms), 522368);
    cr_assert_eq(sizeof(cbm_ledger_histogram), 512);
    cr_assert_eq(CBM_LEDGER_SIZE, 1048576);
    cr_assert_eq(offsetof(cbm_entry, late), 8 * 8);
    cr_assert_eq(offsetof(cbm_entry, rejected), 9 * 8);
    cr_assert_eq(offsetof(cbm_entry, half_open_rejected), 10 * 8);
    cr_assert_eq(offsetof(cbm_entry, timed), 11 * 8);
}

Test(proto_ledger, a_ledger_is_what_it_says)
{
    cbm_ledger *ledger = new_ledger();

    cr_assert(cbm_ledger_valid(ledger, CBM_LEDGER_SIZE));
    cr_assert_eq(memcmp(ledger->id, id, sizeof id), 0);
    cr_assert_eq(atomic_load(&ledger->lanes_in_use), 0);
    free(ledger);
}

Test(proto_ledger, a_header_with_anything_else_in_it_is_no_ledger)
{
    cbm_ledger *ledger = new_ledger();
    size_t checked = offsetof(cbm_ledger, id);

    for (size_t i = 0; i < checked; i++) {
        ((uint8_t *)ledger)[i] ^= 1;
        cr_assert_not(cbm_ledger_valid(ledger, CBM_LEDGER_SIZE), "byte %zu", i);
        ((uint8_t *)ledger)[i] ^= 1;
    }
    cr_assert_not(cbm_ledger_valid(ledger, CBM_LEDGER_SIZE - 1));
    cr_assert_not(cbm_ledger_valid(ledger, CBM_LEDGER_SIZE + 1));
    free(ledger);
}

Test(proto_ledger, threads_share_no_line_of_cache)
{
    cbm_ledger *ledger = new_ledger();

    for (size_t lane = 0; lane < CBM_LEDGER_LANES; lane++)
        for (size_t entry = 0; entry < CBM_LEDGER_ENTRIES; entry++)
            cr_assert_eq((uintptr_t)&ledger->entries[lane][entry] % 128, 0);
    cr_assert_eq(offsetof(cbm_entry, late), 64, "successes have a line of their own");
    cr_assert_eq((uintptr_t)&ledger->lanes_in_use / 64 - (uintptr_t)ledger / 64, 1);
    free(ledger);
}

Test(proto_ledger, one_lane_with_ten_entries_touches_one_page)
{
    cr_assert_leq(offsetof(cbm_ledger, entries) + 10 * sizeof(cbm_entry), 4096);
}

Test(proto_ledger, buckets_of_durations_follow_each_other)
{
    uint32_t last = 0;

    for (int64_t ns = 0; ns < INT64_C(100000000000); ns += ns / 64 + 1) {
        uint32_t bucket = cbm_ledger_bucket(ns);

        cr_assert(bucket == last || bucket == last + 1, "%lld ns", (long long)ns);
        last = bucket;
    }
    cr_assert_gt(last, 90);
}

Test(proto_ledger, there_are_four_steps_for_each_doubling)
{
    for (int64_t us = 4; us < INT64_C(1) << 30; us *= 2)
        cr_assert_eq(cbm_ledger_bucket(2 * us * 1000) - cbm_ledger_bucket(us * 1000), 4, "%lld us", (long long)us);
}

Test(proto_ledger, what_stands_for_a_bucket_is_in_it)
{
    for (uint32_t bucket = 0; bucket < CBM_LEDGER_BUCKETS; bucket++)
        cr_assert_eq(cbm_ledger_bucket(cbm_ledger_bucket_ns(bucket)), bucket);
}

Test(proto_ledger, every_duration_has_a_bucket)
{
    cr_assert_eq(cbm_ledger_bucket(0), 0);
    cr_assert_eq(cbm_ledger_bucket(-1), 0, "a clock that went back");
    cr_assert_eq(cbm_ledger_bucket(INT64_MIN), 0);
    cr_assert_eq(cbm_ledger_bucket(INT64_MAX), CBM_LEDGER_BUCKETS - 1);
}
