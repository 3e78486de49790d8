/* cbmctl report: an outcome that was observed elsewhere, without a permit. */
#include <string.h>

#include "broker.h"
#include "commands.h"
#include "duration.h"
#include "exit_codes.h"
#include "expects.h"
#include "say.h"

enum { KEY_OPEN_FOR = 0x2000, KEY_DURATION, KEY_ERROR_TEXT };

#define OPEN_FOR_MAX_MS UINT64_C(86400000)
#define CALL_DURATION_MAX_MS UINT64_C(86400000)

typedef struct report_options {
    uint64_t open_for_ms;
    uint64_t duration_ms;
    bool has_duration;
    const char *error_text;
} report_options;

static const struct argp_option report_argp_options[] = {
    {.name = "open-for",
     .key = KEY_OPEN_FOR,
     .arg = "DURATION",
     .doc = "Opens the circuit at once for that long, as a 429's Retry-After asks for"},
    {.name = "duration-ms",
     .key = KEY_DURATION,
     .arg = "MS",
     .doc = "How long the call took, in milliseconds or with a unit"},
    {.name = "error-text", .key = KEY_ERROR_TEXT, .arg = "TEXT", .doc = "What went wrong; shown in states"},
    {0},
};

/* This one has its unit in its name, so a plain number is milliseconds here. */
static uint64_t parse_duration_ms(struct argp_state *state, const char *value)
{
    char with_unit[64];
    uint64_t ms = 0;
    bool plain = *value != '\0' && value[strspn(value, "0123456789.")] == '\0';
    int length = snprintf(with_unit, sizeof(with_unit), "%s%s", value, plain ? "ms" : "");
    if (length < 0 || (size_t)length >= sizeof(with_unit) || !duration_parse(with_unit, CALL_DURATION_MAX_MS, &ms))
        argp_error(state,
                   "--duration-ms takes a duration (500ms, 30s, 5m, 2h, 1d; a plain number is milliseconds) of at most "
                   "1 d, not '%s'",
                   value);
    return ms;
}

static error_t parse(int key, char *value, struct argp_state *state, void *own)
{
    report_options *report = own;
    switch (key) {
    case KEY_OPEN_FOR:
        report->open_for_ms = option_duration(state, "--open-for", value, OPEN_FOR_MAX_MS);
        if (report->open_for_ms == 0)
            argp_error(state, "--open-for takes more than 0");
        return 0;
    case KEY_DURATION:
        report->duration_ms = parse_duration_ms(state, value);
        report->has_duration = true;
        return 0;
    case KEY_ERROR_TEXT: report->error_text = value; return 0;
    default: return ARGP_ERR_UNKNOWN;
    }
}

static bool is_outcome(const char *word)
{
    for (int outcome = CBM_CORE_SUCCESS; outcome <= CBM_CORE_IGNORED; outcome++) {
        if (strcmp(word, cbm_core_outcome_name((cbm_core_outcome)outcome)) == 0)
            return true;
    }
    return false;
}

int command_report(const cli_command *command, cli_options *options, int argc, char **argv)
{
    report_options report = {0};
    cli_spec spec = {
        .options = report_argp_options,
        .parse = parse,
        .own = &report,
        .minimum = 2,
        .maximum = 2,
        .named = true,
        .more = "OUTCOME is success, failure, timeout or ignored. It counts while the circuit is closed and is "
                "statistics only "
                "otherwise; --open-for opens and lengthens in any case.",
    };
    cli_arguments arguments;
    arguments_parse(command, &spec, options, argc, argv, &arguments);
    if (!is_outcome(arguments.words[1])) {
        char shown[CBM_SHOWN_MAX];
        say("report: outcome must be success, failure, timeout or ignored, not %s",
            cbm_text_shown(arguments.words[1], strlen(arguments.words[1]), shown));
        return CBMCTL_USAGE;
    }

    command_text text;
    broker_command(options, &text, "call_report");
    command_text_string(&text, "name", arguments.words[0]);
    command_text_string(&text, "outcome", arguments.words[1]);
    command_text_string(&text, "error_text", report.error_text);
    if (report.has_duration)
        command_text_number(&text, "duration_ms", report.duration_ms);
    if (report.open_for_ms > 0)
        command_text_number(&text, "open_for_ms", report.open_for_ms);
    return broker_run(options, &text, arguments.words[0], NULL);
}
