/* Ledgers by themselves: numbers, entries handed out, differences taken, what makes no sense. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include "error.h"
#include "ledgers.h"

#define SLOTS 400

static cbm_ledgers ledgers;
static cbm_ledger *page; /* of `ledger` */
static cbm_mapped_ledger *ledger;

static cbm_ledger *new_page(uint8_t id)
{
    cbm_ledger *made = mmap(NULL, CBM_LEDGER_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    uint8_t bytes[CBM_ID_SIZE] = {id};

    cr_assert_neq(made, MAP_FAILED);
    cbm_ledger_init(made, bytes);
    made->lanes_in_use = 1;
    return made;
}

static cbm_mapped_ledger *add(cbm_ledger *added, int64_t pid)
{
    cbm_ledger_owner owner = {1000, pid, 1};
    cbm_mapped_ledger *made;

    cr_assert_eq(cbm_ledgers_add(&ledgers, added->id, added, &owner, &made), 0);
    return made;
}

static void set_up(void)
{
    cr_assert_eq(cbm_ledgers_init(&ledgers, SLOTS), 0);
    page = new_page(1);
    ledger = add(page, 1);
}

static void tear_down(void)
{
    cbm_ledgers_deinit(&ledgers);
}

TestSuite(server_ledgers, .init = set_up, .fini = tear_down, .timeout = 30);

/* The breaker of slot s is called s. */
static int64_t bind_wanted(uint32_t slot, int64_t wanted, cbm_ledger_news *before)
{
    char name[16];

    snprintf(name, sizeof name, "%u", slot);
    return cbm_ledgers_bind(&ledgers, ledger, slot, name, wanted, before);
}

static int64_t bind_to(uint32_t slot)
{
    cbm_ledger_news before;

    return bind_wanted(slot, -1, &before);
}

static cbm_ledger_news read_slot(uint32_t slot)
{
    cbm_ledger_news news = {0};

    cbm_ledgers_read(&ledgers, slot, CBM_LEDGER_ALL, &news);
    return news;
}

static bool is_broken(void)
{
    return cbm_ledgers_next_broken(&ledgers) != NULL;
}

/* ---- Numbers ------------------------------------------------------------------------------------------------------- */

Test(server_ledgers, a_ledger_is_found_by_its_id_and_by_its_number_until_it_is_removed)
{
    uint64_t holder = ledger->holder;
    uint8_t id[CBM_ID_SIZE] = {1}, other[CBM_ID_SIZE] = {2};

    cr_assert_eq(cbm_ledgers_find(&ledgers, id), ledger);
    cr_assert_null(cbm_ledgers_find(&ledgers, other));
    cr_assert_eq(cbm_ledgers_of_holder(&ledgers, holder), ledger);
    munmap((void *)cbm_ledgers_remove(&ledgers, ledger), CBM_LEDGER_SIZE);
    cr_assert_null(cbm_ledgers_find(&ledgers, id));
    cr_assert_null(cbm_ledgers_of_holder(&ledgers, holder));
    ledger = add(new_page(1), 1);
    cr_assert_neq(ledger->holder, holder, "it has the place of the other, but another number");
    cr_assert_null(cbm_ledgers_of_holder(&ledgers, holder));
}

Test(server_ledgers, numbers_of_ledgers_are_none_of_connections)
{
    cr_assert(cbm_ledgers_is_number(ledger->holder));
    cr_assert_not(cbm_ledgers_is_number(0));
    cr_assert_not(cbm_ledgers_is_number(1));
    cr_assert_not(cbm_ledgers_is_number(UINT32_MAX));
}

Test(server_ledgers, a_thousand_ledgers_come_and_go_in_any_order)
{
    cbm_mapped_ledger *all[1000];

    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < 1000; i++) {
            cbm_ledger *made = mmap(NULL, CBM_LEDGER_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
            uint8_t id[CBM_ID_SIZE] = {2, (uint8_t)i, (uint8_t)(i >> 8)};

            cbm_ledger_init(made, id);
            all[i] = add(made, i);
        }
        for (int i = 0; i < 1000; i++) {
            cbm_mapped_ledger *gone = all[(i * 7 + round) % 1000];

            cr_assert_eq(cbm_ledgers_of_holder(&ledgers, gone->holder), gone);
            munmap((void *)cbm_ledgers_remove(&ledgers, gone), CBM_LEDGER_SIZE);
        }
    }
    cr_assert_eq(ledgers.count, 1);
    cr_assert_eq(cbm_ledgers_of_holder(&ledgers, ledger->holder), ledger);
}

/* ---- Entries ------------------------------------------------------------------------------------------------------- */

Test(server_ledgers, entries_are_handed_out_densely_and_stay)
{
    for (uint32_t slot = 0; slot < 10; slot++)
        cr_assert_eq(bind_to(slot * 3), slot);
    cr_assert_eq(bind_to(9), 3);
    cr_assert_eq(cbm_ledgers_holders(&ledgers, 9), 1);
}

Test(server_ledgers, a_full_ledger_has_no_entry_for_one_more)
{
    for (uint32_t slot = 0; slot < CBM_LEDGER_ENTRIES; slot++)
        cr_assert_eq(bind_to(slot), slot);
    cr_assert_eq(bind_to(300), -1);
    cr_assert_eq(bind_to(254), 254);
    cbm_ledgers_unbind_slot(&ledgers, 100);
    cr_assert_eq(bind_to(300), 100, "one whose breaker is gone, when no fresh one is left");
}

Test(server_ledgers, entries_of_breakers_that_are_gone_are_used_last)
{
    bind_to(0);
    bind_to(1);
    cbm_ledgers_unbind_slot(&ledgers, 0);
    cr_assert_eq(bind_to(2), 2);
    cr_assert_eq(bind_to(0), 0, "but by that breaker when it comes again");
}

Test(server_ledgers, who_wants_its_entry_again_gets_it_unless_it_is_anothers)
{
    cbm_ledger_news before;

    cr_assert_eq(bind_wanted(0, 7, &before), 7);
    cr_assert_eq(bind_wanted(0, 9, &before), 7, "it has one");
    cr_assert_eq(bind_wanted(1, 7, &before), 0);
    cr_assert_eq(bind_wanted(2, 255, &before), 1, "there is no such entry");
    cr_assert_eq(bind_wanted(3, UINT32_MAX, &before), 2);
    cr_assert_eq(bind_wanted(4, 254, &before), 254);
}

Test(server_ledgers, what_an_earlier_broker_did_not_take_is_of_the_breaker_that_names_the_entry)
{
    cbm_ledger_news before;

    page->entries[0][0].successes[3] = 5;
    page->entries[0][0].late = 2;
    page->entries[0][1].successes[0] = 1;
    cr_assert_eq(bind_to(8), 2, "a fresh one has nothing in it");
    cr_assert_eq(bind_wanted(9, 0, &before), 0);
    cr_assert_eq(before.counters[3], 5);
    cr_assert_eq(before.counters[CBM_COUNTER_LATE], 2);
    cr_assert_eq(read_slot(9).counters[3], 0, "once");
}

static size_t recall_three(void *context, const uint8_t *id, uint32_t entry, uint64_t *mark, size_t most)
{
    (void)context, (void)id;
    cr_assert_eq(most, CBM_LEDGER_MARK);
    if (entry != 0)
        return 0;
    mark[3] = 3;
    mark[CBM_COUNTER_TIMED] = 1;
    mark[CBM_LEDGER_COUNTERS + 9] = 1;
    return most;
}

Test(server_ledgers, what_an_earlier_broker_took_is_not_taken_again)
{
    cbm_ledger_news before;

    ledgers.recall = recall_three;
    page->entries[0][0].successes[3] = 5;
    page->entries[0][0].timed = 4;
    page->histograms[0][0].counts[9] = 4;
    cr_assert_eq(bind_wanted(9, 0, &before), 0);
    cr_assert_eq(before.counters[3], 2);
    cr_assert_eq(before.counters[CBM_COUNTER_TIMED], 3);
    cr_assert_eq(before.durations[9], 3);
}

Test(server_ledgers, what_is_counted_of_a_breaker_that_is_gone_goes_to_no_other)
{
    cbm_ledger_news before;

    for (uint32_t slot = 0; slot < CBM_LEDGER_ENTRIES; slot++)
        bind_to(slot);
    cbm_ledgers_unbind_slot(&ledgers, 5);
    page->entries[0][5].successes[0] = 3;
    cr_assert_eq(bind_wanted(300, -1, &before), 5);
    cr_assert_eq(before.counters[0], 0);
    cr_assert_eq(read_slot(300).counters[0], 0);
}

Test(server_ledgers, what_is_counted_of_a_breaker_that_comes_again_is_its_own)
{
    cbm_ledger_news before;

    bind_to(5);
    cbm_ledgers_unbind_slot(&ledgers, 5);
    page->entries[0][0].successes[0] = 3;
    cr_assert_eq(bind_wanted(5, -1, &before), 0);
    cr_assert_eq(before.counters[0], 3);
}

Test(server_ledgers, letting_go_of_one_holder_leaves_the_others_what_they_had_seen)
{
    cbm_mapped_ledger *first = ledger;
    cbm_ledger *pages[4];

    for (int i = 0; i < 4; i++) {
        pages[i] = new_page((uint8_t)(10 + i));
        ledger = add(pages[i], 10 + i);
        bind_to(5);
        pages[i]->entries[0][0].successes[1] = 10;
    }
    cr_assert_eq(read_slot(5).counters[1], 40);
    cbm_ledgers_unbind(&ledgers, cbm_ledgers_find(&ledgers, pages[1]->id), 0);
    for (int i = 0; i < 4; i++)
        pages[i]->entries[0][0].successes[1] += (uint64_t)i + 1;
    cr_assert_eq(read_slot(5).counters[1], 1 + 3 + 4);
    ledger = cbm_ledgers_find(&ledgers, pages[3]->id);
    cbm_ledgers_unbind(&ledgers, ledger, 0);
    cr_assert_eq(cbm_ledgers_holders(&ledgers, 5), 2);
    ledger = first;
}

/* ---- Differences ---------------------------------------------------------------------------------------------------- */

Test(server_ledgers, all_lanes_in_use_are_added_up_and_no_other)
{
    bind_to(5);
    page->lanes_in_use = 3;
    for (uint32_t lane = 0; lane < 4; lane++)
        page->entries[lane][0].successes[6] = 10 + lane;
    cr_assert_eq(read_slot(5).counters[6], 10 + 11 + 12);
    cr_assert_eq(read_slot(5).counters[6], 0);
    page->lanes_in_use = 4;
    cr_assert_eq(read_slot(5).counters[6], 13);
}

Test(server_ledgers, more_lanes_than_there_are_count_as_all)
{
    bind_to(5);
    page->lanes_in_use = UINT32_MAX;
    page->entries[CBM_LEDGER_LANES - 1][0].late = 7;
    cr_assert_eq(read_slot(5).counters[CBM_COUNTER_LATE], 7);
}

Test(server_ledgers, the_shallow_look_leaves_the_rest_for_the_deep_one)
{
    cbm_ledger_news news = {0};

    bind_to(5);
    page->entries[0][0].successes[0] = 1;
    page->entries[0][0].rejected = 2;
    page->entries[0][0].half_open_rejected = 3;
    cbm_ledgers_read(&ledgers, 5, CBM_LEDGER_SUCCESSES, &news);
    cr_assert_eq(news.counters[0], 1);
    cr_assert_eq(news.counters[CBM_COUNTER_REJECTED], 0);
    news = read_slot(5);
    cr_assert_eq(news.counters[0], 0);
    cr_assert_eq(news.counters[CBM_COUNTER_REJECTED], 2);
    cr_assert_eq(news.counters[CBM_COUNTER_HALF_OPEN_REJECTED], 3);
}

Test(server_ledgers, durations_are_taken_when_some_were_given)
{
    cbm_ledger_news news;

    bind_to(5);
    page->lanes_in_use = 6;
    for (uint32_t lane = 0; lane < CBM_LEDGER_HISTOGRAM_LANES; lane++)
        page->histograms[lane][0].counts[20] = UINT32_MAX - 1;
    read_slot(5);
    cr_assert_null(ledger->entries[0].durations, "nobody said so");
    page->entries[5][0].timed = 1;
    cr_assert_eq(read_slot(5).durations[20], (uint32_t)(4 * (UINT32_MAX - 1ULL)));
    page->entries[5][0].timed = 3;
    page->histograms[1][0].counts[20] += 2; /* over the edge of 32 bits */
    news = read_slot(5);
    cr_assert_eq(news.counters[CBM_COUNTER_TIMED], 2);
    cr_assert_eq(news.durations[20], 2);
}

Test(server_ledgers, a_counter_that_goes_back_breaks_the_ledger_and_nothing_of_it_is_taken)
{
    bind_to(5);
    page->entries[0][0].successes[2] = 10;
    read_slot(5);
    page->entries[0][0].successes[1] = 100;
    page->entries[0][0].successes[2] = 9;
    cr_assert_eq(read_slot(5).counters[1], 0);
    cr_assert(is_broken());
    cr_assert_not(is_broken(), "it is told once");
}

Test(server_ledgers, a_leap_that_no_process_can_make_breaks_the_ledger)
{
    bind_to(5);
    page->entries[0][0].rejected = CBM_LEDGER_NEW_MAX;
    cr_assert_eq(read_slot(5).counters[CBM_COUNTER_REJECTED], CBM_LEDGER_NEW_MAX);
    cr_assert_not(is_broken());
    page->entries[0][0].rejected += CBM_LEDGER_NEW_MAX + 1;
    cr_assert_eq(read_slot(5).counters[CBM_COUNTER_REJECTED], 0);
    cr_assert(is_broken());
}

Test(server_ledgers, lanes_that_vanish_break_the_ledger)
{
    bind_to(5);
    page->lanes_in_use = 2;
    page->entries[1][0].late = 1;
    read_slot(5);
    page->lanes_in_use = 1;
    read_slot(5);
    cr_assert(is_broken());
}

Test(server_ledgers, a_broken_one_takes_nothing_from_the_others)
{
    cbm_ledger *other = new_page(9);

    bind_to(5);
    ledger = add(other, 2);
    bind_to(5);
    page->entries[0][0].successes[0] = UINT64_MAX;
    other->entries[0][0].successes[0] = 4;
    cr_assert_eq(read_slot(5).counters[0], 4);
    other->entries[0][0].successes[0] = 5;
    cr_assert_eq(read_slot(5).counters[0], 1, "and is not read again");
    cr_assert_eq(cbm_ledgers_next_broken(&ledgers)->page, page);
}

Test(server_ledgers, a_broken_one_may_end_before_it_is_given_up)
{
    bind_to(5);
    page->entries[0][0].successes[0] = UINT64_MAX;
    read_slot(5);
    cbm_ledgers_unbind(&ledgers, ledger, 0);
    munmap((void *)cbm_ledgers_remove(&ledgers, ledger), CBM_LEDGER_SIZE);
    cr_assert_not(is_broken());
}

Test(server_ledgers, the_watermark_says_what_was_taken)
{
    uint64_t mark[CBM_LEDGER_MARK];
    uint8_t id[CBM_ID_SIZE];

    bind_to(5);
    page->entries[0][0].successes[4] = 6;
    page->entries[0][0].timed = 1;
    page->histograms[0][0].counts[3] = 1;
    read_slot(5);
    page->entries[0][0].successes[4] = 60;
    cr_assert_eq(cbm_ledgers_mark(&ledgers, 5, 0, id, mark), 0);
    cr_assert_arr_eq(id, page->id, sizeof id);
    cr_assert_eq(mark[4], 6);
    cr_assert_eq(mark[CBM_LEDGER_COUNTERS + 3], 1);
}

static size_t recall_nothing(void *context, const uint8_t *id, uint32_t entry, uint64_t *mark, size_t most)
{
    (void)context, (void)id, (void)entry, (void)mark, (void)most;
    return 0;
}

Test(server_ledgers, the_watermark_outlives_its_breaker)
{
    uint64_t mark[CBM_LEDGER_MARK];
    uint8_t id[CBM_ID_SIZE];
    uint32_t entry;

    ledgers.recall = recall_nothing;
    bind_to(4);
    bind_to(5);
    page->entries[0][1].late = 6;
    read_slot(5);
    cbm_ledgers_unbind_slot(&ledgers, 4);
    cbm_ledgers_unbind_slot(&ledgers, 5);
    bind_to(4);
    cr_assert(cbm_ledgers_next_left(&ledgers, id, &entry, mark));
    cr_assert_eq(entry, 1);
    cr_assert_eq(mark[CBM_COUNTER_LATE], 6);
    cr_assert_not(cbm_ledgers_next_left(&ledgers, id, &entry, mark), "the other has one again");
}

static bool next_left(uint32_t expected)
{
    uint64_t mark[CBM_LEDGER_MARK];
    uint8_t id[CBM_ID_SIZE];
    uint32_t entry;

    return cbm_ledgers_next_left(&ledgers, id, &entry, mark) && entry == expected;
}

Test(server_ledgers, a_watermark_is_told_again_until_it_is_stored)
{
    ledgers.recall = recall_nothing;
    bind_to(4);
    bind_to(5);
    cbm_ledgers_unbind_slot(&ledgers, 4);
    cr_assert(next_left(0));
    cbm_ledgers_unbind_slot(&ledgers, 5);
    cbm_ledgers_left_stored(&ledgers, false);
    cr_assert(next_left(0), "it was not stored");
    cr_assert(next_left(1));
    cr_assert_not(next_left(0));
    bind_to(4);
    cbm_ledgers_unbind_slot(&ledgers, 4);
    cbm_ledgers_left_stored(&ledgers, true);
    cr_assert(next_left(0), "it was left again since it was read");
    cr_assert_not(next_left(0));
    cbm_ledgers_left_stored(&ledgers, true);
    cr_assert_eq(ledgers.left_count, 0);
}

Test(server_ledgers, what_cannot_be_stored_for_long_is_noted_once)
{
    ledgers.recall = recall_nothing;
    for (int i = 0; i < 100; i++) {
        bind_to(4);
        cbm_ledgers_unbind_slot(&ledgers, 4);
        bind_to(4);
        cbm_ledgers_unbind_slot(&ledgers, 4);
        cr_assert(next_left(0));
        cbm_ledgers_left_stored(&ledgers, false);
    }
    cr_assert_eq(ledgers.left_count, 1);
}
