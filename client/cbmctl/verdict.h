/* What the end of a command says about the dependency, and what cbmctl run exits with. */
#ifndef CBMCTL_VERDICT_H
#define CBMCTL_VERDICT_H

#include "cbm.h"
#include "child.h"
#include "status_list.h"

typedef struct run_verdict {
    cbm_outcome outcome;
    int exit_code;
    char error_text[64]; /* "": none */
} run_verdict;

/* seen: signals that somebody sent us meanwhile; a command that they ended says nothing about the dependency. */
run_verdict verdict_of(const child_result *result, const sigset_t *seen, const status_list *success,
                       const status_list *ignore);

#endif
