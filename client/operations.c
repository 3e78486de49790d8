/* One stub an operation that is about the manager rather than one call. */
#include <string.h>

#include "client.h"
#include "clock.h"
#include "failure.h"
#include "policy.h"

/* An operation whose answer is of no interest beyond its success. */
static int ask(cbm_client *client, cbm_request *request)
{
    cbm_reply reply;
    int error;

    if (!client)
        return cbm_fail(CBM_E_INVALID, "client: NULL");
    error = cbm_enter(client);
    if (error)
        return error;
    error = cbm_client_ask(client, request, &reply);
    if (!error)
        cbm_reply_deinit(&reply);
    cbm_leave(client);
    return error;
}

static int ask_about(cbm_client *client, cbm_request *request, const char *name)
{
    int error = cbm_request_name(request, name);

    return error ? error : ask(client, request);
}

int cbm_reset(cbm_client *client, const char *name)
{
    cbm_request request = {.op = CBM_OP_RESET};

    return ask_about(client, &request, name);
}

int cbm_reset_all(cbm_client *client)
{
    cbm_request request = {.op = CBM_OP_RESET_ALL};

    return ask(client, &request);
}

int cbm_reset_manager(cbm_client *client)
{
    cbm_request request = {.op = CBM_OP_RESET_MANAGER};

    return ask(client, &request);
}

int cbm_configure(cbm_client *client, const char *name, const cbm_policy *policy)
{
    cbm_request request = {.op = CBM_OP_CONFIGURE, .given = CBM_FIELD(POLICY)};
    int error = cbm_policy_read(policy, false, &request.policy);

    return error ? error : ask_about(client, &request, name);
}

int cbm_remove(cbm_client *client, const char *pattern, uint64_t *removed)
{
    cbm_request request = {.op = CBM_OP_REMOVE, .given = CBM_FIELD(PATTERN)};
    cbm_reply reply;
    int error;

    if (removed)
        *removed = 0;
    if (!client)
        return cbm_fail(CBM_E_INVALID, "client: NULL");
    error = cbm_enter(client);
    if (error)
        return error;
    error = cbm_request_pattern(&request, pattern);
    if (!error)
        error = cbm_client_ask(client, &request, &reply);
    if (!error && removed)
        *removed = reply.data.removed;
    cbm_leave(client);
    return error;
}

static int control(cbm_client *client, cbm_operation op, const char *name, const char *reason, uint32_t for_ms)
{
    cbm_request request = {.op = op};

    if (reason && *reason) {
        cbm_core_text_copy(request.reason, sizeof(request.reason), reason, strlen(reason));
        request.given |= CBM_FIELD(REASON);
    }
    if (for_ms) {
        request.for_ms = for_ms;
        request.given |= CBM_FIELD(FOR_MS);
    }
    return ask_about(client, &request, name);
}

int cbm_force_open(cbm_client *client, const char *name, const char *reason, uint32_t for_ms)
{
    return control(client, CBM_OP_FORCE_OPEN, name, reason, for_ms);
}

int cbm_disable(cbm_client *client, const char *name, const char *reason, uint32_t for_ms)
{
    return control(client, CBM_OP_DISABLE, name, reason, for_ms);
}

int cbm_metrics_only(cbm_client *client, const char *name, const char *reason, uint32_t for_ms)
{
    return control(client, CBM_OP_METRICS_ONLY, name, reason, for_ms);
}

int cbm_enable(cbm_client *client, const char *name)
{
    return control(client, CBM_OP_ENABLE, name, NULL, 0);
}

int cbm_ping(cbm_client *client)
{
    cbm_request request = {.op = CBM_OP_PING};

    return ask(client, &request);
}

const char *cbm_version(void)
{
    return CBM_VERSION;
}
