/*
 * The signals of `cbmctl run`: what reaches us while the command runs is taken from a queue instead of killing us, and handed on where
 * the command has not got it by itself. The command finds mask and dispositions as they were when we were started.
 */
#ifndef CBMCTL_SIGNALS_H
#define CBMCTL_SIGNALS_H

#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

typedef struct held_signals {
    sigset_t original_mask;
    struct sigaction original_child; /* SIGCHLD's disposition */
    sigset_t waited;                 /* what signals_wait takes from the queue */
    sigset_t seen;                   /* what somebody sent us so far that ends a program */
} held_signals;

/* From here on signals wait. False with errno. */
bool signals_hold(held_signals *signals);
/* In the child, before exec: as it was. */
void signals_restore(const held_signals *signals);
/*
 * The next signal, 0 when timeout_ms (-1: none) is over or the wait was interrupted. Signals that end a program are noted in `seen`.
 */
int signals_wait(held_signals *signals, int64_t timeout_ms, siginfo_t *info);
/* Takes and notes what is in the queue. Returns one of them that ends a program, or 0. */
int signals_drain(held_signals *signals);
/*
 * Hands a signal on to the command: `target` is its process id, or the negative one of its own process group. Not when it has it already: from the
 * terminal, which signals the whole group (same_group), or because it sent it itself.
 */
void signals_forward(const siginfo_t *info, pid_t command, pid_t target, bool same_group);
/*
 * Ends this process by the signal that ended the command, so that who started us sees what it would see of the command: a shell's
 * loop stops at Ctrl-C, systemd counts its SIGTERM as a clean end. Returns where that cannot be (process 1 of a container).
 */
void signals_end_self(int number);
/* SIGTSTP came: stops this process too, until it is continued. */
void signals_stop_self(void);

#endif
