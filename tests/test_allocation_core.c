/*
 * Every allocation of libcbm-core fails once: a script of all its operations runs again and again, and each time the next
 * allocation is the one that fails. The operation that hit it says so and has changed nothing, or did its work without; tried
 * again it works, the end of the script is what it is with memory, and nothing is left behind.
 */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "allocation.h"
#include "cbm_core.h"

TestSuite(allocation_core, .timeout = 60);

#define SECOND CBM_CORE_NS_PER_S
#define STATES_MAX 64

static cbm_core_manager *manager;
static int64_t now_ns;

/* What can be seen of it all. Filled with zeros first, so that two of them can be compared as bytes. */
typedef struct sight {
    cbm_core_stats stats;
    cbm_core_status states[STATES_MAX];
    size_t count;
} sight;

static void look(sight *s)
{
    char next[CBM_CORE_NAME_MAX + 1];
    bool more;

    memset(s, 0, sizeof *s);
    if (!manager)
        return;
    cbm_core_stats_get(manager, now_ns, &s->stats);
    s->count = cbm_core_states(manager, "*", "", STATES_MAX, now_ns, s->states, next, &more);
}

static cbm_core_policy_request policy_of(const char *words)
{
    cbm_core_policy_request request = {0};
    char copy[256];

    strcpy(copy, words);
    for (char *rest, *word = strtok_r(copy, " ", &rest); word; word = strtok_r(NULL, " ", &rest)) {
        char *value = strchr(word, '=');

        *value++ = '\0';
        cr_assert_eq(cbm_core_policy_parse(&request, cbm_core_policy_find(word, strlen(word)), value, strlen(value)),
                     0);
    }
    return request;
}

static int get(const char *name, const char *policy)
{
    cbm_core_policy_request request = policy_of(policy);
    cbm_core_get_result result;

    return cbm_core_get(manager, name, &request, now_ns, &result);
}

static int report(const char *name, cbm_core_outcome outcome)
{
    cbm_core_report what = {.outcome = outcome, .duration_ns = 1000000, .text = "connection refused", .count = 1};

    return cbm_core_call_report(manager, name, NULL, &what, now_ns, NULL);
}

static int begin_held(const char *name, uint64_t holder)
{
    cbm_core_begin begin = {.holder = holder};
    cbm_core_decision decision;

    return cbm_core_call_begin(manager, name, &begin, now_ns, &decision);
}

/* ---- The script ------------------------------------------------------------------------------------------------------- */

static bool charge(void *context, uint64_t account, cbm_core_charge_kind kind, int change)
{
    (void)kind, (void)account;
    *(long *)context += change;
    return true;
}

static long charged;

static int make(void)
{
    cbm_core_options options = {.max_breakers = 40,
                                .max_rate_limit = 1000,
                                .seed = 7,
                                .first_epoch = 3,
                                .charge = charge,
                                .charge_context = &charged};

    return cbm_core_manager_new(&manager, &options);
}

static int ask(void)
{
    cbm_core_on_behalf(manager, 1000, 1);
    return get("first", "failure_threshold=2 timeout_ms=1000");
}
static int ask_window(void)
{
    return get("window", "rule=count_window window_size=64 minimum_calls=4");
}
static int ask_time(void)
{
    return get("time", "rule=time_window window_s=10 minimum_calls=4");
}
static int ask_times(void)
{
    return get("times", "rule=failures failure_threshold=4 window_s=60");
}
static int begin_unknown(void)
{
    return begin_held("unknown", 5);
}
static int report_unknown(void)
{
    return report("heard_of", CBM_CORE_FAILURE);
}
static int fail_first(void)
{
    return report("first", CBM_CORE_FAILURE);
}
static int fail_window(void)
{
    return report("window", CBM_CORE_FAILURE);
}
static int succeed_window(void)
{
    return report("window", CBM_CORE_SUCCESS);
}
static int time_out_time(void)
{
    return report("time", CBM_CORE_TIMEOUT);
}
static int fail_times(void)
{
    return report("times", CBM_CORE_FAILURE);
}
static int later(void)
{
    now_ns += 2 * SECOND;
    return 0;
}
static int probe(void)
{
    return begin_held("first", 42);
}
static int holder_goes(void)
{
    cbm_core_holder_gone(manager, 42, now_ns);
    return 0;
}
static int tick(void)
{
    cbm_core_tick(manager, now_ns, 1000);
    return 0;
}
static int steer(void)
{
    return cbm_core_control_set(manager, "time", CBM_CORE_CONTROL_FORCE_OPEN, "maintenance", 5000, now_ns);
}
static int unsteer(void)
{
    return cbm_core_control_set(manager, "time", CBM_CORE_CONTROL_ENABLE, NULL, 0, now_ns);
}
static int configure(void)
{
    cbm_core_policy_request request = policy_of("rule=count_window window_size=128 minimum_calls=7 policy_version=2");

    return cbm_core_configure(manager, "times", &request, now_ns, NULL);
}
static int reset(void)
{
    return cbm_core_reset(manager, "first", now_ns);
}
static int remove_one(void)
{
    uint64_t removed;

    return cbm_core_remove(manager, "heard_*", now_ns, &removed);
}

static int many_names;
static int ask_many(void)
{
    char name[32];

    for (; many_names < 20; many_names++) {
        snprintf(name, sizeof name, "many_%d", many_names);
        int error = get(name, "failure_threshold=9");

        if (error)
            return error;
    }
    return 0;
}

typedef int step(void);
static step *const script[] = {
    make,       ask,         ask_window,     ask_time,    ask_times,   begin_unknown, report_unknown, fail_first,
    fail_first, fail_window, succeed_window, fail_window, fail_window, fail_window,   time_out_time,  time_out_time,
    fail_times, fail_times,  fail_times,     fail_times,  later,       probe,         begin_unknown,  steer,
    unsteer,    configure,   holder_goes,    later,       probe,       tick,          reset,          ask_many,
    remove_one, later,       tick,           fail_first,
};
#define STEPS (sizeof script / sizeof *script)

/* A step whose refusal is no lack of memory: the circuit is open. */
static bool is_answer(int error)
{
    return error == 0 || error == CBM_CORE_E_OPEN || error == CBM_CORE_E_HALF_OPEN_FULL;
}

static sight before, after, at_end, with_memory;

/* Plays the script with the n-th allocation failing (0: none). Returns whether there was an n-th. */
static bool play(long n)
{
    long live = allocation_live();
    bool hit = false;

    now_ns = 1000 * SECOND;
    charged = 0;
    many_names = 0;
    manager = NULL;
    allocation_fail_at(n);
    for (size_t i = 0; i < STEPS; i++) {
        int error;

        if (!allocation_has_failed())
            look(&before);
        error = script[i]();
        if (is_answer(error))
            continue;
        cr_assert_eq(error, CBM_CORE_E_NOMEM, "step %zu: %d", i, error);
        cr_assert(allocation_has_failed() && !hit, "step %zu fails though there is memory (n=%ld)", i, n);
        hit = true;
        if (script[i] != ask_many) { /* which did a part of its work */
            look(&after);
            cr_assert_eq(memcmp(&before, &after, sizeof before), 0, "step %zu (n=%ld) changed something", i, n);
        }
        i--;
    }
    hit = allocation_has_failed();
    allocation_fail_at(0);
    look(&at_end);
    cbm_core_manager_free(manager);
    manager = NULL;
    cr_assert_eq(allocation_live(), live, "n=%ld: %ld left behind", n, allocation_live() - live);
    return hit;
}

Test(allocation_core, every_allocation_fails_once_and_nothing_is_lost)
{
    long n = 1;

    cr_assert_not(play(0));
    with_memory = at_end;
    cr_assert_gt(with_memory.count, 20);
    while (play(n)) {
        cr_assert_eq(memcmp(&with_memory.stats, &at_end.stats, sizeof at_end.stats), 0, "n=%ld", n);
        cr_assert_eq(with_memory.count, at_end.count);
        for (size_t i = 0; i < at_end.count; i++) {
            cr_assert_str_eq(with_memory.states[i].name, at_end.states[i].name);
            cr_assert_eq(with_memory.states[i].state, at_end.states[i].state, "n=%ld: %s", n, at_end.states[i].name);
            cr_assert_eq(with_memory.states[i].failures, at_end.states[i].failures, "n=%ld: %s", n,
                         at_end.states[i].name);
        }
        n++;
    }
    fprintf(stderr, "libcbm-core: each of %ld allocations failed once\n", n - 1);
    cr_assert_gt(n, 40);
}
