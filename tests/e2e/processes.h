/* Forked children that run a function, and programs whose output is wanted; all with deadlines. */
#ifndef CBM_E2E_PROCESSES_H
#define CBM_E2E_PROCESSES_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#define PROCESSES_MAX 64

typedef int process_function(int index, void *context); /* returns the exit status: 0 is all well */

typedef struct processes {
    int count;
    pid_t pids[PROCESSES_MAX];   /* 0: waited for */
    int statuses[PROCESSES_MAX]; /* after processes_wait: exit status, 128 + signal, or -1: killed at the deadline */
} processes;

/* fork() with a child that dies with its parent. */
pid_t process_fork(void);
/* Exit status, 128 + signal, or -1 when it had to be killed at the deadline. */
int process_wait(pid_t pid, int deadline_ms);
bool process_running(pid_t pid); /* of a child */

void processes_start(processes *p, int count, process_function *function, void *context);
/* How many of them did not end with status 0 in time. */
int processes_wait(processes *p, int deadline_ms);
/* Both in one. */
int processes_run(int count, process_function *function, void *context, int deadline_ms);

typedef struct program_result {
    int status; /* exit status, 128 + signal, or -1: killed at the deadline */
    char *out;  /* zero-terminated; program_result_deinit */
    size_t out_size;
    char *err;
} program_result;

/* argv[0] is looked for in PATH; input (NULL: none) is its standard input. */
void program_run(program_result *result, const char *const *argv, const char *input, int deadline_ms);
void program_result_deinit(program_result *result);

/* What `nngcat --req --dial address --data text --raw` printed; owned by the caller. It must exit with 0. */
char *nngcat_request(const char *address, const char *text);

#endif
