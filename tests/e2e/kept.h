/* A broker that keeps its state in a directory of the test's. One at a time. */
#ifndef CBM_E2E_KEPT_H
#define CBM_E2E_KEPT_H

#include <criterion/criterion.h>

#include "clients.h"

typedef struct kept {
    broker *broker;
    char directory[96]; /* of the state */
    char database[160];
} kept;

void new_directory(char directory[64]);
kept kept_in(const char *directory);
kept kept_new(void); /* in a directory that is made */
void kept_end(kept *k);
void killed_and_started(kept *k);

/* The answer to a text command, which must be a success. */
json_t *told(kept *k, const char *format, ...) __attribute__((format(printf, 2, 3)));
#define TELL(...) json_decref(told(__VA_ARGS__))
/* Reports a failure. Whether the answer says that it is stored; it must not take long over it. */
bool fail_stored(kept *k, const char *name);
int64_t state_number(kept *k, const char *name, const char *key);
void assert_logged(const kept *k, const char *text);
int rounds(int ordinary, int soak); /* as $CBM_SOAK says */

#endif
