/*
 * Eight processes at full speed, one call in a hundred fails, and the rule is five failures in a row. A call takes no time here and a
 * failure takes a message, so that many of the eight are mostly waiting for their failures to be taken: that five of these
 * come after each other without a success in between does happen, and then the breaker is to open. A trip is false when any five
 * failures have a success among them: one that began after the first of the five had returned, and returned before the last of
 * them began. So each process notes when its successes and failures began and returned.
 */
#include "clients.h"
#include "random.h"

#include <criterion/criterion.h>
#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#ifdef CBM_SANITIZED
enum { RUN_MS = 600 };
#else
enum { RUN_MS = 1200 };
#endif

enum { WORKERS = 8, ONE_IN = 100, PATIENCE_MS = 20000 };
enum { NOTES = 1 << 15, FAILURES_NOTED = 1 << 10, IN_A_ROW = 5 };

typedef struct note {
    int64_t start_ns, end_ns;
} note;

typedef struct noted_worker {
    _Alignas(64) uint64_t successes_count, failures_count;
    _Atomic int done; /* number of the round */
    note successes[NOTES];
    note failures[FAILURES_NOTED];
} noted_worker;

typedef struct noted {
    const char *address;
    cbm_policy policy;
    _Atomic int round, stop; /* numbers */
    noted_worker workers[WORKERS];
} noted;

static noted *n;

static void noted_calls(cbm_breaker *breaker, noted_worker *w, int round)
{
    cbm_permit permit;

    while (atomic_load_explicit(&n->stop, memory_order_relaxed) < round) {
        bool fails = random_below(ONE_IN) == 0;
        int64_t start_ns = clock_ns();

        if (cbm_call_begin(breaker, &permit) != 0) {
            return; /* somebody opened it */
        }
        MUST(cbm_call_report(&permit, fails ? CBM_FAILURE : CBM_SUCCESS) == 0);
        note *to =
            fails ? &w->failures[w->failures_count++ % FAILURES_NOTED] : &w->successes[w->successes_count++ % NOTES];
        *to = (note){start_ns, clock_ns()};
    }
}

static int noted_worker_main(int index, void *context)
{
    (void)context;
    noted_worker *w = &n->workers[index];
    cbm_client *client = client_open(n->address, CBM_FAIL_CLOSED);
    cbm_breaker *breaker = breaker_get(client, "noted", &n->policy);

    random_seed((uint64_t)getpid());
    for (int round = 1;; round++) {
        while (atomic_load(&n->round) < round) {
            usleep(100);
        }
        if (atomic_load(&n->stop) == INT32_MAX) {
            break;
        }
        w->successes_count = w->failures_count = 0;
        noted_calls(breaker, w, round);
        atomic_store(&w->done, round);
    }
    cbm_close(client);
    return 0;
}

static bool all_noted(void *context)
{
    int round = *(int *)context;

    for (int i = 0; i < WORKERS; i++) {
        if (atomic_load(&n->workers[i].done) < round) {
            return false;
        }
    }
    return true;
}

/* Whether some success lies between: began after `from_ns` and returned before `to_ns`. */
static bool success_between(int64_t from_ns, int64_t to_ns)
{
    for (int i = 0; i < WORKERS; i++) {
        const noted_worker *w = &n->workers[i];
        uint64_t first = w->successes_count > NOTES ? w->successes_count - NOTES : 0;

        for (uint64_t k = w->successes_count; k > first; k--) {
            const note *success = &w->successes[(k - 1) % NOTES];

            if (success->start_ns <= from_ns) {
                break;
            }
            if (success->end_ns < to_ns) {
                return true;
            }
        }
    }
    return false;
}

static int by_end(const void *a, const void *b)
{
    int64_t left = ((const note *)a)->end_ns;
    int64_t right = ((const note *)b)->end_ns;

    return left < right ? -1 : left > right;
}

static int by_start(const void *a, const void *b)
{
    int64_t left = ((const note *)a)->start_ns;
    int64_t right = ((const note *)b)->start_ns;

    return left < right ? -1 : left > right;
}

/*
 * Whether the last failures may have been five in a row. In whatever order: of the five, let `first` return first; then the five
 * returned at or after that, and the last of them to begin did so as early as it can be with five.
 */
static bool may_have_been_five_in_a_row(void)
{
    static note all[WORKERS * 16];
    size_t count = 0;

    for (int i = 0; i < WORKERS; i++) {
        const noted_worker *w = &n->workers[i];

        for (uint64_t k = 0; k < 16 && k < w->failures_count; k++) {
            all[count++] = w->failures[(w->failures_count - 1 - k) % FAILURES_NOTED];
        }
    }
    qsort(all, count, sizeof(all[0]), by_end);
    for (size_t first = 0; first + IN_A_ROW <= count; first++) {
        note later[WORKERS * 16];
        size_t laters = count - first - 1;

        memcpy(later, &all[first + 1], laters * sizeof(later[0]));
        qsort(later, laters, sizeof(later[0]), by_start);
        int64_t last_start_ns = later[IN_A_ROW - 2].start_ns;
        if (last_start_ns <= all[first].end_ns || !success_between(all[first].end_ns, last_start_ns)) {
            return true;
        }
    }
    return false;
}

Test(in_a_row, under_consecutive_only_five_failures_without_a_success_between_open)
{
    broker *b = broker_start_unlimited();
    cbm_client *client = client_open(b->address, CBM_FAIL_CLOSED);
    int64_t end_ms = clock_ms() + RUN_MS;
    uint64_t calls = 0;
    int opened = 0;
    int round = 1;
    processes p;

    n = shared_new(sizeof(*n));
    n->address = b->address;
    n->policy = (cbm_policy)CBM_POLICY_INIT;
    n->policy.timeout_ms = 600000;
    (void)breaker_get(client, "noted", &n->policy);
    processes_start(&p, WORKERS, noted_worker_main, NULL);
    for (; clock_ms() < end_ms; round++) {
        atomic_store(&n->round, round);
        while (clock_ms() < end_ms && !all_noted(&round)) {
            usleep(1000);
        }
        atomic_store(&n->stop, round);
        cr_assert(wait_until(all_noted, &round, PATIENCE_MS));
        for (int i = 0; i < WORKERS; i++) {
            calls += n->workers[i].successes_count + n->workers[i].failures_count;
        }
        if (state_of(client, "noted").state == CBM_OPEN) {
            opened++;
            cr_assert(may_have_been_five_in_a_row(), "round %d: a false trip", round);
            cr_assert_eq(cbm_reset(client, "noted"), 0);
        }
    }
    atomic_store(&n->stop, INT32_MAX);
    atomic_store(&n->round, round);
    cr_assert_eq(processes_wait(&p, PATIENCE_MS), 0);
    fprintf(stderr, "consecutive: %" PRIu64 " calls, %d times five failures in a row, no false trip\n", calls, opened);
    cbm_close(client);
    broker_free(b);
}
