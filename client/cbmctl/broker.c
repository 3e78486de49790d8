#include "broker.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "exit_codes.h"
#include "output.h"
#include "say.h"

int broker_open(const cli_options *options, cbm_when_away when_away, cbm_client **client)
{
    /* No memory is shared: a program that asks once would pay for it and never use it. */
    cbm_open_options open = CBM_OPEN_OPTIONS_INIT;
    open.when_away = when_away;
    open.flags = CBM_OPEN_NO_SHM;
    open.timeout_ms = options->deadline_ms;
    open.call_timeout_ms = options->deadline_ms;
    int error = cbm_open(client, options->address, &open);
    if (error == CBM_E_DENIED || error == CBM_E_ADDRESS) {
        say("%s", cbm_last_message()); /* it has the address */
    } else if (error != 0) {
        const char *address = options->address != NULL ? options->address : getenv("CBM_ADDRESS");
        say("%s%s%s", cbm_last_message(), address != NULL ? ": " : "", address != NULL ? address : "");
    }
    return error;
}

bool broker_is_local(const cbm_client *client)
{
    return strcmp(cbm_address(client), "local:") == 0;
}

/* A broker that answers `denied` is there. */
bool broker_is_away(cbm_client *client, int error)
{
    return error == CBM_E_AWAY || (error == CBM_E_DENIED && cbm_connected(client) == 0);
}

void broker_command(const cli_options *options, command_text *text, const char *operation)
{
    command_text_init(text, operation);
    command_text_string(text, "correlation_id", options->correlation_id);
}

int broker_ask(cbm_client *client, command_text *text, json_t **reply)
{
    char *json = NULL;
    json_error_t fault;
    *reply = NULL;
    const char *command = command_text_finish(text);
    if (command == NULL) {
        int error = text->bad_field != NULL ? CBM_E_INVALID : CBM_E_NOMEM;
        if (text->bad_field != NULL)
            *reply = json_pack("{s:s+}", "message", text->bad_field, " is not valid UTF-8");
        command_text_deinit(text);
        return error;
    }
    int error = cbm_command(client, command, &json);
    command_text_deinit(text);
    if (json != NULL) {
        *reply = json_loads(json, JSON_ALLOW_NUL, &fault);
        cbm_free(json);
        if (*reply == NULL || !json_is_object(*reply)) {
            json_decref(*reply);
            *reply = NULL;
            return error != 0 ? error : CBM_E_PROTOCOL;
        }
    }
    return error;
}

json_t *broker_data(const json_t *reply)
{
    return json_object_get(reply, "data");
}

/* Whoever reads JSON gets some whatever happens, in the shape of the broker's own. */
static void output_failure(int error, const json_t *reply, const char *what)
{
    if (json_object_get(reply, "success") != NULL) {
        output_json(reply);
        return;
    }
    json_t *failure = json_pack("{s:b, s:s, s:s}", "success", 0, "message", what, "error", cbm_error_name(error));
    output_json(failure);
    json_decref(failure);
}

int broker_failed(cbm_client *client, const cli_options *options, int error, const json_t *reply, const char *subject)
{
    const char *said = json_string_value(json_object_get(reply, "message"));
    bool shut_out = error == CBM_E_DENIED && broker_is_away(client, error);
    const char *what = said != NULL ? said : shut_out ? cbm_last_message() : cbm_strerror(error);
    if (shut_out)
        say("%s", what);
    else if (error == CBM_E_AWAY)
        say("%s: %s", what, cbm_address(client));
    else if (error == CBM_E_UNSUPPORTED && broker_is_local(client))
        say(BROKER_IS_LOCAL);
    else
        say("%s%s%s", subject != NULL ? subject : "", subject != NULL ? ": " : "", what);
    if (options->json)
        output_failure(error, reply, what);
    return exit_code_of(error);
}

/* ---- pages ------------------------------------------------------------------------------------------------------- */

static int ask_page(cbm_client *client, const cli_options *options, const char *operation, const char *pattern,
                    const char *after, json_t **reply)
{
    command_text text;
    broker_command(options, &text, operation);
    command_text_string(&text, "pattern", pattern);
    command_text_string(&text, "after", after);
    command_text_number(&text, "limit", 256);
    return broker_ask(client, &text, reply);
}

/* The dictionary of breakers in a page: data itself, or data.breakers. */
static json_t *page_breakers(const json_t *reply, const char *key)
{
    json_t *data = broker_data(reply);
    return key != NULL ? json_object_get(data, key) : data;
}

/* Pages follow each other in the order of names, so a `next` that does not grow would go round for ever. */
static int add_pages(cbm_client *client, const cli_options *options, const char *operation, const char *pattern,
                     const char *key, json_t **reply)
{
    int error = ask_page(client, options, operation, pattern, NULL, reply);
    if (error != 0)
        return error;
    json_t *all = page_breakers(*reply, key);
    if (!json_is_object(all))
        return CBM_E_PROTOCOL;
    char *after = NULL;
    const char *next = json_string_value(json_object_get(*reply, "next"));
    while (next != NULL && error == 0) {
        json_t *page = NULL;
        if (after != NULL && strcmp(next, after) <= 0) {
            error = CBM_E_PROTOCOL;
            break;
        }
        free(after);
        after = strdup(next);
        if (after == NULL) {
            error = CBM_E_NOMEM;
            break;
        }
        error = ask_page(client, options, operation, pattern, after, &page);
        if (error == 0 && json_object_update(all, page_breakers(page, key)) != 0)
            error = CBM_E_PROTOCOL;
        json_t *more = error == 0 ? json_object_get(page, "next") : NULL;
        if (more == NULL)
            json_object_del(*reply, "next");
        else if (json_object_set(*reply, "next", more) != 0)
            error = CBM_E_NOMEM;
        if (error != 0 && page != NULL) { /* its message is the one to show */
            json_decref(*reply);
            *reply = page;
            break;
        }
        json_decref(page);
        next = json_string_value(json_object_get(*reply, "next"));
    }
    free(after);
    return error;
}

int broker_states(cbm_client *client, const cli_options *options, const char *pattern, json_t **reply)
{
    return add_pages(client, options, "states", pattern, NULL, reply);
}

int broker_stats(cbm_client *client, const cli_options *options, json_t **reply)
{
    return add_pages(client, options, "stats", NULL, "breakers", reply);
}

int broker_state(cbm_client *client, const cli_options *options, const char *name, json_t **state)
{
    /* `states` takes a glob. A name that looks like one is asked for with ? in place of its special characters, which it matches
     * too and which keeps it as short, and picked out of what comes. */
    char *pattern = strdup(name);
    json_t *reply = NULL;
    *state = NULL;
    if (pattern == NULL)
        return CBM_E_NOMEM;
    if (!cbm_core_name_valid(name, strlen(name))) { /* "" would ask for all */
        free(pattern);
        return CBM_E_INVALID;
    }
    for (char *c = pattern; *c != '\0'; c++) {
        if (strchr("*?[]\\", *c) != NULL)
            *c = '?';
    }
    int error = broker_states(client, options, pattern, &reply);
    if (error == 0)
        *state = json_incref(json_object_get(broker_data(reply), name));
    json_decref(reply);
    free(pattern);
    return error;
}

/* ---- one operation ------------------------------------------------------------------------------------------------ */

int broker_run(const cli_options *options, command_text *text, const char *subject,
               void (*show)(const json_t *data, const cli_options *options))
{
    cbm_client *client = NULL;
    json_t *reply = NULL;
    int error = broker_open(options, CBM_FAIL_OPEN, &client);
    int exit_code = exit_code_of(error);
    if (error != 0) {
        command_text_deinit(text);
        return exit_code;
    }
    error = broker_ask(client, text, &reply);
    if (error != 0)
        exit_code = broker_failed(client, options, error, reply, subject);
    else if (options->json)
        output_json(reply);
    else if (show != NULL)
        show(broker_data(reply), options);
    json_decref(reply);
    cbm_close(client);
    return exit_code;
}
