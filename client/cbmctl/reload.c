/* cbmctl reload: has the broker read its config file again, and waits for what comes of it. */
#include <time.h>

#include "broker.h"
#include "commands.h"
#include "exit_codes.h"
#include "output.h"
#include "say.h"

#define WAIT_MS 10000
#define ASK_AGAIN_MS 20

/* `reload` of the broker's info as of that reload or a later one; NULL: not yet, or an error. json_decref. */
static json_t *outcome(cbm_client *client, const cli_options *options, json_int_t number, int *error)
{
    command_text text;
    json_t *reply = NULL, *found = NULL;
    broker_command(options, &text, "info");
    *error = broker_ask(client, &text, &reply);
    const json_t *reload = *error == 0 ? json_object_get(broker_data(reply), "reload") : NULL;
    if (reload != NULL && json_integer_value(json_object_get(reload, "done")) >= number)
        found = json_copy((json_t *)reload);
    json_decref(reply);
    return found;
}

static json_t *await_outcome(cbm_client *client, const cli_options *options, json_int_t number, int *error)
{
    for (int waited_ms = 0;; waited_ms += ASK_AGAIN_MS) {
        json_t *found = outcome(client, options, number, error);
        if (found != NULL || *error != 0 || waited_ms >= WAIT_MS)
            return found;
        nanosleep(&(struct timespec){.tv_nsec = ASK_AGAIN_MS * 1000000L}, NULL);
    }
}

static int tell(const cli_options *options, json_t *found)
{
    bool success = json_is_true(json_object_get(found, "success"));
    const char *message = json_string_value(json_object_get(found, "message"));
    if (options->json)
        output_json(found);
    if (!success)
        say("%s; what was in force stays in force", message != NULL ? message : "the config file was refused");
    else if (!options->json)
        printf("%s\n", message);
    return success ? CBMCTL_OK : CBMCTL_FAILED;
}

int command_reload(const cli_command *command, cli_options *options, int argc, char **argv)
{
    cli_spec spec = {.more =
                         "Policies and access rules take effect at once; the broker's log says what needs a restart."};
    cli_arguments arguments;
    arguments_parse(command, &spec, options, argc, argv, &arguments);

    cbm_client *client = NULL;
    json_t *reply = NULL, *found = NULL;
    int error = broker_open(options, CBM_FAIL_OPEN, &client);
    int exit_code = exit_code_of(error);
    if (error != 0)
        return exit_code;
    command_text text;
    broker_command(options, &text, "reload");
    error = broker_ask(client, &text, &reply);
    if (error == 0)
        found =
            await_outcome(client, options, json_integer_value(json_object_get(broker_data(reply), "reload")), &error);
    if (error != 0) {
        exit_code = broker_failed(client, options, error, reply, NULL);
    } else if (found != NULL) {
        exit_code = tell(options, found);
    } else {
        say("the broker has not read its file within %d s; its log tells", WAIT_MS / 1000);
        exit_code = CBMCTL_FAILED;
    }
    json_decref(found);
    json_decref(reply);
    cbm_close(client);
    return exit_code;
}
