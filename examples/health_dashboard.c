/*
 * The specification's pattern 3: one view of the manager and of the health of everything it protects. Two dependencies are called
 * first, one that works and one that does not, so that there is something to see.
 */
#include <inttypes.h>
#include <stdio.h>

#include <cbm.h>

static int works(void *argument)
{
    (void)argument;
    return 0;
}

static int is_down(void *argument)
{
    (void)argument;
    return -1;
}

static void call_both(cbm_client *manager)
{
    for (int i = 0; i < 6; i++) {
        cbm_call(manager, "ha_api", works, NULL, NULL);
        cbm_call(manager, "alexa_api", is_down, NULL, NULL); /* the sixth is not made: the circuit is open */
    }
}

static void show_manager(const cbm_manager_stats *stats)
{
    printf("manager\n");
    printf("  operations        %" PRIu64 "\n", stats->total_operations);
    printf("  rate limited      %" PRIu64 "\n", stats->rate_limited_count);
    printf("  rate utilization  %" PRIu64 "/%" PRIu64 "\n", stats->current_rate_limit_size, stats->max_rate_limit);
}

static void show_breaker(const cbm_breaker_state *state)
{
    printf("  %-16s  %-12s  %s\n", state->name, cbm_state_name(state->state), state->failures ? "degraded" : "healthy");
}

int main(void)
{
    cbm_client *manager = cbm_manager();
    const cbm_states_result *breakers;
    cbm_stats_result *response;
    int error;

    call_both(manager);
    error = cbm_stats(manager, &response);
    if (error) {
        fprintf(stderr, "no statistics: %s\n", cbm_last_message());
        return 1;
    }
    show_manager(cbm_stats_manager(response));
    breakers = cbm_stats_breakers(response);
    printf("breakers\n");
    for (size_t i = 0; i < cbm_states_count(breakers); i++)
        show_breaker(cbm_states_at(breakers, i));
    cbm_stats_free(response);
    return 0;
}
