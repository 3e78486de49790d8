/* The way to the broker that every command but run takes: one text command, one JSON document. */
#ifndef CBMCTL_BROKER_H
#define CBMCTL_BROKER_H

#include <jansson.h>

#include "cbm.h"
#include "command_text.h"
#include "options.h"

/* Opens the client. 0, or the cbm_error after having said what is wrong. */
int broker_open(const cli_options *options, cbm_when_away when_away, cbm_client **client);
/* Whether the address is that of the manager inside this process, which nobody shares. */
bool broker_is_local(const cbm_client *client);
/* Whether the error of a command means that nobody could be asked: the broker is absent, or this user is not let to its socket. */
bool broker_is_away(cbm_client *client, int error);
#define BROKER_IS_LOCAL "local: is a manager inside one process, there is no broker to ask"

/* Starts a text command that carries the correlation id of the options. */
void broker_command(const cli_options *options, command_text *text, const char *operation);
/*
 * Finishes and sends the command, frees it, and gives the whole reply; *reply is to be given to json_decref, and set also when the broker
 * refused and said why (NULL otherwise). Returns 0 or a cbm_error; says nothing.
 */
int broker_ask(cbm_client *client, command_text *text, json_t **reply);
/* `data` of a reply, borrowed; NULL when there is none. */
json_t *broker_data(const json_t *reply);

/*
 * Says why something failed, with what the broker said about it (reply may be NULL), on stdout too when JSON was asked for. Returns the
 * exit code. subject: a breaker's name, or NULL.
 */
int broker_failed(cbm_client *client, const cli_options *options, int error, const json_t *reply, const char *subject);

/* All pages of `states` that match (NULL: all), or of `stats`, put together. 0, or a cbm_error and a reply as of broker_ask. */
int broker_states(cbm_client *client, const cli_options *options, const char *pattern, json_t **reply);
int broker_stats(cbm_client *client, const cli_options *options, json_t **reply);
/* The state dict of that very name, in *state (NULL: there is no such breaker); json_decref. 0 or a cbm_error. */
int broker_state(cbm_client *client, const cli_options *options, const char *name, json_t **state);

/*
 * Open, ask, close: what a command does that is one operation. Prints the reply when asked for JSON, else hands its `data` to `show`
 * (NULL: nothing is shown). Returns the exit code.
 */
int broker_run(const cli_options *options, command_text *text, const char *subject,
               void (*show)(const json_t *data, const cli_options *options));

#endif
