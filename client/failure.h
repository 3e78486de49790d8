/* What cbm_last_message() answers: each thread's last failure. */
#ifndef CBM_CLIENT_FAILURE_H
#define CBM_CLIENT_FAILURE_H

#include "lane.h"

/* Keeps `message` (NULL: the sentence of the error) for this thread and returns the error. */
int cbm_fail(int error, const char *message);
/* Keeps the error alone, whose sentence will do: for calls that cost next to nothing. */
static inline int cbm_fail_silently(int error)
{
    cbm_this_thread.failure = error;
    return error;
}

/* The same with a message to be formatted. */
int cbm_fail_with(int error, const char *format, ...) __attribute__((format(printf, 2, 3)));

#endif
