/*
 * The specification's pattern 2: watch how much of the manager's rate limit is used. Makes some operations first, so that there
 * is something to see: 900, or as many as the first argument says.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include <cbm.h>

#define WARN_ABOVE 0.8

static int nothing(void *argument)
{
    (void)argument;
    return 0;
}

static void be_busy(cbm_client *manager, int operations)
{
    for (int i = 0; i < operations; i++)
        cbm_call(manager, "busy", nothing, NULL, NULL);
}

int main(int argc, char **argv)
{
    cbm_client *manager = cbm_manager();
    const cbm_manager_stats *stats;
    cbm_stats_result *response;
    double utilization;
    int error;

    be_busy(manager, argc > 1 ? atoi(argv[1]) : 900);
    error = cbm_stats(manager, &response);
    if (error) {
        fprintf(stderr, "no statistics: %s\n", cbm_last_message());
        return 1;
    }
    stats = cbm_stats_manager(response);
    /* max_rate_limit 0: the limit is off */
    utilization = stats->max_rate_limit ? (double)stats->current_rate_limit_size / (double)stats->max_rate_limit : 0;
    if (utilization > WARN_ABOVE) {
        printf("WARNING: Rate limit at %.1f%%\n", utilization * 100);
        printf("Rate limited count: %" PRIu64 "\n", stats->rate_limited_count);
    } else {
        printf("Rate limit at %.1f%%\n", utilization * 100);
    }
    cbm_stats_free(response);
    return 0;
}
