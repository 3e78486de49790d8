/* cbmctl check: would a call pass? Takes no permit and changes nothing, so that it can stand before a job as often as one likes. */
#include <string.h>

#include "broker.h"
#include "commands.h"
#include "exit_codes.h"
#include "output.h"
#include "say.h"

enum { KEY_FAIL_CLOSED = 0x2000 };

typedef struct check_options {
    bool fail_closed;
    bool quiet;
} check_options;

static const struct argp_option check_argp_options[] = {
    {.name = "fail-closed",
     .key = KEY_FAIL_CLOSED,
     .doc = "Without a broker no call passes: exit with 69, or 77 when its socket is not for this user"},
    {.name = "quiet", .key = 'q', .doc = "Write nothing on stderr about the circuit or an absent broker"},
    {0},
};

static error_t parse(int key, char *value, struct argp_state *state, void *own)
{
    check_options *check = own;
    (void)value;
    (void)state;
    switch (key) {
    case KEY_FAIL_CLOSED: check->fail_closed = true; return 0;
    case 'q': check->quiet = true; return 0;
    default: return ARGP_ERR_UNKNOWN;
    }
}

static bool would_pass(const json_t *state, const char *word)
{
    if (strcmp(word, "FORCED_OPEN") == 0)
        return false;
    if (strcmp(word, "OPEN") == 0)
        return json_is_true(json_object_get(state, "due"));
    if (strcmp(word, "HALF_OPEN") == 0)
        return json_integer_value(json_object_get(state, "retry_after_ms")) == 0;
    return true;
}

static void print_json(const char *name, const char *broker, const char *word, bool passes, json_int_t retry_after_ms)
{
    json_t *answer = json_pack("{s:b, s:s, s:{s:s, s:b, s:s?, s:I, s:s}}", "success", 1, "message",
                               passes ? "a call would pass" : "a call would be refused", "data", "name", name, "passes",
                               passes, "state", word, "retry_after_ms", retry_after_ms, "broker", broker);
    output_json(answer);
    json_decref(answer);
}

static int without_broker(const cli_options *options, const check_options *check, const char *name, int error,
                          const char *address)
{
    const char *effect = check->fail_closed ? "is refused" : "would pass without protection";
    if (!check->quiet && error == CBM_E_DENIED)
        say("%s: %s; a call %s", name, cbm_last_message(), effect);
    else if (!check->quiet)
        say("%s: the broker cannot be reached at %s; a call %s", name, address, effect);
    if (options->json)
        print_json(name, "away", NULL, !check->fail_closed, 0);
    return check->fail_closed ? exit_code_of(error) : CBMCTL_OK;
}

static int judge(const cli_options *options, const check_options *check, const char *name, const json_t *state)
{
    const char *word = state != NULL ? json_string_value(json_object_get(state, "state")) : NULL;
    json_int_t retry = json_integer_value(json_object_get(state, "retry_after_ms"));
    bool passes = word == NULL || would_pass(state, word); /* an unknown breaker is one that has not failed yet */
    if (options->json)
        print_json(name, "present", word, passes, passes ? 0 : retry);
    if (!passes && !check->quiet) {
        char when[64];
        retry_text(retry, word, when, sizeof(when));
        const char *note = state_note(state);
        say("%s: %s%s%s%s, %s", name, word, *note != '\0' ? " (" : "", note, *note != '\0' ? ")" : "", when);
    }
    return passes ? CBMCTL_OK : CBMCTL_REFUSED;
}

int command_check(const cli_command *command, cli_options *options, int argc, char **argv)
{
    check_options check = {0};
    cli_spec spec = {
        .options = check_argp_options,
        .parse = parse,
        .own = &check,
        .minimum = 1,
        .maximum = 1,
        .named = true,
        .more = "An unknown breaker passes. Without a broker a call passes, with a warning. For systemd: "
                "ExecCondition=cbmctl check NAME",
    };
    cli_arguments arguments;
    arguments_parse(command, &spec, options, argc, argv, &arguments);
    const char *name = arguments.words[0];

    cbm_client *client = NULL;
    json_t *state = NULL;
    int error = broker_open(options, CBM_FAIL_OPEN, &client), exit_code;
    if (error != 0)
        return exit_code_of(error);
    error = broker_state(client, options, name, &state);
    if (broker_is_away(client, error))
        exit_code = without_broker(options, &check, name, error, cbm_address(client));
    else if (error != 0)
        exit_code = broker_failed(client, options, error, NULL, name);
    else
        exit_code = judge(options, &check, name, state);
    json_decref(state);
    cbm_close(client);
    return exit_code;
}
