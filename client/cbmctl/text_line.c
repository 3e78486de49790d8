/* cbmctl command: sends a text command as it stands and prints the whole reply. */
#include <string.h>

#include "broker.h"
#include "commands.h"
#include "exit_codes.h"
#include "output.h"
#include "say.h"

int command_text_line(const cli_command *command, cli_options *options, int argc, char **argv)
{
    cli_spec spec = {
        .minimum = 1,
        .maximum = 256,
        .more = "The words are joined by spaces and sent as they are, as nngcat --data would: cbmctl command get "
                "ha_api timeout=30. "
                "Values with spaces stand in double quotes: cbmctl command 'reset name=\"ha api\"'. The reply is JSON.",
    };
    cli_arguments arguments;
    arguments_parse(command, &spec, options, argc, argv, &arguments);

    command_text text;
    command_text_init(&text, arguments.words[0]);
    for (int i = 1; text.stream != NULL && i < arguments.count; i++)
        fprintf(text.stream, " %s", arguments.words[i]);
    if (options->correlation_id != NULL)
        command_text_string(&text, "correlation_id", options->correlation_id);

    cbm_client *client = NULL;
    json_t *reply = NULL;
    int error = broker_open(options, CBM_FAIL_OPEN, &client), exit_code;
    if (error != 0) {
        command_text_deinit(&text);
        return exit_code_of(error);
    }
    error = broker_ask(client, &text, &reply);
    options->json = true; /* it is what a text command is answered in */
    exit_code = error != 0 ? broker_failed(client, options, error, reply, NULL) : CBMCTL_OK;
    if (error == 0)
        output_json(reply);
    json_decref(reply);
    cbm_close(client);
    return exit_code;
}
