#include "notify.h"

#include <errno.h>
#include <inttypes.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "log.h"

#define TIMES_IN_WATCHDOG_TIME 3
#define TEXT_MAX 512

/* A path, or @name for an abstract socket. */
static bool parse_address(cbm_notify *notify, const char *text)
{
    size_t size = strlen(text);

    if ((text[0] != '/' && text[0] != '@') || size < 2 || size >= sizeof notify->address.sun_path)
        return false;
    notify->address.sun_family = AF_UNIX;
    memcpy(notify->address.sun_path, text, size + 1);
    notify->address_size = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + size + (text[0] == '/'));
    if (text[0] == '@')
        notify->address.sun_path[0] = '\0';
    return true;
}

/* Meant for this process, when it says for which. */
static uint64_t watchdog_us(void)
{
    const char *text = getenv("WATCHDOG_USEC"), *pid = getenv("WATCHDOG_PID");
    uint64_t us;

    if (!text || (pid && strtoll(pid, NULL, 10) != getpid()))
        return 0;
    errno = 0;
    us = strtoull(text, NULL, 10);
    return errno ? 0 : us;
}

void cbm_notify_init(cbm_notify *notify)
{
    const char *address = getenv("NOTIFY_SOCKET");

    *notify = (cbm_notify){.descriptor = -1};
    if (address && parse_address(notify, address)) {
        notify->descriptor = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
        notify->watchdog_us = watchdog_us();
    } else if (address) {
        cbm_log_message(CBM_LOG_WARN, "notify", "NOTIFY_SOCKET is no address of a socket: %.100s", address);
    }
    unsetenv("NOTIFY_SOCKET");
    unsetenv("WATCHDOG_USEC");
    unsetenv("WATCHDOG_PID");
}

void cbm_notify_deinit(cbm_notify *notify)
{
    if (notify->watchdog) {
        nng_aio_stop(notify->watchdog);
        nng_aio_free(notify->watchdog);
    }
    if (notify->descriptor >= 0)
        close(notify->descriptor);
    *notify = (cbm_notify){.descriptor = -1};
}

/* Never waits: what the service manager does not take at once, it does not get. */
static void send_text(const cbm_notify *notify, const char *text)
{
    if (notify->descriptor < 0)
        return;
    if (sendto(notify->descriptor, text, strlen(text), MSG_NOSIGNAL | MSG_DONTWAIT,
               (const struct sockaddr *)&notify->address, notify->address_size) < 0)
        cbm_log_message(CBM_LOG_WARN, "notify", "the service manager was not told: %s", strerror(errno));
}

void cbm_notify_ready(const cbm_notify *notify, const char *status)
{
    char text[TEXT_MAX];

    snprintf(text, sizeof text, "READY=1\nSTATUS=%.400s", status);
    send_text(notify, text);
}

void cbm_notify_reloading(const cbm_notify *notify)
{
    char text[TEXT_MAX];
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    snprintf(text, sizeof text, "RELOADING=1\nMONOTONIC_USEC=%" PRIu64,
             (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000);
    send_text(notify, text);
}

void cbm_notify_stopping(const cbm_notify *notify)
{
    send_text(notify, "STOPPING=1");
}

/* ---- Watchdog --------------------------------------------------------------------------------------------------- */

static void sleep_until_next(cbm_notify *notify)
{
    uint64_t ms = notify->watchdog_us / 1000 / TIMES_IN_WATCHDOG_TIME;

    nng_sleep_aio((nng_duration)(ms < 1 ? 1 : ms > 3600000 ? 3600000 : ms), notify->watchdog);
}

static void on_watchdog(void *argument)
{
    cbm_notify *notify = argument;

    if (nng_aio_result(notify->watchdog) != 0)
        return;
    notify->prove(notify->context);
    send_text(notify, "WATCHDOG=1");
    sleep_until_next(notify);
}

bool cbm_notify_watch(cbm_notify *notify, void (*prove)(void *context), void *context)
{
    if (notify->descriptor < 0 || !notify->watchdog_us)
        return true;
    notify->prove = prove;
    notify->context = context;
    if (nng_aio_alloc(&notify->watchdog, on_watchdog, notify) != 0)
        return false;
    send_text(notify, "WATCHDOG=1");
    sleep_until_next(notify);
    return true;
}
