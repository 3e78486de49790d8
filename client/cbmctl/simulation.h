/* Traces replayed through libcbm-core, one breaker at a time, by the trace's own clock. */
#ifndef CBMCTL_SIMULATION_H
#define CBMCTL_SIMULATION_H

#include "call_table.h"
#include "cbm_core.h"
#include "trace_line.h"

#define SIMULATION_OUTCOMES 4 /* of cbm_core_outcome */

/* Over all traces. */
typedef struct simulation_totals {
    uint64_t traces, steps;
    uint64_t permitted, refused;
    uint64_t refused_reports[SIMULATION_OUTCOMES]; /* of calls that the trace made and that were refused here */
    uint64_t transitions[CBM_CORE_STATES][CBM_CORE_STATES];
    int64_t time_in_state_ns[CBM_CORE_STATES];
} simulation_totals;

typedef struct simulation {
    const cbm_core_policy_request *instead; /* of what the traces' policies say */
    cbm_core_manager *manager;              /* NULL before the first config */
    int64_t now_ns;
    call_table calls;
    cbm_core_status status;     /* after the step */
    bool is_acquire, permitted; /* of the step */
    simulation_totals totals;   /* of transitions and times, those of traces that ended */
} simulation;

typedef enum simulation_result {
    SIMULATION_CONFIG, /* the line was a config: another breaker, time 0 */
    SIMULATION_STEP,
    SIMULATION_INVALID, /* why says what is wrong with the line */
    SIMULATION_NO_MEMORY,
} simulation_result;

void simulation_init(simulation *s, const cbm_core_policy_request *instead);
void simulation_deinit(simulation *s);
simulation_result simulation_take(simulation *s, const trace_line *line, char why[TRACE_WHY_MAX]);
/* The last trace is over: its times are in the totals. */
void simulation_end(simulation *s);

/* Whether what the rule has counted is written, and not the state alone. */
bool simulation_shows_rule(const cbm_core_status *status);

#define SIMULATION_STATE_MAX 192
/* The state after a step as a line of JSON. Returns its length. */
size_t simulation_state_line(const simulation *s, char to[SIMULATION_STATE_MAX]);

#endif
