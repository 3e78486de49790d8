#include "floor.h"

__attribute__((noinline)) uint64_t bench_floor_begin(const bench_floor *floor)
{
    return atomic_load_explicit(&floor->word, memory_order_acquire);
}

__attribute__((noinline)) void bench_floor_report(bench_floor *floor, int worker)
{
    atomic_fetch_add(&floor->workers[worker].count, 1);
}
