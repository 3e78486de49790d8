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
#include <unistd.h>

#include "engine.h"
#include "error.h"
#include "listener.h"
#include "lock.h"
#include "log.h"
#include "options.h"
#include "registry.h"

#define DESCRIPTORS_KEPT 32 /* for what is not a connection */
#define SILENT_MIN 8
#define SILENT_MAX 256

typedef struct cbm_broker {
    cbm_options options;
    cbm_lock lock;
    cbm_engine *engine;
    cbm_registry registry;
    bool has_registry;
    cbm_listener *listener;
} cbm_broker;

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
    char message[512] = "";
    int error;

    if (options->ready_fd >= 0 && fcntl(options->ready_fd, F_SETFD, FD_CLOEXEC) != 0) {
        snprintf(message, sizeof message, "--ready-fd %d: %s", options->ready_fd, strerror(errno));
        goto failed;
    }
    if (!find_address(options))
        return false;
    if (!cbm_lock_acquire(&broker->lock, &options->address, message, sizeof message))
        goto failed;
    error = cbm_engine_new(&broker->engine, &engine);
    if (error == 0)
        error = cbm_registry_init(&broker->registry, silent_connections(raise_descriptor_limit()));
    broker->has_registry = error == 0;
    if (error) {
        snprintf(message, sizeof message, "%s", cbm_proto_error_sentence(error));
        goto failed;
    }
    if (!cbm_listener_start(&broker->listener, &options->address, broker->engine, &broker->registry, message,
                            sizeof message))
        goto failed;
    return true;

failed:
    report_failure(message);
    return false;
}

static void tear_down(cbm_broker *broker)
{
    cbm_listener_stop(broker->listener);
    if (broker->has_registry) {
        cbm_registry_stop(&broker->registry);
        cbm_registry_deinit(&broker->registry);
    }
    cbm_engine_free(broker->engine);
    cbm_lock_release(&broker->lock);
    nng_fini();
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
    close(broker->options.ready_fd);
}

/* Blocked before there are threads, so that only sigwait sees them. */
static void block_signals(sigset_t *stop)
{
    sigemptyset(stop);
    sigaddset(stop, SIGTERM);
    sigaddset(stop, SIGINT);
    pthread_sigmask(SIG_BLOCK, stop, NULL);
    signal(SIGPIPE, SIG_IGN);
}

static void run(const sigset_t *stop)
{
    int received = 0;

    sigwait(stop, &received);
    cbm_log_message(CBM_LOG_INFO, "stopping", "%s", strsignal(received));
    /* A second one ends the process at once. */
    signal(SIGTERM, SIG_DFL);
    signal(SIGINT, SIG_DFL);
    pthread_sigmask(SIG_UNBLOCK, stop, NULL);
}

int main(int argc, char **argv)
{
    cbm_broker broker = {.lock.descriptor = -1};
    sigset_t stop;
    bool ready;

    cbm_options_init(&broker.options);
    cbm_options_parse(&broker.options, argc, argv);
    cbm_log_set_level(broker.options.log_level);
    block_signals(&stop);
    ready = set_up(&broker);
    if (ready) {
        tell_ready(&broker);
        run(&stop);
    }
    tear_down(&broker);
    cbm_log_deinit();
    return ready ? EXIT_SUCCESS : EXIT_FAILURE;
}
