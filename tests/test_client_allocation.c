/* Begin and report allocate nothing. This program has the process's malloc, which counts for each thread. */
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "client_fixture.h"
#include "error.h"
#include "fake_broker.h"

TestSuite(client_allocation, .timeout = 60);

static _Thread_local unsigned long allocations;

/* In place of the C library's for all libraries too. */
#define EVERYWHERE __attribute__((visibility("default")))

void *__libc_malloc(size_t size);
void *__libc_calloc(size_t count, size_t size);
void *__libc_realloc(void *memory, size_t size);

EVERYWHERE void *malloc(size_t size)
{
    allocations++;
    return __libc_malloc(size);
}

EVERYWHERE void *calloc(size_t count, size_t size)
{
    allocations++;
    return __libc_calloc(count, size);
}

EVERYWHERE void *realloc(void *memory, size_t size)
{
    allocations++;
    return __libc_realloc(memory, size);
}

/* A permit, or for "opened" a refusal. */
static void refuse_the_opened(fake_peer *peer)
{
    if (!fake_greet(peer))
        return;
    while (fake_receive(peer)) {
        cbm_reply reply;

        fake_ordinary(peer, &reply);
        if (peer->request.op == CBM_OP_CALL_BEGIN && strcmp(peer->request.name, "opened") == 0) {
            cbm_reply_fail(&reply, CBM_PROTO_E_OPEN, NULL);
            reply.has_retry_after = true;
            reply.retry_after_ms = 30000;
        }
        fake_answer_to(peer, peer->id, &reply);
        cbm_reply_deinit(&reply);
    }
}

/* A begin and a report that carry as much as they may. */
static int call_with_all(cbm_breaker *breaker)
{
    char text[600];
    cbm_begin_options begin = {.size = sizeof(begin), .correlation_id = text, .lease_ms = 60000};
    cbm_report_options report = {.size = sizeof(report),
                                 .correlation_id = text,
                                 .error_text = text,
                                 .duration_ns = 1234567,
                                 .open_for_ms = 1000};
    cbm_permit permit;
    int error;

    memset(text, 'x', sizeof(text) - 1);
    text[sizeof(text) - 1] = '\0';
    error = cbm_call_begin_with(breaker, &begin, &permit);
    return error ? error : cbm_call_report_with(&permit, CBM_FAILURE, &report);
}

static cbm_breaker *get_with_policy(cbm_client *client, const char *letter)
{
    cbm_policy policy = CBM_POLICY_INIT;
    char name[CBM_CORE_NAME_MAX + 1];

    policy.rule = CBM_RULE_COUNT_WINDOW;
    policy.window_size = policy.minimum_calls = 100000;
    policy.failure_rate = 33.3;
    policy.slow_call_rate = 66.6;
    policy.slow_call_duration_ms = policy.timeout_ms = 86400000;
    policy.half_open_calls = policy.success_threshold = 1000;
    policy.backoff_multiplier = 1.5;
    policy.jitter = 0.125;
    memset(name, *letter, sizeof(name) - 1);
    name[sizeof(name) - 1] = '\0';
    return get_breaker(client, name, &policy);
}

Test(client_allocation, is_counted_in_this_thread)
{
    void *volatile memory;
    unsigned long before = allocations;

    memory = malloc(1);
    memory = realloc(memory, 2);
    free(memory);
    memory = strdup("counted inside the C library too");
    free(memory);
    cr_assert_eq(allocations - before, 3);
}

Test(client_allocation, a_begin_a_report_and_a_refusal_need_none)
{
    fake_broker *broker = fake_broker_start(refuse_the_opened, NULL);
    cbm_client *client = open_client(fake_broker_address(broker), CBM_FAIL_CLOSED);
    cbm_breaker *breaker = get_with_policy(client, "n"), *opened = get_breaker(client, "opened", NULL);
    unsigned long before = allocations;
    int call, call_all, refused, report;

    call = call_with(breaker, CBM_SUCCESS);
    call_all = call_with_all(breaker);
    refused = call_with(opened, CBM_SUCCESS);
    report = cbm_report(breaker, CBM_FAILURE, NULL);
    cr_assert_eq(allocations - before, 0);
    cr_assert_eq(call, 0);
    cr_assert_eq(call_all, 0);
    cr_assert_eq(refused, CBM_E_OPEN);
    cr_assert_eq(report, 0);
    cbm_close(client);
    fake_broker_stop(broker);
}

Test(client_allocation, a_new_connection_needs_none_either_also_to_a_broker_that_must_hear_of_the_breaker_first)
{
    fake_broker *broker = fake_broker_start(fake_serve_well, NULL);
    cbm_client *client = open_client(fake_broker_address(broker), CBM_FAIL_CLOSED);
    cbm_breaker *breaker = get_with_policy(client, "n");
    unsigned long before;
    int call, report;

    fake_broker_hang_up(broker);
    before = allocations;
    call = call_with_all(breaker);
    cr_assert_eq(allocations - before, 0);
    cr_assert_eq(call, 0);
    fake_broker_restart(broker, fake_serve_well);
    before = allocations;
    report = cbm_report(breaker, CBM_FAILURE, NULL);
    cr_assert_eq(allocations - before, 0);
    cr_assert_eq(report, 0);
    cr_assert_eq(fake_broker_count(broker, CBM_OP_GET), 2);
    cbm_close(client);
    fake_broker_stop(broker);
}
