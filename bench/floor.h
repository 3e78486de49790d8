/*
 * What a permit and a success could cost at least if processes are to share them: one load of what stands for all and one
 * atomic addition to what is the caller's alone, each in a function that is called as those of a library are.
 */
#ifndef CBM_BENCH_FLOOR_H
#define CBM_BENCH_FLOOR_H

#include <stdatomic.h>
#include <stdint.h>

#define BENCH_FLOOR_WORKERS 8

typedef struct bench_floor {
    _Alignas(128) _Atomic uint64_t word;
    struct {
        _Alignas(128) _Atomic uint64_t count;
    } workers[BENCH_FLOOR_WORKERS];
} bench_floor;

__attribute__((visibility("default"))) uint64_t bench_floor_begin(const bench_floor *floor);
__attribute__((visibility("default"))) void bench_floor_report(bench_floor *floor, int worker);

#endif
