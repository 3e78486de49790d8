/*
 * What the service manager is told (the datagrams of sd_notify): ready, reloading, stopping, and, if it asked for that, that
 * the broker is alive. Without $NOTIFY_SOCKET nothing is sent, and nothing wakes up.
 */
#ifndef CBM_SERVER_NOTIFY_H
#define CBM_SERVER_NOTIFY_H

#include <nng/nng.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/un.h>

typedef struct cbm_notify {
    int descriptor; /* -1: nobody wants to be told */
    struct sockaddr_un address;
    socklen_t address_size;
    uint64_t watchdog_us; /* 0: nobody watches */
    nng_aio *watchdog;
    void (*prove)(void *context);
    void *context;
} cbm_notify;

/* From the environment, out of which it takes them, so that no child answers in the broker's place. */
void cbm_notify_init(cbm_notify *notify);
void cbm_notify_deinit(cbm_notify *notify);

void cbm_notify_ready(const cbm_notify *notify, const char *status);
void cbm_notify_reloading(const cbm_notify *notify); /* to be followed by cbm_notify_ready */
void cbm_notify_stopping(const cbm_notify *notify);

/*
 * From now on tells that the broker is alive, three times in the time within which that is awaited: from one of the threads
 * that serve peers, and after `prove` has returned there, so it has to go through whatever a request goes through. False: no
 * memory. Does nothing when nobody watches.
 */
bool cbm_notify_watch(cbm_notify *notify, void (*prove)(void *context), void *context);

#endif
