#include "listener.h"

#include <errno.h>
#include <grp.h>
#include <nng/nng.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "log.h"
#include "pass_rights.h"
#include "peer.h"

#define RETRY_MS 10 /* accepting again at once, out of descriptors, would spin */
#define COMPLAINT_SPACING_NS CBM_CORE_NS_PER_S
#define GROUP "cbm"

struct cbm_listener {
    nng_stream_listener *socket;
    nng_aio *aio; /* the next connection, or the wait for descriptors */
    bool waits;
    cbm_engine *engine;
    cbm_registry *registry;
    cbm_quota *quota;
    const cbm_access *access;
    uint64_t uid; /* the broker's own */
    bool abstract;
    uint64_t last_holder;
    int64_t complained_ns;
};

/* An abstract socket has no file mode to keep strangers out. */
static bool may_connect(const cbm_listener *listener, const cbm_caller *caller)
{
    return !listener->abstract || caller->admin;
}

static cbm_caller identify(cbm_listener *listener, nng_stream *stream)
{
    cbm_caller caller = {
        .uid = UINT64_MAX,
        .gid = UINT64_MAX,
        .correlation_id = "",
        .access = listener->access,
    };
    uint64_t pid = 0;

    (void)nng_stream_get_uint64(stream, NNG_OPT_IPC_PEER_UID, &caller.uid);
    (void)nng_stream_get_uint64(stream, NNG_OPT_IPC_PEER_GID, &caller.gid);
    (void)nng_stream_get_uint64(stream, NNG_OPT_IPC_PEER_PID, &pid);
    caller.pid = (int64_t)pid;
    caller.admin = caller.uid == 0 || caller.uid == listener->uid;
    caller.holder = caller.connection = ++listener->last_holder;
    return caller;
}

static void take(cbm_listener *listener, nng_stream *stream)
{
    cbm_caller caller = identify(listener, stream);

    if (may_connect(listener, &caller)) {
        cbm_peer_start(stream, &caller, listener->engine, listener->registry, listener->quota);
        return;
    }
    cbm_log_message(CBM_LOG_DEBUG, "refused", "uid %llu may not use an abstract socket of another user",
                    (unsigned long long)caller.uid);
    nng_stream_close(stream);
    nng_stream_free(stream);
}

static void complain(cbm_listener *listener, int result)
{
    int64_t now_ns = cbm_clock_ns();

    if (listener->complained_ns && now_ns - listener->complained_ns < COMPLAINT_SPACING_NS)
        return;
    listener->complained_ns = now_ns;
    cbm_log_message(CBM_LOG_WARN, "cannot_accept", "%s: trying again every %d ms", nng_strerror(result), RETRY_MS);
}

static void on_accept(void *argument)
{
    cbm_listener *listener = argument;
    int result = nng_aio_result(listener->aio);

    if (result == NNG_ECLOSED || result == NNG_ECANCELED)
        return;
    if (!listener->waits && result == 0) {
        take(listener, nng_aio_get_output(listener->aio, 0));
    } else if (!listener->waits) {
        complain(listener, result);
        cbm_registry_relieve(listener->registry);
        listener->waits = true;
        nng_sleep_aio(RETRY_MS, listener->aio);
        return;
    }
    listener->waits = false;
    nng_stream_listener_accept(listener->socket, listener->aio);
}

/* By name or number. */
static bool find_group(const char *text, gid_t *gid)
{
    const struct group *group;

    if (text[strspn(text, "0123456789")] == '\0') {
        *gid = (gid_t)strtoul(text, NULL, 10);
        return true;
    }
    group = getgrnam(text);
    if (group)
        *gid = group->gr_gid;
    return group != NULL;
}

static bool set_group(const cbm_listener_options *options, char *message, size_t size)
{
    bool asked_for = options->socket_group[0] != '\0';
    const char *name = asked_for ? options->socket_group : GROUP;
    gid_t gid;

    if (!find_group(name, &gid)) {
        snprintf(message, size, "there is no group %s for the socket", name);
        return !asked_for;
    }
    if (chown(options->address->path, (uid_t)-1, gid) == 0)
        return true;
    snprintf(message, size, "cannot give %s to the group %s: %s", options->address->path, name, strerror(errno));
    if (!asked_for)
        cbm_log_message(CBM_LOG_INFO, "socket_group", "the socket stays with this user's group: %s", strerror(errno));
    return !asked_for;
}

/* Until its group is right the file lets nobody else in: umask 0177 in bind. */
static bool set_permissions(const cbm_listener_options *options, char *message, size_t size)
{
    if (!set_group(options, message, size))
        return false;
    if (chmod(options->address->path, options->socket_mode) == 0)
        return true;
    snprintf(message, size, "cannot set the mode of %s: %s", options->address->path, strerror(errno));
    return false;
}

static bool listen_on(cbm_listener *listener, const cbm_listener_options *options, char *message, size_t size)
{
    const cbm_address *address = options->address;
    mode_t mask = umask(0177);
    int result = nng_stream_listener_alloc(&listener->socket, address->url);

    if (result == 0)
        result = nng_stream_listener_listen(listener->socket);
    umask(mask);
    if (result == 0)
        cbm_pass_rights_refuse();
    if (result == 0)
        return address->abstract || set_permissions(options, message, size);
    if (result == NNG_EADDRINUSE && address->abstract)
        snprintf(message, size, "another program listens on %s", address->url);
    else
        snprintf(message, size, "cannot listen on %s: %s", address->url, nng_strerror(result));
    return false;
}

bool cbm_listener_start(cbm_listener **listener_out, const cbm_listener_options *options, char *message,
                        size_t message_size)
{
    cbm_listener *listener = calloc(1, sizeof *listener);

    *listener_out = NULL;
    if (!listener || nng_aio_alloc(&listener->aio, on_accept, listener) != 0) {
        snprintf(message, message_size, "out of memory");
        free(listener);
        return false;
    }
    listener->engine = options->engine;
    listener->registry = options->registry;
    listener->quota = options->quota;
    listener->access = options->access;
    listener->uid = geteuid();
    listener->abstract = options->address->abstract;
    if (!listen_on(listener, options, message, message_size)) {
        cbm_listener_stop(listener);
        return false;
    }
    nng_stream_listener_accept(listener->socket, listener->aio);
    *listener_out = listener;
    return true;
}

void cbm_listener_stop(cbm_listener *listener)
{
    if (!listener)
        return;
    if (listener->socket)
        nng_stream_listener_close(listener->socket);
    nng_aio_stop(listener->aio);
    nng_aio_free(listener->aio);
    if (listener->socket)
        nng_stream_listener_free(listener->socket);
    free(listener);
}
