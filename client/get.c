/* Handles: the spec's get(). */
#include <string.h>

#include "client.h"
#include "clock.h"
#include "failure.h"
#include "policy.h"
#include "structs.h"

cbm_breaker *cbm_client_handle(cbm_client *client, const char *name)
{
    cbm_breaker *breaker;

    pthread_mutex_lock(&client->lock);
    breaker = cbm_registry_get(&client->registry, client, name);
    pthread_mutex_unlock(&client->lock);
    return breaker;
}

void cbm_client_prepare_get(cbm_client *client, const cbm_breaker *breaker, cbm_request *request)
{
    request->given &= ~(CBM_FIELD(LEDGER) | CBM_FIELD(ENTRY));
    if (!atomic_load_explicit(&client->attached, memory_order_relaxed))
        return;
    memcpy(request->ledger, client->memory.ledger_id, CBM_ID_SIZE);
    request->given |= CBM_FIELD(LEDGER);
    if (breaker && breaker->entry != CBM_NO_ENTRY) {
        request->entry = breaker->entry;
        request->given |= CBM_FIELD(ENTRY);
    }
}

void cbm_breaker_settle(cbm_breaker *breaker, const cbm_get_reply *reply)
{
    const cbm_core_status *status = &reply->status;
    bool has_entry = reply->entry >= 0 && reply->entry < CBM_LEDGER_ENTRIES;

    if (!atomic_load_explicit(&breaker->client->attached, memory_order_relaxed) || status->slot >= CBM_BOARD_SLOTS_MAX)
        return;
    if (has_entry)
        breaker->entry = (uint32_t)reply->entry;
    atomic_store_explicit(&breaker->slow_ns, status->policy.slow_call_duration_ms * CBM_NS_PER_MS,
                          memory_order_relaxed);
    atomic_store_explicit(
        &breaker->place,
        cbm_place_make(status->slot, status->slot_generation, has_entry ? breaker->entry : CBM_NO_ENTRY),
        memory_order_release);
}

/* A name got before with a policy keeps it when it is got again without one. The handle that is there already, or NULL. */
static cbm_breaker *recall(cbm_client *client, bool policy_given, cbm_request *request)
{
    cbm_breaker *breaker;

    pthread_mutex_lock(&client->lock);
    breaker = cbm_registry_find(&client->registry, request->name);
    if (breaker && breaker->has_policy && !policy_given) {
        request->policy = breaker->policy;
        request->given |= CBM_FIELD(POLICY);
    }
    pthread_mutex_unlock(&client->lock);
    return breaker;
}

/* The handle of a get that was answered, or that nobody could answer. NULL: no memory. */
static cbm_breaker *keep_handle(cbm_client *client, const cbm_exchange *exchange)
{
    const cbm_request *request = exchange->request;
    cbm_breaker *breaker;

    pthread_mutex_lock(&client->lock);
    breaker = cbm_registry_get(&client->registry, client, request->name);
    if (breaker && request->given & CBM_FIELD(POLICY)) {
        breaker->has_policy = true;
        breaker->policy = request->policy;
    }
    if (breaker && exchange->life)
        breaker->attached = exchange->life;
    if (breaker && exchange->by_local)
        breaker->adopted = client->absence;
    pthread_mutex_unlock(&client->lock);
    return breaker;
}

int cbm_get(cbm_client *client, const char *name, const cbm_policy *policy, cbm_breaker **breaker)
{
    return cbm_get_with(client, name, policy, NULL, breaker);
}

static int read_get(cbm_request *request, const char *name, const cbm_policy *policy, const cbm_get_options *given)
{
    cbm_get_options options;
    int error;

    if (!cbm_struct_read(&options, sizeof(options), given))
        return cbm_fail(CBM_E_INVALID, "cbm_get_options: its size is not one that this library knows");
    error = cbm_request_name(request, name);
    if (!error)
        error = cbm_policy_read(policy, true, &request->policy);
    if (error)
        return error;
    if (policy)
        request->given |= CBM_FIELD(POLICY);
    cbm_request_correlate(request, options.correlation_id);
    return 0;
}

/* The call is entered. */
static int get(cbm_client *client, cbm_request *request, bool policy_given, cbm_breaker **breaker)
{
    cbm_exchange exchange = {.request = request};
    cbm_reply reply;
    int error;

    exchange.breaker = recall(client, policy_given, request);
    exchange.deadline_ns = cbm_clock_ns() + client->timeout_ns;
    error = cbm_client_execute(client, &exchange, &reply);
    if (error && !(cbm_is_absence(error) && client->when_away == CBM_FAIL_OPEN))
        return cbm_client_unanswered(client, error);
    if (!error && reply.error)
        return cbm_client_refused(&reply);
    *breaker = keep_handle(client, &exchange);
    if (!*breaker)
        return cbm_fail(CBM_E_NOMEM, NULL);
    if (!error && !exchange.by_local)
        cbm_known_learn(client, *breaker, request, &reply);
    return 0;
}

int cbm_get_with(cbm_client *client, const char *name, const cbm_policy *policy, const cbm_get_options *options,
                 cbm_breaker **breaker)
{
    cbm_request request = {.op = CBM_OP_GET};
    int error;

    if (!breaker)
        return cbm_fail(CBM_E_INVALID, "breaker: NULL");
    *breaker = NULL;
    if (!client)
        return cbm_fail(CBM_E_INVALID, "client: NULL");
    error = cbm_enter(client);
    if (error)
        return error;
    error = read_get(&request, name, policy, options);
    if (!error)
        error = get(client, &request, policy != NULL, breaker);
    cbm_leave(client);
    return error;
}

/* The call is entered. */
static int handle(cbm_client *client, const char *name, const cbm_policy *policy, cbm_breaker **breaker)
{
    cbm_request request = {0};
    int error = read_get(&request, name, policy, NULL);
    cbm_breaker *found;

    if (error)
        return error;
    if (client->backend == &cbm_failed_backend)
        return cbm_fail(client->failure, NULL);
    found = cbm_client_handle(client, request.name);
    if (!found)
        return cbm_fail(CBM_E_NOMEM, NULL);
    if (policy) {
        pthread_mutex_lock(&client->lock);
        found->has_policy = true;
        found->policy = request.policy;
        pthread_mutex_unlock(&client->lock);
    }
    *breaker = found;
    return 0;
}

int cbm_handle(cbm_client *client, const char *name, const cbm_policy *policy, cbm_breaker **breaker)
{
    int error;

    if (!breaker)
        return cbm_fail(CBM_E_INVALID, "breaker: NULL");
    *breaker = NULL;
    if (!client)
        return cbm_fail(CBM_E_INVALID, "client: NULL");
    error = cbm_enter(client);
    if (error)
        return error;
    error = handle(client, name, policy, breaker);
    cbm_leave(client);
    return error;
}

const char *cbm_breaker_name(const cbm_breaker *breaker)
{
    return breaker->name;
}
