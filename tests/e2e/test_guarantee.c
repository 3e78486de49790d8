/*
 * Once a report that opens has returned, no begin that starts later is let through, in any process. Thirty-two of them call in
 * bursts, most through shared memory and some by message, while one of them opens the breaker again and again.
 */
#include "clients.h"

#include <criterion/criterion.h>
#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <unistd.h>

#ifdef CBM_SANITIZED
enum { ROUNDS = 12 };
#else
enum { ROUNDS = 120 };
#endif

enum { CROWD = 32, A_BURST = 500, PATIENCE_MS = 20000 };

typedef struct crowd_member {
    _Alignas(64) _Atomic int64_t last_permitted_start_ns;
    _Atomic int busy;    /* number of the round in which it was let through */
    _Atomic int refused; /* number of the round in which it was */
} crowd_member;

typedef struct crowd {
    const char *address;
    cbm_policy policy;
    _Atomic int round;
    crowd_member members[CROWD];
} crowd;

static crowd *c;

static cbm_client *member_client(const char *address, bool no_shm)
{
    cbm_open_options options = CBM_OPEN_OPTIONS_INIT;
    cbm_client *client;

    options.when_away = CBM_FAIL_CLOSED;
    options.call_timeout_ms = options.timeout_ms = PATIENCE_MS;
    options.flags = no_shm ? CBM_OPEN_NO_SHM : 0;
    MUST(cbm_open(&client, address, &options) == 0);
    return client;
}

static int crowd_member_main(int index, void *context)
{
    (void)context;
    crowd_member *m = &c->members[index];
    cbm_client *client = member_client(c->address, index % 8 == 7);
    cbm_breaker *breaker = breaker_get(client, "crowd", &c->policy);

    for (int round = 1;; round++) {
        int seen;

        while ((seen = atomic_load(&c->round)) < round) {
            usleep(500);
        }
        if (seen == INT32_MAX) {
            break;
        }
        for (int calls = 1;; calls++) {
            cbm_permit permit;
            int64_t start_ns = clock_ns();
            int error = cbm_call_begin(breaker, &permit);

            if (error != 0) {
                MUST(error == CBM_E_OPEN);
                break;
            }
            atomic_store_explicit(&m->last_permitted_start_ns, start_ns, memory_order_relaxed);
            atomic_store_explicit(&m->busy, round, memory_order_relaxed);
            MUST(cbm_call_report(&permit, CBM_SUCCESS) == 0);
            if (calls % A_BURST == 0) {
                usleep(500); /* or two processors would show each of them once in a tenth of a second */
            }
        }
        atomic_store(&m->refused, round);
    }
    cbm_close(client);
    return 0;
}

static bool all_refused(void *context)
{
    int round = *(int *)context;

    for (int i = 0; i < CROWD - 1; i++) {
        if (atomic_load(&c->members[i].refused) < round) {
            return false;
        }
    }
    return true;
}

static bool some_are_busy(void *context)
{
    int round = *(int *)context;
    int busy = 0;

    for (int i = 0; i < CROWD - 1; i++) {
        busy += atomic_load(&c->members[i].busy) == round;
    }
    return busy >= CROWD / 4;
}

Test(guarantee, after_the_report_that_opens_nobody_of_thirty_two_is_let_through)
{
    broker *b = broker_start_unlimited();
    cbm_client *client = client_open(b->address, CBM_FAIL_CLOSED);
    cbm_breaker *breaker;
    int64_t closest_ns = INT64_MAX;
    processes p;

    c = shared_new(sizeof(*c));
    c->address = b->address;
    c->policy = (cbm_policy)CBM_POLICY_INIT;
    c->policy.timeout_ms = 600000;
    c->policy.failure_threshold = 1;
    breaker = breaker_get(client, "crowd", &c->policy);
    processes_start(&p, CROWD - 1, crowd_member_main, NULL);
    for (int round = 1; round <= ROUNDS; round++) {
        int64_t returned_ns;

        atomic_store(&c->round, round);
        cr_assert(wait_until(some_are_busy, &round, PATIENCE_MS));
        fail_calls(breaker, 1);
        returned_ns = clock_ns();
        cr_assert(wait_until(all_refused, &round, PATIENCE_MS), "somebody is let through for ever");
        for (int i = 0; i < CROWD - 1; i++) {
            int64_t start_ns = atomic_load(&c->members[i].last_permitted_start_ns);

            cr_assert_leq(start_ns, returned_ns, "round %d: process %d was let through %" PRId64 " ns too late", round,
                          i, start_ns - returned_ns);
            closest_ns = returned_ns - start_ns < closest_ns ? returned_ns - start_ns : closest_ns;
        }
        cr_assert_eq(cbm_reset(client, "crowd"), 0);
    }
    atomic_store(&c->round, INT32_MAX);
    cr_assert_eq(processes_wait(&p, PATIENCE_MS), 0);
    fprintf(stderr, "%d openings, %d processes: the last begin that was let through started %" PRId64 " ns before\n",
            ROUNDS, CROWD, closest_ns);
    cbm_close(client);
    broker_free(b);
}
