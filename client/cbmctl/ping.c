/* cbmctl ping: is the broker there? */
#include <time.h>

#include "broker.h"
#include "commands.h"
#include "exit_codes.h"
#include "output.h"

static double now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec * 1e3 + (double)now.tv_nsec / 1e6;
}

int command_ping(const cli_command *command, cli_options *options, int argc, char **argv)
{
    cli_spec spec = {0};
    cli_arguments arguments;
    arguments_parse(command, &spec, options, argc, argv, &arguments);

    cbm_client *client = NULL;
    int error = broker_open(options, CBM_FAIL_OPEN, &client);
    int exit_code = exit_code_of(error);
    if (error != 0)
        return exit_code;
    double begun_ms = now_ms();
    error = cbm_ping(client);
    double round_trip_ms = now_ms() - begun_ms;
    if (error != 0) {
        exit_code = broker_failed(client, options, error, NULL, NULL);
    } else if (options->json) {
        json_t *answer = json_pack("{s:b, s:s, s:{s:b, s:s, s:f}}", "success", 1, "message", "pong", "data", "pong", 1,
                                   "address", cbm_address(client), "round_trip_ms", round_trip_ms);
        output_json(answer);
        json_decref(answer);
    } else {
        printf("the broker at %s answers in %.2f ms\n", cbm_address(client), round_trip_ms);
    }
    cbm_close(client);
    return exit_code;
}
