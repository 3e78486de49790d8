/*
 * The process's malloc, for tests of what happens when there is none: one chosen allocation of a thread fails. It stands in
 * place of the C library's for all libraries too, so not in builds with sanitizers, which bring their own.
 */
#ifndef CBM_TEST_ALLOCATION_H
#define CBM_TEST_ALLOCATION_H

#include <stdbool.h>

/* The n-th allocation of this thread from now on fails, and no other; 0: none does. */
void allocation_fail_at(long n);
bool allocation_has_failed(void); /* since then */
/* What this thread has allocated, less what it has freed. */
long allocation_live(void);

#endif
