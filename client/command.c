/* Text commands, for tools: the broker reads them and answers in JSON. */
#include <stdlib.h>
#include <string.h>

#include "client.h"
#include "clock.h"
#include "error.h"
#include "failure.h"

/* Past a JSON string whose opening quote is at `at`. */
static const char *skip_string(const char *at)
{
    for (at++; *at && *at != '"'; at++)
        if (*at == '\\' && at[1])
            at++;
    return *at ? at + 1 : at;
}

/*
 * The value of a key of the outermost object, or NULL. That is all that is wanted of the answer here, and no reason to make
 * every program that uses the library carry a JSON parser.
 */
static const char *find_value(const char *json, const char *key)
{
    size_t length = strlen(key);
    int depth = 0;

    while (*json) {
        const char *text = json;

        if (*json == '"') {
            json = skip_string(json);
            if (depth == 1 && (size_t)(json - text) == length + 2 && memcmp(text + 1, key, length) == 0) {
                json += strspn(json, " \t\r\n");
                if (*json == ':')
                    return json + 1 + strspn(json + 1, " \t\r\n");
            }
            continue;
        }
        if (*json == '{' || *json == '[')
            depth++;
        if (*json == '}' || *json == ']')
            depth--;
        json++;
    }
    return NULL;
}

/* The error that a JSON answer tells of, or 0. */
static int read_error(const char *json)
{
    const char *success = find_value(json, "success");
    const char *error = find_value(json, "error");

    if (!success)
        return CBM_E_PROTOCOL;
    if (strncmp(success, "true", 4) == 0)
        return 0;
    if (!error || *error != '"')
        return CBM_E_INTERNAL;
    return cbm_proto_error_number(error + 1, strcspn(error + 1, "\""));
}

int cbm_command(cbm_client *client, const char *command, char **json)
{
    int error;

    if (!json)
        return cbm_fail(CBM_E_INVALID, "json: NULL");
    *json = NULL;
    if (!client)
        return cbm_fail(CBM_E_INVALID, "client: NULL");
    if (!command || *command < ' ' || *command > '~')
        return cbm_fail(CBM_E_INVALID, "command: no text");
    error = cbm_enter(client);
    if (error)
        return error;
    error = client->backend->command(client, command, cbm_clock_ns() + client->timeout_ns, json);
    if (error)
        cbm_client_unanswered(client, error);
    cbm_leave(client);
    if (error)
        return error;
    error = read_error(*json);
    return error ? cbm_fail(error, NULL) : 0;
}

void cbm_free(void *memory)
{
    free(memory);
}
