/*
 * The main program that all benchmarks share: it sets up, goes through rounds, tears down. Rounds are asked for one by one on
 * standard input, so that table.py can interleave those of all benchmarks: a machine that gets slower gets slower for all.
 */
#ifndef CBM_BENCH_ROUNDS_H
#define CBM_BENCH_ROUNDS_H

#include <stdbool.h>

typedef struct bench_options {
    int rounds;       /* 0: one for each line on standard input, answered by figures and a line "." */
    bool quick;       /* as little as shows that it runs; the figures mean nothing */
    const char *cbmd; /* the program */
    const char *only; /* a part of the question, as each says for itself; NULL: all */
} bench_options;

typedef struct bench_question {
    bool (*set_up)(const bench_options *options); /* false: it said why on standard error; torn down all the same */
    bool (*round)(const bench_options *options);
    void (*tear_down)(void);
} bench_question;

/* For main: returns its status. */
int bench_run(int argc, char **argv, const bench_question *question);

#endif
