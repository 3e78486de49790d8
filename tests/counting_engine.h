/* An engine and a client that counts by itself, for each test; and what tests of them have in common. */
#ifndef CBM_TESTS_COUNTING_ENGINE_H
#define CBM_TESTS_COUNTING_ENGINE_H

#include "counting_client.h"

extern cbm_engine *engine;
extern counting_client *client; /* pid 1 */
extern int ended;               /* ledgers whose end was told */

void counting_set_up(void);
void counting_tear_down(void);
/* Another one: where a test needs options of its own. */
cbm_engine *new_engine(cbm_engine_options options);

cbm_core_state begin(counting_client *who, const char *name, int *error);
uint64_t flag(const counting_handle *handle, uint64_t flags); /* those of them that the board has */
cbm_core_state board_state(const counting_handle *handle);
void control(const counting_handle *handle, cbm_core_control what, uint32_t for_ms);
/* Opens it by a failure, and waits until a begin would be a probe. */
void open_and_wait(const counting_handle *handle);
void wait_until(int64_t at_ns);
/* Waits for a whole second to begin, if less of this one is left than that. */
void have_time_in_this_second(int64_t needed_ns);

cbm_core_statistics statistics(const counting_handle *handle);
/* What the engine has recorded, without a look at ledgers. */
cbm_core_statistics recorded_statistics(const counting_handle *handle);
uint64_t recorded(const counting_handle *handle); /* successes of it */

#endif
