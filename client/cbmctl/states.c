/* cbmctl states: the breakers and how they stand. */
#include "broker.h"
#include "commands.h"
#include "exit_codes.h"
#include "output.h"

int command_states(const cli_command *command, cli_options *options, int argc, char **argv)
{
    cli_spec spec = {.maximum = 1, .more = "PATTERN is a glob of names: * ? [a-z] [!a-z]. Without one: all."};
    cli_arguments arguments;
    arguments_parse(command, &spec, options, argc, argv, &arguments);
    const char *pattern = arguments.count > 0 ? arguments.words[0] : NULL;

    cbm_client *client = NULL;
    json_t *reply = NULL;
    int error = broker_open(options, CBM_FAIL_OPEN, &client);
    int exit_code = exit_code_of(error);
    if (error != 0)
        return exit_code;
    error = broker_states(client, options, pattern, &reply);
    if (error != 0)
        exit_code = broker_failed(client, options, error, reply, NULL);
    else if (options->json)
        output_json(reply);
    else
        output_states(broker_data(reply), options);
    json_decref(reply);
    cbm_close(client);
    return exit_code;
}
