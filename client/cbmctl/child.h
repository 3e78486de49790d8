/*
 * One command as a child process: started, watched, ended when its time is over, and waited for.
 *
 * Process groups: with a controlling terminal the command stays in our group, so that reading the terminal, Ctrl-C, Ctrl-Z and fg
 * work as without us, and a timeout signals the command alone. Without one (cron, systemd) a command that has a timeout leads a
 * group of its own, and a timeout and what is sent to us reach all of it.
 */
#ifndef CBMCTL_CHILD_H
#define CBMCTL_CHILD_H

#include <stdbool.h>
#include <stdint.h>

#include "signals.h"

typedef struct child_options {
    char *const *argv;
    uint64_t timeout_ms;    /* 0: none */
    uint64_t kill_after_ms; /* from SIGTERM to SIGKILL */
} child_options;

typedef struct child_result {
    int fork_error; /* errno: there is no process. All else is 0 then */
    int exec_error; /* errno: it could not be executed */
    int status;     /* as of waitpid */
    bool timed_out; /* we ended it */
    int64_t duration_ns;
} child_result;

/* Runs it to its end. signals_hold came before. */
void child_run(const child_options *options, held_signals *signals, child_result *result);

#endif
