/* What the service manager is told, through a socket like its own. */
#include <criterion/criterion.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "engine.h"
#include "notify.h"

#define DEADLINE_MS 10000

TestSuite(server_notify, .timeout = 30);

static int manager; /* the service manager's end */

/* An abstract socket of this process, as the environment names it. */
static void listen_as_manager(void)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    char name[64];
    int size = snprintf(name, sizeof name, "@cbm-test-notify-%d", (int)getpid());

    memcpy(address.sun_path, name, (size_t)size);
    address.sun_path[0] = '\0';
    manager = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    cr_assert_eq(bind(manager, (struct sockaddr *)&address, (socklen_t)(offsetof(struct sockaddr_un, sun_path) + size)),
                 0);
    setenv("NOTIFY_SOCKET", name, 1);
    unsetenv("WATCHDOG_USEC");
    unsetenv("WATCHDOG_PID");
}

/* The next datagram, "" when none comes in time. */
static const char *told(int deadline_ms)
{
    static char text[1024];
    struct pollfd event = {manager, POLLIN, 0};
    ssize_t size = 0;

    if (poll(&event, 1, deadline_ms) > 0)
        size = recv(manager, text, sizeof text - 1, 0);
    text[size > 0 ? size : 0] = '\0';
    return text;
}

Test(server_notify, readiness_reloading_and_stopping_are_told, .init = listen_as_manager)
{
    cbm_notify notify;

    cbm_notify_init(&notify);
    cr_assert_null(getenv("NOTIFY_SOCKET"), "no child answers in the broker's place");
    cbm_notify_ready(&notify, "listening on ipc:///x");
    cr_assert_str_eq(told(DEADLINE_MS), "READY=1\nSTATUS=listening on ipc:///x");
    cbm_notify_reloading(&notify);
    cr_assert_eq(strncmp(told(DEADLINE_MS), "RELOADING=1\nMONOTONIC_USEC=", 27), 0);
    cbm_notify_stopping(&notify);
    cr_assert_str_eq(told(DEADLINE_MS), "STOPPING=1");
    cbm_notify_deinit(&notify);
}

static atomic_int proofs;

static void prove(void *context)
{
    (void)context;
    atomic_fetch_add(&proofs, 1);
}

Test(server_notify, the_watchdog_is_answered_after_each_proof, .init = listen_as_manager)
{
    cbm_notify notify;

    setenv("WATCHDOG_USEC", "60000", 1);
    cbm_notify_init(&notify);
    cr_assert(cbm_notify_watch(&notify, prove, NULL));
    for (int i = 0; i < 5; i++)
        cr_assert_str_eq(told(DEADLINE_MS), "WATCHDOG=1");
    cr_assert_geq(atomic_load(&proofs), 4);
    cbm_notify_deinit(&notify);
}

static atomic_bool stuck;

static void hang(void *context)
{
    (void)context;
    while (atomic_load(&stuck))
        poll(NULL, 0, 1);
}

Test(server_notify, who_cannot_prove_it_is_not_alive, .init = listen_as_manager)
{
    cbm_notify notify;

    setenv("WATCHDOG_USEC", "30000", 1);
    cbm_notify_init(&notify);
    atomic_store(&stuck, true);
    cr_assert(cbm_notify_watch(&notify, hang, NULL));
    cr_assert_str_eq(told(DEADLINE_MS), "WATCHDOG=1");
    cr_assert_str_eq(told(200), "", "the proof has not come back");
    atomic_store(&stuck, false);
    cr_assert_str_eq(told(DEADLINE_MS), "WATCHDOG=1");
    cbm_notify_deinit(&notify);
}

Test(server_notify, nobody_is_told_who_does_not_ask, .init = listen_as_manager)
{
    cbm_notify notify;

    unsetenv("NOTIFY_SOCKET");
    setenv("WATCHDOG_USEC", "1000", 1);
    cbm_notify_init(&notify);
    cr_assert_eq(notify.descriptor, -1);
    cr_assert(cbm_notify_watch(&notify, prove, NULL));
    cr_assert_null(notify.watchdog, "and nothing wakes up");
    cbm_notify_ready(&notify, "x");
    cr_assert_str_eq(told(50), "");
    cbm_notify_deinit(&notify);
}

Test(server_notify, a_watchdog_of_another_process_is_not_ours, .init = listen_as_manager)
{
    cbm_notify notify;

    setenv("WATCHDOG_USEC", "1000", 1);
    setenv("WATCHDOG_PID", "1", 1);
    cbm_notify_init(&notify);
    cr_assert_eq(notify.watchdog_us, 0);
    cbm_notify_deinit(&notify);
}

Test(server_notify, an_address_that_is_none_is_said_to_be_so_and_nothing_breaks, .init = listen_as_manager)
{
    cbm_notify notify;

    setenv("NOTIFY_SOCKET", "vsock:2:1234", 1);
    cbm_notify_init(&notify);
    cr_assert_eq(notify.descriptor, -1);
    cbm_notify_stopping(&notify);
    cbm_notify_deinit(&notify);
}
