/* Handles: the spec's get(). */
#include <string.h>

#include "client.h"
#include "clock.h"
#include "failure.h"
#include "fork.h"
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

/* A name got before with a policy keeps it when it is got again without one. */
static void recall_policy(cbm_client *client, cbm_request *request)
{
    const cbm_breaker *breaker;

    pthread_mutex_lock(&client->lock);
    breaker = cbm_registry_find(&client->registry, request->name);
    if (breaker && breaker->has_policy) {
        request->policy = breaker->policy;
        request->given |= CBM_FIELD(POLICY);
    }
    pthread_mutex_unlock(&client->lock);
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

int cbm_get_with(cbm_client *client, const char *name, const cbm_policy *policy, const cbm_get_options *options,
                 cbm_breaker **breaker)
{
    cbm_request request = {.op = CBM_OP_GET};
    cbm_exchange exchange = {.request = &request};
    cbm_reply reply;
    int error;

    if (!breaker)
        return cbm_fail(CBM_E_INVALID, "breaker: NULL");
    *breaker = NULL;
    if (!client)
        return cbm_fail(CBM_E_INVALID, "client: NULL");
    cbm_process();
    error = read_get(&request, name, policy, options);
    if (error)
        return error;
    if (!policy)
        recall_policy(client, &request);
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
        cbm_known_learn(client, *breaker, &request, &reply);
    return 0;
}

const char *cbm_breaker_name(const cbm_breaker *breaker)
{
    return breaker->name;
}
