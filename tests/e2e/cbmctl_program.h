/* The program cbmctl in the end-to-end tests: run to its end, in the background, or on a terminal. */
#ifndef CBM_E2E_CBMCTL_PROGRAM_H
#define CBM_E2E_CBMCTL_PROGRAM_H

#include <jansson.h>

#include "harness.h"

#define CBMCTL_DEADLINE_MS 20000
#define ARGS(...) ((const char *const[]){__VA_ARGS__, NULL})

const char *cbmctl_program(void);

/* cbmctl --address ADDRESS arguments... */
void cbmctl_run(program_result *result, const char *address, const char *const *arguments);
/* Its exit status alone; what it said is shown when the test fails. */
int cbmctl_status(const char *address, const char *const *arguments);
/* The whole reply that `arguments... --json` printed; the status must be 0. To be given to json_decref. */
json_t *cbmctl_json(const char *address, const char *const *arguments);
/* One breaker's state dict, of states; NULL: there is none. json_decref. */
json_t *cbmctl_state(const char *address, const char *name);
long long cbmctl_statistic(const char *address, const char *name, const char *key);
/* Whether the state becomes that, within a deadline. */
bool cbmctl_becomes(const char *address, const char *name, const char *state);
/* Waits until a call would pass again. */
void cbmctl_wait_check(const char *address, const char *name, int status);

/* Lines of a text; the text is cut up. */
size_t lines_of(char *text, char **lines, size_t most);

/* A program whose output is read while it runs, and whose input is held open. */
typedef struct background {
    pid_t pid;
    int in, out;
    char text[16384]; /* what it has said so far, stdout and stderr together */
    size_t size;
} background;

typedef enum background_kind {
    BACKGROUND_NO_TERMINAL, /* a session of its own, pipes */
    BACKGROUND_TERMINAL,    /* a session of its own on a terminal of its own */
} background_kind;

void background_start(background *b, background_kind kind, const char *const *argv);
/* The same for cbmctl --address ADDRESS arguments... */
void background_cbmctl(background *b, background_kind kind, const char *address, const char *const *arguments);
/* Waits until it has said the text; false when it ended or the deadline is over before. */
bool background_says(background *b, const char *text);
void background_type(background *b, const char *text);
/* Reads to the end of its output and waits for it: exit status, or 128 + signal. */
int background_end(background *b);

#endif
