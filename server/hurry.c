#include "hurry.h"

#include <pthread.h>
#include <signal.h>
#include <unistd.h>

#define FIRST_NS 5000000 /* nothing that a thread does of its own takes so long */
#define NEXT_NS 1000000  /* and there may be more than one to close */
#define SIGNAL SIGURG    /* which is ignored where nobody asks for it */

#ifndef sigev_notify_thread_id
#define sigev_notify_thread_id _sigev_un._tid /* glibc has no name for it */
#endif

static void ignore(int signal_number)
{
    (void)signal_number;
}

void cbm_hurry_init(cbm_hurry *hurry)
{
    struct sigaction action = {.sa_handler = ignore}; /* no SA_RESTART */
    struct sigevent event = {.sigev_notify = SIGEV_THREAD_ID, .sigev_signo = SIGNAL};
    sigset_t signals;

    event.sigev_notify_thread_id = gettid();
    sigemptyset(&signals);
    sigaddset(&signals, SIGNAL);
    hurry->there = sigaction(SIGNAL, &action, NULL) == 0 && pthread_sigmask(SIG_UNBLOCK, &signals, NULL) == 0 &&
                   timer_create(CLOCK_MONOTONIC, &event, &hurry->timer) == 0;
}

void cbm_hurry_deinit(cbm_hurry *hurry)
{
    if (hurry->there)
        timer_delete(hurry->timer);
    hurry->there = false;
}

static void set(const cbm_hurry *hurry, long first_ns, long next_ns)
{
    struct itimerspec times = {.it_value.tv_nsec = first_ns, .it_interval.tv_nsec = next_ns};

    if (hurry->there)
        timer_settime(hurry->timer, 0, &times, NULL);
}

void cbm_hurry_begin(const cbm_hurry *hurry)
{
    set(hurry, FIRST_NS, NEXT_NS);
}

void cbm_hurry_end(const cbm_hurry *hurry)
{
    set(hurry, 0, 0);
}
