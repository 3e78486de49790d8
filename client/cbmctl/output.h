/* What the reading commands print: JSON, state dicts as tables. */
#ifndef CBMCTL_OUTPUT_H
#define CBMCTL_OUTPUT_H

#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>

#include "options.h"
#include "table.h"

#define OUTPUT_COLOR_BAD "\033[1;31m"

/* A JSON document and a newline on stdout; null when data is NULL. */
void output_json(const json_t *data);
/* Whether stdout gets colours. */
bool output_colors(const cli_options *options);
/* A dictionary of state dicts as a table with one row each. */
void output_states(const json_t *states, const cli_options *options);
/* A dictionary, such as a state dict, a line a member. */
void output_dictionary(const json_t *dictionary, const cli_options *options);
/* Its members that are no dictionaries, a row each, into a table of these two columns. */
#define OUTPUT_MEMBER_COLUMNS 2
extern const table_column output_member_columns[OUTPUT_MEMBER_COLUMNS];
void output_members(text_table *table, const json_t *object);
/* Prints a table and deinitialises it. */
void output_table(text_table *table, bool heading, const cli_options *options);
/* Flushes stdout; false after having said that it could not be written. */
bool output_finish(void);

/* What there is to say about why a breaker stands as it does: the reason of a manual control, or the last error; "" when nothing. */
const char *state_note(const json_t *state);
/* "try again in 12.3 s", for retry_after_ms as the wire has it and the state that it belongs to. */
void retry_text(long long retry_after_ms, const char *state, char *text, size_t size);

#endif
