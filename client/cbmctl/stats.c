/* cbmctl stats: the manager's figures, and the breakers. */
#include "broker.h"
#include "commands.h"
#include "exit_codes.h"
#include "output.h"

int command_stats(const cli_command *command, cli_options *options, int argc, char **argv)
{
    cli_spec spec = {0};
    cli_arguments arguments;
    arguments_parse(command, &spec, options, argc, argv, &arguments);

    cbm_client *client = NULL;
    json_t *reply = NULL;
    int error = broker_open(options, CBM_FAIL_OPEN, &client);
    int exit_code = exit_code_of(error);
    if (error != 0)
        return exit_code;
    error = broker_stats(client, options, &reply);
    if (error != 0) {
        exit_code = broker_failed(client, options, error, reply, NULL);
    } else if (options->json) {
        output_json(reply);
    } else {
        const json_t *breakers = json_object_get(broker_data(reply), "breakers");
        output_manager(broker_data(reply), options);
        if (json_object_size(breakers) > 0) {
            fputc('\n', stdout);
            output_states(breakers, options);
        }
    }
    json_decref(reply);
    cbm_close(client);
    return exit_code;
}
