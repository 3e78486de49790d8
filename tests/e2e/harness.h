/*
 * What the end-to-end tests stand on: a real cbmd in a directory of its own, clocks and conditions with deadlines.
 * processes.h runs processes and programs, raw_peer.h speaks to the broker byte by byte.
 *
 * Whatever cannot go on ends the test with a message on stderr (harness_fail aborts: in a Criterion test that is a failed
 * test, in a forked child a child that did not exit with 0). Every wait has a deadline; every process started here is killed
 * when the one that started it dies. For one thread at a time.
 */
#ifndef CBM_E2E_HARNESS_H
#define CBM_E2E_HARNESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "processes.h"
#include "raw_peer.h"

#define HARNESS_DEADLINE_MS 20000 /* far beyond what a sanitized build on a busy machine needs; no test waits so long */

_Noreturn void harness_fail(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* For what must hold outside of a Criterion assertion: in forked children and helpers. */
#define MUST(condition)                                                                                                \
    ((condition) ? (void)0 : harness_fail("%s:%d: this does not hold: %s", __FILE__, __LINE__, #condition))

int64_t clock_ns(void); /* CLOCK_MONOTONIC, the same in all processes */
int64_t clock_ms(void);
/* Polls until the condition holds (true) or the deadline is over (false). */
bool wait_until(bool (*condition)(void *context), void *context, int deadline_ms);
/* Zeroed memory that forked children share. */
void *shared_new(size_t size);

#define BROKER_ARGUMENTS_MAX 16

typedef struct broker_options {
    const char *address;                         /* NULL: a socket in the broker's own directory */
    const char *arguments[BROKER_ARGUMENTS_MAX]; /* more options for cbmd, ended by NULL */
    unsigned descriptors;                        /* RLIMIT_NOFILE of the broker; 0: as here */
} broker_options;

typedef struct broker {
    pid_t pid; /* 0: not running */
    broker_options options;
    char directory[64];
    char address[128];
    char socket_path[128]; /* "": not in the file system */
    char log_path[128];    /* its stderr, of all starts in this directory */
} broker;

const char *broker_program(void); /* $CBMD, else the one built beside the tests */

/* Returns when the broker listens. NULL options: defaults. */
broker *broker_start(const broker_options *options);
/* The same without a rate limit, for tests that are not about it. */
broker *broker_start_unlimited(void);
/* Again on the same address with the same options, after broker_stop or broker_kill. */
void broker_restart(broker *b);
/* Sends the signal and waits for the end: the exit status, or 128 + the signal that it died of. */
int broker_stop(broker *b, int signal_number);
void broker_kill(broker *b); /* kill -9 */
/* Stops it by SIGTERM when it runs, which must give status 0 (a sanitizer's report does not), and removes the directory. */
void broker_free(broker *b);

/* A line of its stderr that contains all the texts (NULL-terminated list), waited for; owned by the caller. NULL: none came. */
char *broker_wait_log(const broker *b, const char *const *texts, int deadline_ms);
char *broker_wait_log1(const broker *b, const char *text, int deadline_ms);
char *broker_log(const broker *b); /* all of it so far; owned by the caller */

/* From /proc. */
size_t broker_rss_kib(const broker *b);
/* Then its memory says little, since freed memory is kept back. $CBMD_SANITIZED says so of a $CBMD from another build. */
bool broker_is_sanitized(void);
int broker_threads(const broker *b);
int broker_descriptors(const broker *b);

#endif
