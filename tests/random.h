/* Numbers that look drawn at random and come again with the same seed. */
#ifndef CBM_TEST_RANDOM_H
#define CBM_TEST_RANDOM_H

#include <stdint.h>

void random_seed(uint64_t seed);
/* The seed of CBM_TEST_SEED, else one from the clock; printed, and returned. */
uint64_t random_seed_from_environment(void);
uint64_t random_next(void);
uint32_t random_below(uint32_t limit);
/* A test's size: the environment's CBM_TEST_<name> or `standard`. */
uint64_t random_test_number(const char *name, uint64_t standard);

#endif
