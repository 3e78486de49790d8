/* Both halves of a call in one. */
#include <string.h>

#include "client.h"
#include "failure.h"

/* Makes the handle of that name. */
static __attribute__((noinline, cold)) int make_handle(cbm_client *client, const char *name, cbm_breaker **breaker)
{
    cbm_request request = {0};
    int error = cbm_enter(client);

    if (error)
        return error;
    error = cbm_request_name(&request, name);
    if (!error && client->backend == &cbm_failed_backend)
        error = cbm_fail(client->failure, NULL);
    if (!error) {
        *breaker = cbm_client_handle(client, request.name);
        error = *breaker ? 0 : cbm_fail(CBM_E_NOMEM, NULL);
    }
    cbm_leave(client);
    return error;
}

/* What this thread called last: most call the same again. Handles are never freed, so a stale one is merely not the right one. */
static _Thread_local cbm_breaker *last __attribute__((tls_model("initial-exec")));

/* One that is there already is found without a lock. */
static int find_handle(cbm_client *client, const char *name, cbm_breaker **breaker)
{
    *breaker = last;
    if (*breaker && name && (*breaker)->client == client && strcmp((*breaker)->name, name) == 0)
        return 0;
    *breaker = name ? cbm_registry_find(&client->registry, name) : NULL;
    if (!*breaker) {
        int error = make_handle(client, name, breaker);

        if (error)
            return error;
    }
    last = *breaker;
    return 0;
}

int cbm_call(cbm_client *client, const char *name, cbm_function *function, void *argument, int *result)
{
    cbm_breaker *breaker;
    cbm_permit permit;
    int returned;
    int error;

    if (!client || !function)
        return cbm_fail(CBM_E_INVALID, client ? "function: NULL" : "client: NULL");
    error = find_handle(client, name, &breaker);
    if (error)
        return error;
    error = cbm_call_begin(breaker, &permit);
    if (error)
        return error;
    returned = function(argument);
    if (result)
        *result = returned;
    cbm_call_report(&permit, returned ? CBM_FAILURE : CBM_SUCCESS);
    return 0;
}

int cbm_call_with(cbm_client *client, const char *name, const char *correlation_id, cbm_function *function,
                  void *argument, int *result)
{
    cbm_begin_options begin = {.size = sizeof(begin), .correlation_id = correlation_id};
    cbm_report_options report = {.size = sizeof(report), .correlation_id = correlation_id};
    cbm_breaker *breaker;
    cbm_permit permit;
    int returned;
    int error;

    if (!correlation_id)
        return cbm_call(client, name, function, argument, result);
    if (!client || !function)
        return cbm_fail(CBM_E_INVALID, client ? "function: NULL" : "client: NULL");
    error = find_handle(client, name, &breaker);
    if (error)
        return error;
    error = cbm_call_begin_with(breaker, &begin, &permit);
    if (error)
        return error;
    returned = function(argument);
    if (result)
        *result = returned;
    cbm_call_report_with(&permit, returned ? CBM_FAILURE : CBM_SUCCESS, &report);
    return 0;
}
