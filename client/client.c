#include "client.h"

#include <string.h>
#include <time.h>

#include "clients.h"
#include "clock.h"
#include "expects.h"
#include "failure.h"
#include "fork.h"
#include "random.h"
#include "structs.h"

#define CALL_TIMEOUT_MS 100
#define TIMEOUT_MS 1000
#define LOOK_AGAIN_NS (100 * CBM_NS_PER_US) /* between looks at whether calls have ended */
#define CLOSE_NS (100 * CBM_NS_PER_MS)      /* for what is to be told to the broker at the end */

bool cbm_is_absence(int error)
{
    return error == CBM_E_AWAY || error == CBM_E_DENIED || error == CBM_E_PROTOCOL;
}

int cbm_client_unanswered(const cbm_client *client, int error)
{
    const cbm_endpoint *endpoint;

    if (error != CBM_E_DENIED)
        return cbm_fail(error, NULL);
    endpoint = &client->link.endpoints[atomic_load(&client->link.endpoint)];
    if (endpoint->kind != CBM_ENDPOINT_PATH)
        return cbm_fail_with(error, "permission denied: %.250s", endpoint->text);
    return cbm_fail_with(error, "permission denied: %.200s: its group may connect (group cbm, where there is one)",
                         endpoint->text);
}

/* ---- Calls under way -------------------------------------------------------------------------------------------- */

int cbm_enter(cbm_client *client)
{
    cbm_process();
    atomic_fetch_add(&client->calls, 1);
    if (!atomic_load(&client->closed))
        return 0;
    cbm_leave(client);
    return cbm_fail(CBM_E_INVALID, "client: it is closed");
}

void cbm_leave(cbm_client *client)
{
    atomic_fetch_sub(&client->calls, 1);
}

/* From now on nobody enters, and nobody is in when it returns. */
static void await_calls(cbm_client *client)
{
    struct timespec pause = cbm_clock_timespec(LOOK_AGAIN_NS);

    pthread_mutex_lock(&client->lock); /* those under way may make handles */
    cbm_registry_leave_board(&client->registry);
    pthread_mutex_unlock(&client->lock);
    while (atomic_load(&client->calls) > 0)
        nanosleep(&pause, NULL);
}

/* ---- Asking ---------------------------------------------------------------------------------------------------- */

/* Under the client's lock. A get makes the breaker itself. */
static void prepare_local(cbm_client *client, const cbm_exchange *exchange, int64_t now_ns)
{
    const cbm_request *request = exchange->request;
    cbm_breaker *breaker = exchange->breaker;

    client->stood_in = client->backend != &cbm_local_backend;
    if (!breaker && request->given & CBM_FIELD(NAME))
        breaker = cbm_registry_find(&client->registry, request->name);
    if (breaker)
        cbm_known_prepare(client, breaker, now_ns);
    else if (!(request->given & CBM_FIELD(NAME)))
        cbm_known_prepare_all(client, now_ns);
}

/* What the manager in this process is told of a breaker holds from now on, whatever a dead broker's board says of it. */
static void leave_board(cbm_client *client, const cbm_request *request)
{
    bool one = (request->given & CBM_FIELD(NAME)) != 0;
    cbm_breaker *breaker;

    switch (request->op) {
    case CBM_OP_GET:
    case CBM_OP_CALL_BEGIN:
    case CBM_OP_CALL_REPORT: return;
    default: break;
    }
    if (!(cbm_operations[request->op].flags & CBM_OPERATION_CHANGES))
        return;
    if (!one) {
        cbm_registry_leave_board(&client->registry);
        return;
    }
    breaker = cbm_registry_find(&client->registry, request->name);
    if (breaker)
        atomic_store_explicit(&breaker->place, CBM_PLACE_NONE, memory_order_release);
}

static int execute_locally(cbm_client *client, cbm_exchange *exchange, cbm_reply *reply)
{
    int64_t now_ns = cbm_clock_ns();
    uint64_t holder = cbm_process();

    exchange->by_local = true;
    pthread_mutex_lock(&client->lock);
    prepare_local(client, exchange, now_ns);
    cbm_local_execute(&client->local, exchange->request, holder, now_ns, reply);
    if (!reply->error)
        leave_board(client, exchange->request);
    pthread_mutex_unlock(&client->lock);
    return 0;
}

int cbm_client_execute(cbm_client *client, cbm_exchange *exchange, cbm_reply *reply)
{
    int error = client->backend->execute(client, exchange, reply);

    if (client->when_away == CBM_LOCAL && cbm_is_absence(error) && cbm_local_serves(exchange->request->op))
        return execute_locally(client, exchange, reply);
    return error;
}

int cbm_client_refused(const cbm_reply *reply)
{
    return cbm_fail(reply->error, reply->message);
}

int cbm_client_ask(cbm_client *client, cbm_request *request, cbm_reply *reply)
{
    cbm_exchange exchange = {.request = request, .deadline_ns = cbm_clock_ns() + client->timeout_ns};
    int error;

    if (atomic_load(&client->closed)) /* in the middle of pages */
        return cbm_fail(CBM_E_INVALID, "client: it is closed");
    error = cbm_client_execute(client, &exchange, reply);
    if (error)
        return cbm_client_unanswered(client, error);
    return reply->error ? cbm_client_refused(reply) : 0;
}

int cbm_request_name(cbm_request *request, const char *name)
{
    size_t length = name ? strnlen(name, CBM_CORE_NAME_MAX + 1) : 0;
    char shown[CBM_SHOWN_MAX];

    if (!name || length > CBM_CORE_NAME_MAX || !cbm_core_name_valid(name, length))
        return cbm_fail_with(CBM_E_INVALID, "name must be " CBM_NAME_EXPECTS ", not %s",
                             name ? cbm_text_shown(name, strlen(name), shown) : "NULL");
    memcpy(request->name, name, length + 1);
    request->given |= CBM_FIELD(NAME);
    return 0;
}

void cbm_request_correlate(cbm_request *request, const char *correlation_id)
{
    if (!correlation_id || !*correlation_id)
        return;
    cbm_core_text_copy(request->correlation_id, sizeof(request->correlation_id), correlation_id,
                       strlen(correlation_id));
    request->given |= CBM_FIELD(CORRELATION_ID);
}

/* ---- The backends that need no broker -------------------------------------------------------------------------- */

static int no_command(cbm_client *client, const char *command, int64_t deadline_ns, char **json)
{
    (void)client, (void)command, (void)deadline_ns, (void)json;
    return CBM_E_UNSUPPORTED;
}

static bool always_connected(cbm_client *client)
{
    (void)client;
    return true;
}

const cbm_backend cbm_local_backend = {execute_locally, no_command, always_connected};

static int fail_to_execute(cbm_client *client, cbm_exchange *exchange, cbm_reply *reply)
{
    (void)exchange, (void)reply;
    return client->failure;
}

static int fail_to_command(cbm_client *client, const char *command, int64_t deadline_ns, char **json)
{
    (void)command, (void)deadline_ns, (void)json;
    return client->failure;
}

static bool never_connected(cbm_client *client)
{
    (void)client;
    return false;
}

const cbm_backend cbm_failed_backend = {fail_to_execute, fail_to_command, never_connected};

/* ---- Opening and closing ---------------------------------------------------------------------------------------- */

static int read_options(const cbm_open_options *given, cbm_open_options *options)
{
    if (!cbm_struct_read(options, sizeof(*options), given))
        return cbm_fail(CBM_E_INVALID, "cbm_open_options: its size is not one that this library knows");
    if ((unsigned)options->when_away > CBM_LOCAL)
        return cbm_fail(CBM_E_INVALID, "when_away: not one of cbm_when_away");
    if (options->flags & ~(uint32_t)CBM_OPEN_NO_SHM)
        return cbm_fail(CBM_E_INVALID, "flags: not known to this library");
    if (!options->call_timeout_ms)
        options->call_timeout_ms = CALL_TIMEOUT_MS;
    if (!options->timeout_ms)
        options->timeout_ms = TIMEOUT_MS;
    return 0;
}

static int find_addresses(cbm_link *link, const char *address)
{
    if (!address)
        return cbm_endpoint_defaults(link->endpoints, &link->endpoint_count);
    link->endpoint_count = 1;
    return cbm_endpoint_parse(&link->endpoints[0], address);
}

static int init_client(cbm_client *client, const char *address, const cbm_open_options *options)
{
    int error = find_addresses(&client->link, address);

    if (error)
        return error;
    client->backend = client->link.endpoints[0].kind == CBM_ENDPOINT_LOCAL ? &cbm_local_backend : &cbm_broker_backend;
    client->when_away = options->when_away;
    client->call_timeout_ns = options->call_timeout_ms * CBM_NS_PER_MS;
    client->timeout_ns = options->timeout_ms * CBM_NS_PER_MS;
    client->flags = options->flags;
    client->absence = 1;
    cbm_random(client->id, sizeof(client->id));
    if (pthread_mutex_init(&client->lock, NULL))
        return cbm_fail(CBM_E_NOMEM, NULL);
    if (cbm_link_init(&client->link, &client->answered))
        goto no_link;
    if (client->backend == &cbm_local_backend || client->when_away == CBM_LOCAL) {
        if (cbm_local_init(&client->local))
            goto no_local;
        if (cbm_handover_init(&client->handover))
            goto no_handover;
    }
    if (client->backend == &cbm_broker_backend && !(client->flags & CBM_OPEN_NO_SHM))
        cbm_memory_init(client);
    return 0;

no_handover:
    cbm_local_deinit(&client->local);
no_local:
    cbm_link_deinit(&client->link);
no_link:
    pthread_mutex_destroy(&client->lock);
    return cbm_fail(CBM_E_NOMEM, NULL);
}

static void deinit_client(cbm_client *client)
{
    cbm_handover_deinit(&client->handover);
    cbm_registry_clear(&client->registry);
    cbm_local_deinit(&client->local);
    cbm_link_deinit(&client->link);
    cbm_memory_release(client);
    pthread_mutex_destroy(&client->lock);
}

/* A client that has not tried to connect yet. */
static int new_client(cbm_client **client, const char *address, const cbm_open_options *options)
{
    int error;

    cbm_process();
    *client = cbm_clients_take();
    if (!*client)
        return cbm_fail(CBM_E_NOMEM, NULL);
    error = init_client(*client, address, options);
    if (error) {
        cbm_clients_give_back(*client);
        *client = NULL;
        return error;
    }
    cbm_clients_add(*client);
    atomic_store(&(*client)->closed, false);
    return 0;
}

/* The first attempt to connect, so that a stranger on the socket shows at once. */
static int connect_first(cbm_client *client)
{
    int64_t deadline_ns = cbm_clock_ns() + client->timeout_ns;
    int error;

    if (client->backend != &cbm_broker_backend)
        return 0;
    error = cbm_link_enter(&client->link, deadline_ns);
    if (error)
        return error;
    error = cbm_link_connect(&client->link, deadline_ns);
    cbm_link_leave(&client->link);
    return error;
}

int cbm_open(cbm_client **client, const char *address, const cbm_open_options *given)
{
    cbm_open_options options;
    int error;

    if (!client)
        return cbm_fail(CBM_E_INVALID, "client: NULL");
    *client = NULL;
    error = read_options(given, &options);
    if (!error)
        error = new_client(client, address, &options);
    if (error)
        return error;
    error = connect_first(*client);
    if (error == 0 || (cbm_is_absence(error) && options.when_away != CBM_FAIL_CLOSED))
        return 0;
    cbm_client_unanswered(*client, error);
    cbm_close(*client);
    *client = NULL;
    return error;
}

void cbm_close(cbm_client *client)
{
    if (!client || client->backend == &cbm_failed_backend)
        return;
    cbm_process();
    if (atomic_exchange(&client->closed, true))
        return;
    await_calls(client);
    cbm_handover_finish(client, cbm_clock_ns() + CLOSE_NS);
    cbm_attach_end(client, cbm_clock_ns() + CLOSE_NS);
    cbm_clients_remove(client);
    deinit_client(client);
    cbm_clients_give_back(client);
}

void cbm_client_renew(cbm_client *client)
{
    pthread_mutex_init(&client->lock, NULL);
    cbm_link_renew(&client->link);
    cbm_attach_renew(client);
    atomic_store_explicit(&client->calls, 0, memory_order_relaxed);
    cbm_random(client->id, sizeof(client->id));
    client->sequence = 0;
    cbm_handover_forget(client);
    if (client->local.manager)
        cbm_core_holder_gone(client->local.manager, cbm_process_generation - 1, cbm_clock_ns());
}

const char *cbm_address(const cbm_client *client)
{
    return client->link.endpoints[atomic_load(&client->link.endpoint)].text;
}

int cbm_connected(cbm_client *client)
{
    int connected;

    if (cbm_enter(client))
        return 0;
    connected = client->backend->connected(client);
    cbm_leave(client);
    return connected;
}

/* ---- The singleton ---------------------------------------------------------------------------------------------- */

static cbm_client *singleton;
static cbm_client failed = {.backend = &cbm_failed_backend, .failure = CBM_E_NOMEM};

static void open_singleton(void)
{
    cbm_open_options given = CBM_OPEN_OPTIONS_INIT;
    cbm_open_options options;
    int error;

    given.when_away = CBM_LOCAL;
    error = read_options(&given, &options);
    if (!error)
        error = new_client(&singleton, NULL, &options);
    if (error) {
        failed.failure = error;
        singleton = &failed;
    }
}

cbm_client *cbm_manager(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;

    pthread_once(&once, open_singleton);
    return singleton;
}
