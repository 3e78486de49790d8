/* One-time tokens. */
#include <criterion/criterion.h>
#include <pthread.h>
#include <string.h>

#include "cbm_core.h"
#include "error.h"
#include "tokens.h"

#define S CBM_CORE_NS_PER_S

static cbm_tokens *tokens;
static const cbm_token_owner alice = {.uid = 1000, .pid = 4711, .connection = 12};

static void set_up(void)
{
    cr_assert_eq(cbm_tokens_new(&tokens), 0);
}

static void tear_down(void)
{
    cbm_tokens_free(tokens);
}

TestSuite(server_tokens, .init = set_up, .fini = tear_down, .timeout = 30);

typedef struct token {
    uint8_t bytes[CBM_ID_SIZE];
} token;

static token issue(uint64_t uid, int64_t now_ns)
{
    cbm_token_owner owner = alice;
    token issued;

    owner.uid = uid;
    cr_assert_eq(cbm_tokens_issue(tokens, &owner, now_ns, issued.bytes), 0);
    return issued;
}

static bool redeem(token t, uint64_t uid, int64_t now_ns)
{
    cbm_token_owner owner;

    return cbm_tokens_redeem(tokens, t.bytes, uid, alice.pid, now_ns, &owner);
}

Test(server_tokens, a_token_names_its_owner)
{
    token t = issue(alice.uid, 5 * S);
    cbm_token_owner owner = {0};

    cr_assert(cbm_tokens_redeem(tokens, t.bytes, alice.uid, alice.pid, 6 * S, &owner));
    cr_assert_eq(owner.uid, alice.uid);
    cr_assert_eq(owner.pid, alice.pid);
    cr_assert_eq(owner.connection, alice.connection);
}

Test(server_tokens, it_is_good_once)
{
    token t = issue(alice.uid, 0);

    cr_assert(redeem(t, alice.uid, 1));
    cr_assert_not(redeem(t, alice.uid, 2));
}

Test(server_tokens, what_was_never_issued_is_none)
{
    cr_assert_not(redeem((token){{0}}, alice.uid, 0));
    issue(alice.uid, 0);
    cr_assert_not(redeem((token){{0}}, alice.uid, 0));
}

Test(server_tokens, no_two_are_alike)
{
    token all[100];

    for (int i = 0; i < 100; i++) {
        all[i] = issue(alice.uid, 0);
        for (int j = 0; j < i; j++)
            cr_assert_neq(memcmp(&all[i], &all[j], sizeof all[i]), 0);
    }
}

Test(server_tokens, another_user_or_process_cannot_use_it_and_uses_it_up)
{
    cbm_token_owner owner;
    token t = issue(alice.uid, 0);

    cr_assert_not(redeem(t, alice.uid + 1, 0));
    cr_assert_not(redeem(t, alice.uid, 0));
    t = issue(alice.uid, 0);
    cr_assert_not(cbm_tokens_redeem(tokens, t.bytes, alice.uid, alice.pid + 1, 0, &owner));
    cr_assert_not(redeem(t, alice.uid, 0));
}

Test(server_tokens, after_ten_seconds_it_is_worth_nothing)
{
    token early = issue(alice.uid, S), late = issue(alice.uid, S);

    cr_assert(redeem(early, alice.uid, 11 * S - 1));
    cr_assert_not(redeem(late, alice.uid, 11 * S));
}

Test(server_tokens, of_a_user_that_asks_for_many_the_oldest_goes)
{
    enum { MANY = 1000 };
    static token all[MANY];
    token other = issue(alice.uid + 1, 0);
    int good = 0;

    for (int i = 0; i < MANY; i++)
        all[i] = issue(alice.uid, 1);
    cr_assert(redeem(other, alice.uid + 1, 2), "another user's stays");
    cr_assert_not(redeem(all[0], alice.uid, 2));
    for (int i = MANY; i-- > 0;) {
        if (!redeem(all[i], alice.uid, 2))
            break;
        good++;
    }
    cr_assert_geq(good, 32, "as many as prefork workers start at once");
    cr_assert_lt(good, MANY / 2);
}

Test(server_tokens, many_users_are_served_and_what_is_kept_is_bounded)
{
    token first = issue(0, 0), last = first;

    for (uint64_t uid = 1; uid <= 10000; uid++)
        last = issue(uid, 1);
    cr_assert(redeem(last, 10000, 2));
    cr_assert_not(redeem(first, 0, 2));
}

static void *issue_and_redeem(void *context)
{
    uint64_t uid = *(const uint64_t *)context;
    uintptr_t failed = 0;
    cbm_token_owner owner = {.uid = uid, .pid = alice.pid};

    for (int i = 0; i < 2000; i++) {
        token t;

        failed += cbm_tokens_issue(tokens, &owner, i, t.bytes) != 0;
        failed += !redeem(t, uid, i);
    }
    return (void *)failed;
}

Test(server_tokens, threads_do_not_take_each_others)
{
    uint64_t uids[4] = {1, 2, 3, 4};
    pthread_t threads[4];

    for (int i = 0; i < 4; i++)
        cr_assert_eq(pthread_create(&threads[i], NULL, issue_and_redeem, &uids[i]), 0);
    for (int i = 0; i < 4; i++) {
        void *failed;

        pthread_join(threads[i], &failed);
        cr_assert_null(failed);
    }
}
