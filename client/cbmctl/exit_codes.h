/* What cbmctl exits with, in the manner of sysexits.h and timeout(1): written here once, for the code and for --help. */
#ifndef CBMCTL_EXIT_CODES_H
#define CBMCTL_EXIT_CODES_H

#include <stdio.h>

/* X(symbol, number, sentence) */
#define CBMCTL_EXIT_TABLE(X)                                                                                           \
    X(OK, 0, "done; check: a call would pass; run: the command's own status 0")                                        \
    X(FAILED, 1, "the operation failed")                                                                               \
    X(USAGE, 64, "wrong usage, name, policy value or address")                                                         \
    X(DATA, 65, "simulate: a line of the trace is wrong")                                                              \
    X(NO_INPUT, 66, "simulate: the trace cannot be read")                                                              \
    X(AWAY, 69, "the broker cannot be reached (run and check: with --fail-closed only)")                               \
    X(OS, 71, "the system refused something: no memory, no process")                                                   \
    X(IO, 74, "the output could not be written")                                                                       \
    X(REFUSED, 75,                                                                                                     \
      "the circuit is open, half-open and full, or forced open, or the rate limit is exceeded: try later")             \
    X(DENIED, 77,                                                                                                      \
      "not allowed to this user (connecting to the broker's socket: run and check with --fail-closed only), or the "   \
      "socket belongs to a stranger")                                                                                  \
    X(TIMED_OUT, 124, "run: the command was killed by --timeout")                                                      \
    X(NOT_EXECUTABLE, 126, "run: the command was found and could not be executed")                                     \
    X(NO_COMMAND, 127, "run: the command was not found")                                                               \
    X(SIGNALLED, 128, "plus N, run: the command was killed by signal N")

enum cbmctl_exit {
#define X(symbol, number, sentence) CBMCTL_##symbol = number,
    CBMCTL_EXIT_TABLE(X)
#undef X
};

/* The exit code that stands for a cbm_error. */
int exit_code_of(int error);
/* The table above as text for --help. */
void exit_codes_help(FILE *out);

#endif
