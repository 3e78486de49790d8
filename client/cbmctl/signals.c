#include "signals.h"

#include <errno.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

static const int handed_on[] = {SIGHUP,  SIGINT,  SIGQUIT,  SIGTERM, SIGUSR1,
                                SIGUSR2, SIGALRM, SIGWINCH, SIGCONT, SIGTSTP};
#define HANDED_ON (sizeof(handed_on) / sizeof(handed_on[0]))

static bool ends_a_program(int number)
{
    return number == SIGHUP || number == SIGINT || number == SIGQUIT || number == SIGTERM || number == SIGUSR1 ||
           number == SIGUSR2 || number == SIGALRM;
}

bool signals_hold(held_signals *signals)
{
    sigset_t held;
    struct sigaction child = {.sa_handler = SIG_DFL}, present;
    sigemptyset(&signals->seen);
    sigemptyset(&signals->waited);
    sigaddset(&signals->waited, SIGCHLD);
    for (size_t i = 0; i < HANDED_ON; i++) {
        /* What is ignored stays so for us and for the command, as nohup and a shell's background jobs want it. */
        if (sigaction(handed_on[i], NULL, &present) == 0 && present.sa_handler != SIG_IGN)
            sigaddset(&signals->waited, handed_on[i]);
    }
    held = signals->waited;
    sigaddset(&held, SIGPIPE); /* a warning that nobody reads must not end us before the report */
    /* With SIGCHLD ignored there would be no exit status to wait for. */
    return sigaction(SIGCHLD, &child, &signals->original_child) == 0 &&
           sigprocmask(SIG_BLOCK, &held, &signals->original_mask) == 0;
}

void signals_restore(const held_signals *signals)
{
    sigaction(SIGCHLD, &signals->original_child, NULL);
    sigprocmask(SIG_SETMASK, &signals->original_mask, NULL);
}

int signals_wait(held_signals *signals, int64_t timeout_ms, siginfo_t *info)
{
    struct timespec timeout = {.tv_sec = timeout_ms / 1000, .tv_nsec = timeout_ms % 1000 * 1000000};
    int number = timeout_ms < 0 ? sigwaitinfo(&signals->waited, info) : sigtimedwait(&signals->waited, info, &timeout);
    if (number <= 0)
        return 0;
    if (ends_a_program(number))
        sigaddset(&signals->seen, number);
    return number;
}

int signals_drain(held_signals *signals)
{
    siginfo_t info;
    int last = 0;
    for (int number; (number = signals_wait(signals, 0, &info)) != 0;) {
        if (ends_a_program(number))
            last = number;
    }
    return last;
}

/* si_pid is 0 also when the sender is in a pid namespace that we do not see: then it was sent by kill all the same. */
static bool from_terminal(const siginfo_t *info)
{
    return info->si_code == SI_KERNEL;
}

void signals_forward(const siginfo_t *info, pid_t command, pid_t target, bool same_group)
{
    if (from_terminal(info) && same_group)
        return;
    if (info->si_code == SI_USER && info->si_pid == command)
        return;
    kill(target, info->si_signo);
}

/* It waits in the queue until it is unblocked. */
static void raise_held(int number)
{
    sigset_t one, before;
    sigemptyset(&one);
    sigaddset(&one, number);
    raise(number);
    if (sigprocmask(SIG_UNBLOCK, &one, &before) == 0)
        sigprocmask(SIG_SETMASK, &before, NULL);
}

void signals_end_self(int number)
{
    prctl(PR_SET_DUMPABLE, 0L, 0L, 0L, 0L); /* the core would be ours */
    raise_held(number);
}

void signals_stop_self(void)
{
    raise_held(SIGTSTP); /* where nobody could continue us, the kernel drops it */
}
