/*
 * NNG runs callbacks in several threads. A request is short, and all of them go through one lock: more than one thread only means that
 * they wake each other and wait for each other, for each request anew. So all but one are kept busy with waiting until the end.
 * (NNG 1.5 cannot be told how many threads to start, and later ones start two at the least.)
 */
#ifndef CBM_SERVER_TASK_THREADS_H
#define CBM_SERVER_TASK_THREADS_H

typedef struct cbm_task_threads cbm_task_threads;

/* When NNG is in use already. NULL: there is nothing to hold back, or it cannot be done; everything works, only more slowly. */
cbm_task_threads *cbm_task_threads_hold(void);
/* Not in a callback. NULL is fine. */
void cbm_task_threads_release(cbm_task_threads *threads);

#endif
