#include "random.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static uint64_t state;

void random_seed(uint64_t seed)
{
    state = seed;
}

uint64_t random_next(void)
{
    state += UINT64_C(0x9e3779b97f4a7c15);
    uint64_t z = state;
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

uint32_t random_below(uint32_t limit)
{
    return (uint32_t)(random_next() % limit);
}

uint64_t random_test_number(const char *name, uint64_t standard)
{
    char variable[64];
    snprintf(variable, sizeof(variable), "CBM_TEST_%s", name);
    const char *value = getenv(variable);
    return value && *value ? strtoull(value, NULL, 0) : standard;
}

uint64_t random_seed_from_environment(void)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    uint64_t seed = random_test_number("SEED", (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000);
    fprintf(stderr, "CBM_TEST_SEED=%" PRIu64 "\n", seed);
    random_seed(seed);
    return seed;
}
