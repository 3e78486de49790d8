/* Fair shares of the limiter: a simulated clock, users and connections that ask, and what each of them gets. */
#include <criterion/criterion.h>

#include "cbm_core.h"
#include "limiter.h"
#include "random.h"
#include "shares.h"

TestSuite(shares);

#define MS CBM_CORE_NS_PER_MS
#define MAXIMUM 1000
#define ASKERS 64

typedef struct asker {
    uint64_t user;
    uint64_t connection;
    int every_ms; /* how often it asks */
    int at_once;  /* so many at a time */
    unsigned asked, got;
} asker;

typedef struct scene {
    core_limiter limiter;
    core_shares shares;
    int64_t now_ns;
    uint32_t most_in_window;
} scene;

static scene new_scene(uint32_t maximum)
{
    scene s = {.now_ns = 1000 * MS};

    cr_assert_eq(core_limiter_init(&s.limiter, maximum, 1000), 0);
    cr_assert_eq(core_shares_init(&s.shares, maximum, 1000 * MS), 0);
    return s;
}

static void end_scene(scene *s)
{
    core_shares_deinit(&s->shares);
    core_limiter_deinit(&s->limiter);
}

static bool ask(scene *s, uint64_t user, uint64_t connection)
{
    bool room = core_limiter_has_room(&s->limiter, s->now_ns);

    if (!core_shares_ask(&s->shares, user, connection, s->limiter.count, s->now_ns) || !room)
        return false;
    core_limiter_take(&s->limiter, s->now_ns);
    core_shares_take(&s->shares);
    if (s->limiter.count > s->most_in_window)
        s->most_in_window = s->limiter.count;
    return true;
}

/* Lets all of them ask for that long; what they got is counted from then on. */
static void play(scene *s, asker *askers, int count, int for_ms)
{
    for (int i = 0; i < count; i++)
        askers[i].asked = askers[i].got = 0;
    for (int ms = 0; ms < for_ms; ms++, s->now_ns += MS) {
        for (int i = 0; i < count; i++) {
            for (int n = 0; ms % askers[i].every_ms == 0 && n < askers[i].at_once; n++) {
                askers[i].asked++;
                askers[i].got += ask(s, askers[i].user, askers[i].connection);
            }
        }
    }
}

/* What they get in `for_ms`, after a second in which shares settle. */
static void play_settled(scene *s, asker *askers, int count, int for_ms)
{
    play(s, askers, count, 1000);
    play(s, askers, count, for_ms);
}

static void got_between(const asker *askers, int count, unsigned least, unsigned most)
{
    for (int i = 0; i < count; i++)
        cr_assert(askers[i].got >= least && askers[i].got <= most, "%d: %u", i, askers[i].got);
}

Test(shares, a_user_alone_has_all_of_it)
{
    scene s = new_scene(MAXIMUM);
    asker a[] = {{1, 1, 1, 100}};

    play(&s, a, 1, 3000);
    cr_assert_eq(a[0].got, 3 * MAXIMUM);
    end_scene(&s);
}

Test(shares, a_connection_alone_has_all_that_its_user_has)
{
    scene s = new_scene(MAXIMUM);
    asker a[] = {{1, 1, 1, 100}, {2, 2, 1, 100}};

    play_settled(&s, a, 2, 3000);
    got_between(a, 2, 1490, 1510);
    end_scene(&s);
}

Test(shares, who_asks_for_little_gets_all_of_it_within_one_window)
{
    scene s = new_scene(MAXIMUM);
    asker a[] = {{1, 1, 1, 100}, {2, 2, 10, 1}};

    play(&s, a, 1, 2500); /* the flood alone */
    play_settled(&s, a, 2, 5000);
    cr_assert_eq(a[1].got, a[1].asked, "%u of %u", a[1].got, a[1].asked);
    cr_assert_eq(a[1].asked, 500);
    cr_assert_geq(a[0].got, 5 * (MAXIMUM - 140) - 10, "and the flood gets the rest: %u", a[0].got);
    end_scene(&s);
}

Test(shares, what_small_users_leave_is_shared_by_the_large_ones)
{
    scene s = new_scene(MAXIMUM);
    asker a[] = {{1, 1, 1, 50}, {2, 2, 1, 50}, {3, 3, 20, 1}, {4, 4, 50, 1}};

    play_settled(&s, a, 4, 4000);
    cr_assert_eq(a[2].got, a[2].asked);
    cr_assert_eq(a[3].got, a[3].asked);
    cr_assert_geq(a[0].got, 4 * MAXIMUM / 4);
    cr_assert_geq(a[1].got, 4 * MAXIMUM / 4);
    cr_assert_geq(a[0].got + a[1].got, 4 * (MAXIMUM - 120) - 20);
    end_scene(&s);
}

Test(shares, many_connections_give_a_user_no_more)
{
    scene s = new_scene(MAXIMUM);
    asker a[ASKERS];

    for (int i = 0; i < ASKERS; i++)
        a[i] = (asker){1, (uint64_t)i + 1, 1, 5, 0, 0};
    a[ASKERS - 1] = (asker){2, 100, 1, 5, 0, 0};
    play_settled(&s, a, ASKERS, 3000);
    got_between(&a[ASKERS - 1], 1, 1480, 1520);
    end_scene(&s);
}

Test(shares, of_one_users_connections_each_has_its_share)
{
    scene s = new_scene(MAXIMUM);
    asker a[] = {{1, 1, 1, 500}, {1, 2, 100, 1}, {1, 3, 1, 5}};

    play_settled(&s, a, 3, 4000);
    cr_assert_eq(a[1].got, a[1].asked);
    cr_assert_geq(a[2].got, 4 * MAXIMUM / 3 - 20, "%u", a[2].got);
    end_scene(&s);
}

Test(shares, each_gets_at_least_one_however_many_there_are)
{
    scene s = new_scene(20);
    asker a[20];

    for (int i = 0; i < 20; i++)
        a[i] = (asker){(uint64_t)i, 1, 1, 3, 0, 0};
    play_settled(&s, a, 20, 5000);
    got_between(a, 20, 4, 6);
    end_scene(&s);
}

Test(shares, when_the_others_have_gone_all_of_it_is_there_again)
{
    scene s = new_scene(MAXIMUM);
    asker a[] = {{1, 1, 1, 100}, {2, 2, 1, 100}};

    play(&s, a, 2, 3000);
    play(&s, a, 1, 2000);
    play(&s, a, 1, 1000);
    cr_assert_eq(a[0].got, MAXIMUM);
    end_scene(&s);
}

Test(shares, more_askers_than_there_is_memory_for_are_let_through_by_the_limiter)
{
    scene s = new_scene(MAXIMUM);
    unsigned got = 0;

    for (uint64_t connection = 0; connection < 3 * CORE_SHARES_CAPACITY; connection++)
        got += ask(&s, connection % 7, connection);
    cr_assert_eq(got, MAXIMUM);
    s.now_ns += 3000 * MS;
    got = 0;
    for (uint64_t connection = 0; connection < MAXIMUM; connection++)
        got += ask(&s, 1, 1);
    cr_assert_eq(got, MAXIMUM, "%u", got);
    end_scene(&s);
}

/* Whoever asks however: never more than fits, counts stay right, and memory of those who left is used again. */
Test(shares, at_random_never_more_than_fits_and_nothing_is_lost)
{
    scene s = new_scene(50);

    random_seed_from_environment();

    for (int i = 0; i < 300000; i++) {
        uint64_t user = random_below(6);

        ask(&s, user, random_below(40));
        if (random_below(4) == 0)
            s.now_ns += (int64_t)random_below(60) * MS;
        if (random_below(5000) == 0)
            core_limiter_clear(&s.limiter);
        if (random_below(5000) == 0)
            s.now_ns += 5000 * MS;
        cr_assert_leq(s.shares.count, 50);
    }
    cr_assert_leq(s.most_in_window, 50);
    cr_assert_leq(s.shares.used, 6 * 41);
    end_scene(&s);
}
