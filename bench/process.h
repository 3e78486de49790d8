/* Child processes, and what the system says of a process. */
#ifndef CBM_BENCH_PROCESS_H
#define CBM_BENCH_PROCESS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/* fork(), but the child dies with the benchmark, whatever ends that. */
pid_t bench_fork(void);
/* Sends the signal (0: none) and waits. Returns whether it ended with status 0. */
bool bench_end(pid_t pid, int signal);

/* RssAnon and RssShmem together, in KiB; -1: not to be had. */
double bench_memory_kib(pid_t pid);
/* How often its threads were woken, or were taken off a processor, since they started. -1: not to be had. */
int64_t bench_switches(pid_t pid);
/* Processor time that its threads have used. -1: not to be had. */
int64_t bench_processor_ns(pid_t pid);
/* As many descriptors as this user may have. */
void bench_raise_descriptor_limit(void);

#endif
