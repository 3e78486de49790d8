/* cbmd: parse, set up, run, tear down. */
#include <errno.h>
#include <fcntl.h>
#include <nng/nng.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sysexits.h>
#include <unistd.h>

#include "access.h"
#include "admins.h"
#include "attach.h"
#include "config.h"
#include "engine.h"
#include "engine_store.h"
#include "error.h"
#include "listener.h"
#include "lock.h"
#include "log.h"
#include "notify.h"
#include "options.h"
#include "publisher.h"
#include "quota.h"
#include "registry.h"
#include "reload.h"
#include "store.h"
#include "store_directory.h"
#include "task_threads.h"

#define DESCRIPTORS_KEPT 32                    /* for what is not a connection */
#define LEDGER_BYTES_MAX (UINT64_C(512) << 20) /* of one user */
#define ADMINS_AWAITED_MS 1000
#define SILENT_MIN 8
#define SILENT_MAX 256

typedef struct cbm_broker {
    cbm_options command_line;
    cbm_options started; /* the command line and the config file at the start */
    cbm_options options; /* the same, with the address found */
    cbm_config *config;  /* until the engine has it */
    cbm_lock lock;
    cbm_quota *quota;
    cbm_access *access;
    cbm_admins *admins;
    cbm_notify notify;
    cbm_reload reload;
    cbm_store *store; /* NULL: none */
    cbm_engine *engine;
    cbm_registry registry;
    bool has_registry;
    cbm_listener *listener;
    cbm_task_threads *task_threads;
    cbm_attach *attach; /* NULL: all goes by message */
    int failure;        /* the exit status when it cannot be set up */
} cbm_broker;

/*
 * A standard descriptor that is closed would become that of a file or a peer, and they would get the log. So each of them is
 * taken before anything else is opened.
 */
static void take_standard_descriptors(void)
{
    int descriptor;

    do
        descriptor = open("/dev/null", O_RDWR | O_CLOEXEC);
    while (descriptor >= 0 && descriptor <= STDERR_FILENO);
    if (descriptor >= 0)
        close(descriptor);
}

/* Whoever waits for the end of file sees it; and a standard descriptor stays taken. */
static void close_ready_fd(int ready_fd)
{
    int nothing = ready_fd <= STDERR_FILENO ? open("/dev/null", O_RDWR | O_CLOEXEC) : -1;

    if (nothing < 0) {
        close(ready_fd);
        return;
    }
    dup2(nothing, ready_fd);
    close(nothing);
}

static void report_failure(const char *message)
{
    cbm_log_message(CBM_LOG_ERROR, "cannot_start", "%s", message);
}

/* Each connection is a descriptor, and select() is used nowhere. Returns how many there may be. */
static size_t raise_descriptor_limit(void)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
        return 1024;
    if (limit.rlim_cur < limit.rlim_max) {
        limit.rlim_cur = limit.rlim_max;
        (void)setrlimit(RLIMIT_NOFILE, &limit);
        (void)getrlimit(RLIMIT_NOFILE, &limit);
    }
    return limit.rlim_cur > 1 << 20 ? 1 << 20 : (size_t)limit.rlim_cur;
}

/* A quarter of the descriptors at most may be connections that say nothing. */
static size_t silent_connections(size_t descriptors)
{
    size_t count = descriptors > DESCRIPTORS_KEPT ? (descriptors - DESCRIPTORS_KEPT) / 4 : 0;

    if (count < SILENT_MIN)
        return SILENT_MIN;
    return count < SILENT_MAX ? count : SILENT_MAX;
}

static bool read_config(cbm_broker *broker)
{
    const char *path = broker->options.config_path;
    char message[512];

    if (path) {
        broker->config = cbm_config_read(path, message, sizeof message);
        if (!broker->config) {
            report_failure(message);
            return false;
        }
        cbm_config_apply(broker->config, &broker->options);
    }
    broker->started = broker->options;
    cbm_log_set_level(broker->options.log_level);
    return true;
}

static bool find_address(cbm_options *options)
{
    const char *why;
    int error;

    if (!options->address_given && !cbm_address_default(&options->address, &why)) {
        report_failure(why);
        return false;
    }
    error = cbm_address_make_directory(&options->address);
    if (error) {
        cbm_log_message(CBM_LOG_ERROR, "cannot_start", "cannot make the directory of %s: %s", options->address.path,
                        strerror(error));
        return false;
    }
    return true;
}

/* False: it cannot be used, and `message` says why. */
static bool open_store(cbm_broker *broker, char *message, size_t size)
{
    cbm_options *options = &broker->options;
    cbm_store_options store = {.directory = options->state_dir, .slots = options->max_breakers};
    cbm_store_error error;
    const char *why;

    if (options->no_store)
        return true;
    if (!options->state_dir[0] && !cbm_store_directory_default(options->state_dir, sizeof options->state_dir, &why)) {
        snprintf(message, size, "%s", why);
        return false;
    }
    error = cbm_store_open(&broker->store, &store, message, size);
    if (error == CBM_STORE_E_REFUSED)
        broker->failure = EX_CONFIG;
    return error == CBM_STORE_OK;
}

static int make_quota(cbm_broker *broker)
{
    const cbm_options *options = &broker->options;
    cbm_quota_limits limits = {
        .each =
            {
                [CBM_QUOTA_CONNECTIONS] = options->max_clients,
                [CBM_QUOTA_LEDGERS] = options->max_clients,
                [CBM_QUOTA_LEDGER_BYTES] = LEDGER_BYTES_MAX,
                [CBM_QUOTA_BREAKERS] = options->max_breakers_per_user,
                [CBM_QUOTA_PERMITS] = options->max_permits_per_user,
            },
        .bytes_together = (uint64_t)options->max_pending_mib << 20,
        .requests_per_s = options->max_requests,
    };

    return cbm_quota_new(&broker->quota, &limits);
}

/* What the file says of access, and the settings that hold without a restart. */
static void set_access(cbm_broker *broker, cbm_config *config, const cbm_options *options)
{
    cbm_access_rules *rules = config ? cbm_config_take_access(config) : NULL;
    size_t count;
    cbm_access_user *users = cbm_access_rules_users(rules, &count);

    if (!users && errno == ENOMEM)
        cbm_log_message(CBM_LOG_ERROR, "access", "there is no memory to look up users by name");
    cbm_access_set_rules(broker->access, rules);
    cbm_access_restrict_resets(broker->access, options->restrict_resets);
    cbm_admins_look_up(broker->admins, options->admin_group, users, count);
}

/* It goes on when it takes long, and the broker serves without it. */
static void await_lookup(const cbm_broker *broker)
{
    (void)cbm_admins_wait(broker->admins, ADMINS_AWAITED_MS);
}

static int make_access(cbm_broker *broker)
{
    int error = cbm_access_new(&broker->access);

    if (error == 0)
        error = cbm_admins_new(&broker->admins, broker->access);
    if (error == 0)
        set_access(broker, broker->config, &broker->options);
    return error;
}

static bool start_listener(cbm_broker *broker, char *message, size_t size)
{
    cbm_listener_options options = {
        .address = &broker->options.address,
        .socket_mode = broker->options.socket_mode,
        .socket_group = broker->options.socket_group,
        .engine = broker->engine,
        .registry = &broker->registry,
        .quota = broker->quota,
        .access = broker->access,
    };

    return cbm_listener_start(&broker->listener, &options, message, size);
}

/* Without it the broker serves by message alone: slower, and in no other way different. */
static void share_memory(cbm_broker *broker)
{
    cbm_publisher *publisher = cbm_engine_publisher(broker->engine);
    char message[512];

    if (publisher)
        cbm_publisher_live(publisher);
    if (!cbm_attach_start(&broker->attach, &broker->options.address, broker->engine, message, sizeof message))
        cbm_log_message(CBM_LOG_WARN, "no_shared_memory", "%s", message);
}

static bool set_up(cbm_broker *broker)
{
    cbm_options *options = &broker->options;
    cbm_engine_options engine = {
        .max_breakers = options->max_breakers,
        .rate_limit = options->rate_limit,
        .rate_window_ms = options->rate_window_ms,
        .rate_limit_calls = options->rate_limit_calls,
        .address = options->address.url,
    };
    size_t descriptors = raise_descriptor_limit();
    char message[512] = "";
    int error;

    cbm_options_settle(options, descriptors);
    if (options->ready_fd >= 0 && fcntl(options->ready_fd, F_SETFD, FD_CLOEXEC) != 0) {
        snprintf(message, sizeof message, "--ready-fd %d: %s", options->ready_fd, strerror(errno));
        goto failed;
    }
    if (!find_address(options))
        return false;
    if (!cbm_lock_acquire(&broker->lock, &options->address, message, sizeof message))
        goto failed;
    if (!open_store(broker, message, sizeof message))
        goto failed;
    if (broker->store)
        engine.first_number = cbm_store_first_number(broker->store);
    error = make_quota(broker);
    engine.quota = broker->quota;
    engine.reload = &broker->reload;
    if (error == 0)
        error = make_access(broker);
    if (error == 0)
        error = cbm_engine_new(&broker->engine, &engine);
    if (error == 0 && broker->config) {
        cbm_engine_reload(broker->engine, broker->config);
        broker->config = NULL;
    }
    if (error == 0 && broker->store && cbm_engine_restore(broker->engine, broker->store, message, sizeof message) != 0)
        goto failed;
    if (error == 0)
        error = cbm_registry_init(&broker->registry, silent_connections(descriptors));
    broker->has_registry = error == 0;
    if (error) {
        snprintf(message, sizeof message, "%s", cbm_proto_error_sentence(error));
        goto failed;
    }
    await_lookup(broker);
    if (!start_listener(broker, message, sizeof message))
        goto failed;
    share_memory(broker);
    broker->task_threads = cbm_task_threads_hold();
    return true;

failed:
    report_failure(message);
    return false;
}

static void tear_down(cbm_broker *broker)
{
    cbm_task_threads_release(broker->task_threads);
    cbm_listener_stop(broker->listener);
    cbm_attach_stop(broker->attach);
    cbm_notify_deinit(&broker->notify);
    if (broker->has_registry) {
        cbm_registry_stop(&broker->registry);
        cbm_registry_deinit(&broker->registry);
    }
    if (broker->engine)
        cbm_engine_store_stop(broker->engine);
    if (broker->engine && cbm_engine_publisher(broker->engine))
        cbm_publisher_die(cbm_engine_publisher(broker->engine));
    cbm_engine_free(broker->engine);
    cbm_store_close(broker->store);
    cbm_admins_free(broker->admins);
    cbm_access_free(broker->access);
    cbm_quota_free(broker->quota);
    cbm_config_free(broker->config);
    cbm_lock_release(&broker->lock);
    cbm_reload_deinit(&broker->reload);
    nng_fini();
}

/* Through the lock that every request goes through. */
static void prove_alive(void *context)
{
    cbm_core_stats stats;

    cbm_engine_stats(context, &stats);
}

static void tell_service_manager(cbm_broker *broker)
{
    char status[CBM_ADDRESS_URL_MAX + 32];

    snprintf(status, sizeof status, "listening on %s", broker->options.address.url);
    cbm_notify_ready(&broker->notify, status);
    if (!cbm_notify_watch(&broker->notify, prove_alive, broker->engine))
        cbm_log_message(CBM_LOG_ERROR, "watchdog", "there is no memory to answer the service manager's watchdog");
}

static void tell_ready(const cbm_broker *broker)
{
    static const char ready[] = "READY\n";
    cbm_log_line line;

    cbm_log_line_begin(&line, CBM_LOG_INFO, "listening");
    cbm_log_line_string(&line, "address", broker->options.address.url);
    cbm_log_line_string(&line, "version", CBM_VERSION);
    cbm_log_line_int(&line, "pid", getpid());
    if (cbm_log_enabled(CBM_LOG_INFO))
        cbm_log_line_end(&line);
    if (broker->options.ready_fd < 0)
        return;
    if (write(broker->options.ready_fd, ready, sizeof ready - 1) < 0)
        cbm_log_message(CBM_LOG_WARN, "ready_fd", "%s", strerror(errno));
    close_ready_fd(broker->options.ready_fd);
}

/* ---- SIGHUP: the config file again --------------------------------------------------------------------------------- */

static void needs_restart(bool changed, const char *setting)
{
    if (changed)
        cbm_log_message(CBM_LOG_WARN, "needs_restart", "%s has changed: cbmd takes it up when it is started again",
                        setting);
}

static void compare_settings(const cbm_options *running, const cbm_options *wanted)
{
    needs_restart(running->address_given != wanted->address_given ||
                      strcmp(running->address.url, wanted->address.url) != 0,
                  "listen");
    needs_restart(running->max_breakers != wanted->max_breakers, "max_breakers");
    needs_restart(running->rate_limit != wanted->rate_limit, "rate_limit");
    needs_restart(running->rate_window_ms != wanted->rate_window_ms, "rate_window_ms");
    needs_restart(running->socket_mode != wanted->socket_mode, "socket_mode");
    needs_restart(strcmp(running->socket_group, wanted->socket_group) != 0, "socket_group");
    needs_restart(running->max_clients != wanted->max_clients, "max_clients");
    needs_restart(running->max_requests != wanted->max_requests, "max_requests");
    needs_restart(running->max_breakers_per_user != wanted->max_breakers_per_user, "max_breakers_per_user");
    needs_restart(running->max_permits_per_user != wanted->max_permits_per_user, "max_permits_per_user");
    needs_restart(running->max_pending_mib != wanted->max_pending_mib, "max_pending_mib");
    needs_restart(running->rate_limit_calls != wanted->rate_limit_calls, "rate_limit_scope");
    needs_restart(strcmp(running->state_dir, wanted->state_dir) != 0, "state_dir");
    needs_restart(running->no_store != wanted->no_store, "no_store");
}

/* The file is read and judged before anybody hears of it. */
static bool reload(cbm_broker *broker, char *message, size_t size)
{
    const char *path = broker->options.config_path;
    cbm_options wanted = broker->command_line;
    cbm_config *config;
    cbm_log_line line;

    if (!path) {
        snprintf(message, size, "there is nothing to read again: cbmd was started without --config");
        cbm_log_message(CBM_LOG_WARN, "reload", "%s", message);
        return false;
    }
    config = cbm_config_read(path, message, size);
    if (!config) {
        cbm_log_message(CBM_LOG_ERROR, "reload_refused", "%s; what was in force stays in force", message);
        return false;
    }
    cbm_config_apply(config, &wanted);
    cbm_log_set_level(wanted.log_level);
    compare_settings(&broker->started, &wanted);
    set_access(broker, config, &wanted);
    cbm_log_line_begin(&line, CBM_LOG_INFO, "reloaded");
    cbm_log_line_string(&line, "config", path);
    cbm_log_line_uint(&line, "sections", cbm_config_sections(config));
    cbm_engine_reload(broker->engine, config);
    await_lookup(broker);
    if (cbm_log_enabled(CBM_LOG_INFO))
        cbm_log_line_end(&line);
    snprintf(message, size, "%s was read again", path);
    return true;
}

static void reload_and_tell(cbm_broker *broker)
{
    uint64_t number = cbm_reload_begin(&broker->reload);
    char message[512];
    bool success;

    cbm_notify_reloading(&broker->notify);
    success = reload(broker, message, sizeof message);
    cbm_reload_end(&broker->reload, number, success, message);
    cbm_notify_ready(&broker->notify, message);
}

/* ---- Running ------------------------------------------------------------------------------------------------------- */

/* Blocked before there are threads, so that only sigwait sees them. */
static void block_signals(sigset_t *awaited)
{
    sigemptyset(awaited);
    sigaddset(awaited, SIGTERM);
    sigaddset(awaited, SIGINT);
    sigaddset(awaited, SIGHUP);
    pthread_sigmask(SIG_BLOCK, awaited, NULL);
    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN); /* a store that may not grow any more is an error like others */
}

static void run(cbm_broker *broker, const sigset_t *awaited)
{
    int received = 0;

    while (sigwait(awaited, &received) != 0 || received == SIGHUP) {
        if (received == SIGHUP)
            reload_and_tell(broker);
    }
    cbm_notify_stopping(&broker->notify);
    cbm_log_message(CBM_LOG_INFO, "stopping", "%s", strsignal(received));
    /* A second one ends the process at once. */
    signal(SIGTERM, SIG_DFL);
    signal(SIGINT, SIG_DFL);
    signal(SIGHUP, SIG_IGN); /* there is nothing to read again for, and it must not end the process */
    pthread_sigmask(SIG_UNBLOCK, awaited, NULL);
}

int main(int argc, char **argv)
{
    cbm_broker broker = {.lock.descriptor = -1, .failure = EXIT_FAILURE};
    int status = EX_CONFIG;
    sigset_t awaited;

    take_standard_descriptors();
    cbm_options_init(&broker.command_line);
    cbm_options_parse(&broker.command_line, argc, argv);
    broker.options = broker.command_line;
    cbm_log_set_level(broker.options.log_level);
    block_signals(&awaited);
    cbm_notify_init(&broker.notify);
    cbm_reload_init(&broker.reload, broker.options.config_path != NULL);
    if (read_config(&broker)) {
        bool ready = set_up(&broker);

        if (ready) {
            tell_service_manager(&broker);
            tell_ready(&broker);
            run(&broker, &awaited);
        }
        status = ready ? EXIT_SUCCESS : broker.failure;
    }
    tear_down(&broker);
    cbm_log_deinit();
    return status;
}
