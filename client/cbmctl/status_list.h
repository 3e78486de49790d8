/* A set of exit statuses, as --ignore-status and --success-status take it: "1,22,40-49". */
#ifndef CBMCTL_STATUS_LIST_H
#define CBMCTL_STATUS_LIST_H

#include <stdbool.h>

#define STATUS_COUNT 256

typedef struct status_list {
    bool holds[STATUS_COUNT];
} status_list;

/* Adds what the text names. False, and nothing added: not a list of numbers from 0 to 255 and ranges of them. */
bool status_list_add(status_list *list, const char *text);
/* A status that is in both, or -1. */
int status_list_common(const status_list *a, const status_list *b);

#endif
