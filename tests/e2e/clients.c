#include "clients.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

cbm_client *client_open(const char *address, cbm_when_away when_away)
{
    cbm_open_options options = CBM_OPEN_OPTIONS_INIT;
    options.when_away = when_away;
    options.call_timeout_ms = 10000;
    options.timeout_ms = 10000;
    cbm_client *client;
    int error = cbm_open(&client, address, &options);
    if (error != 0)
        harness_fail("cbm_open %s: %s", address, cbm_strerror(error));
    return client;
}

cbm_breaker *breaker_get(cbm_client *client, const char *name, const cbm_policy *policy)
{
    cbm_breaker *breaker;
    int error = cbm_get(client, name, policy, &breaker);
    if (error != 0)
        harness_fail("cbm_get %s: %s: %s", name, cbm_strerror(error), cbm_last_message());
    return breaker;
}

int call_once(cbm_breaker *breaker, cbm_outcome outcome)
{
    cbm_permit permit;
    int error = cbm_call_begin(breaker, &permit);
    if (error != 0)
        return error;
    error = cbm_call_report(&permit, outcome);
    if (error != 0)
        harness_fail("cbm_call_report: %s", cbm_strerror(error));
    return 0;
}

void fail_calls(cbm_breaker *breaker, int count)
{
    for (int i = 0; i < count; i++)
        MUST(call_once(breaker, CBM_FAILURE) == 0);
}

typedef struct begin_attempt {
    cbm_breaker *breaker;
    cbm_permit *permit;
} begin_attempt;

static bool begin_is_permitted(void *context)
{
    begin_attempt *attempt = context;
    return cbm_call_begin(attempt->breaker, attempt->permit) == 0;
}

bool begin_until_permitted(cbm_breaker *breaker, cbm_permit *permit, int deadline_ms)
{
    begin_attempt attempt = {breaker, permit};
    return wait_until(begin_is_permitted, &attempt, deadline_ms);
}

/* Strings and the policy are not kept; the latter goes into *policy unless that is NULL. */
static cbm_breaker_state read_state(cbm_client *client, const char *name, cbm_policy *policy)
{
    cbm_states_result *states;
    int error = cbm_states(client, name, &states);
    if (error != 0)
        harness_fail("cbm_states %s: %s", name, cbm_strerror(error));
    const cbm_breaker_state *found = cbm_states_find(states, name);
    if (found == NULL)
        harness_fail("there is no breaker %s", name);
    cbm_breaker_state state = *found;
    if (policy != NULL)
        *policy = *found->policy;
    state.name = name;
    state.reason = state.last_error_text = state.policy_source = NULL;
    state.policy = NULL;
    cbm_states_free(states);
    return state;
}

cbm_breaker_state state_of(cbm_client *client, const char *name)
{
    return read_state(client, name, NULL);
}

cbm_policy policy_of(cbm_client *client, const char *name)
{
    cbm_policy policy;
    read_state(client, name, &policy);
    return policy;
}

typedef struct worker_shared {
    _Atomic uint64_t calls;
    atomic_bool stop;
} worker_shared;

struct worker {
    worker_shared *shared;
    pid_t pid;
};

static int work(worker_shared *shared, const char *address)
{
    cbm_client *client = client_open(address, CBM_FAIL_CLOSED);
    cbm_breaker *breaker = breaker_get(client, "worker", NULL);
    while (!atomic_load(&shared->stop)) {
        cbm_permit permit;
        int error = cbm_call_begin(breaker, &permit);
        if (error == 0)
            error = cbm_call_report(&permit, CBM_SUCCESS);
        if (error != 0) {
            fprintf(stderr, "the worker's call failed: %s\n", cbm_strerror(error));
            return 1;
        }
        atomic_fetch_add(&shared->calls, 1);
    }
    cbm_close(client);
    return 0;
}

worker *worker_start(const char *address)
{
    worker *w = calloc(1, sizeof *w);
    MUST(w != NULL);
    w->shared = shared_new(sizeof *w->shared);
    w->pid = process_fork();
    if (w->pid == 0) {
        int status = work(w->shared, address);
        fflush(NULL);
        _Exit(status);
    }
    MUST(worker_progresses(w));
    return w;
}

uint64_t worker_calls(const worker *w)
{
    return atomic_load(&w->shared->calls);
}

typedef struct progress {
    const worker *worker;
    uint64_t wanted;
} progress;

static bool has_progressed(void *context)
{
    const progress *p = context;
    return worker_calls(p->worker) >= p->wanted || !process_running(p->worker->pid);
}

bool worker_progresses(worker *w)
{
    progress p = {w, worker_calls(w) + 20};
    return wait_until(has_progressed, &p, HARNESS_DEADLINE_MS) && worker_calls(w) >= p.wanted;
}

int worker_stop(worker *w)
{
    atomic_store(&w->shared->stop, true);
    int status = process_wait(w->pid, HARNESS_DEADLINE_MS);
    munmap(w->shared, sizeof *w->shared);
    free(w);
    return status;
}
