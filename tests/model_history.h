/* Questions to the model's history that both what happens (model.c) and what can be read (model_status.c) depend on. */
#ifndef CBM_TEST_MODEL_HISTORY_H
#define CBM_TEST_MODEL_HISTORY_H

#include "model.h"

typedef struct history_tally {
    uint64_t calls, failures, slow, successes;
} history_tally;

bool history_is_window(const model *m);
bool history_is_failure(cbm_core_outcome outcome);
int64_t history_ms(uint64_t milliseconds);
int history_epoch(const model *m); /* the present one */

/* What counts of one epoch, seen at at_ns. HALF_OPEN forgets nothing while it lasts. */
history_tally history_look_back(const model *m, int epoch, int64_t at_ns);
bool history_is_seen(const model *m, int record, int64_t at_ns); /* by the rule */
bool history_rates_open(const model *m, history_tally t);
bool history_rule_opens(const model *m, int epoch, int64_t at_ns);
uint64_t history_needed_probes(const model *m);

bool history_is_out(const model *m, const model_permit *permit);
model_permit *history_earliest_lease(model *m); /* NULL: none that ends */
uint64_t history_permits_out(const model *m);
bool history_may_probe(const model *m);
int64_t history_time_left(const model *m, int64_t until_ns); /* -1: for ever */

#endif
