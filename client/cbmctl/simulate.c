/* cbmctl simulate: what a breaker of some policy would have done with recorded calls. Asks no broker. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "commands.h"
#include "duration.h"
#include "exit_codes.h"
#include "line_reader.h"
#include "say.h"
#include "simulation.h"
#include "trace_policy.h"

enum { KEY_POLICY = 0x2000, KEY_SUMMARY };

typedef struct simulate_options {
    policy_options policy;
    bool summary;
} simulate_options;

static const struct argp_option simulate_argp_options[] = {
    {.name = "policy",
     .key = KEY_POLICY,
     .arg = "FIELD=VALUE,...",
     .doc = "What if: these fields stand instead of what the trace's config has"},
    {.name = "summary", .key = KEY_SUMMARY, .doc = "Write on stderr, at the end, what was permitted, refused and when"},
    {0},
};

/* Lines of at most 78 columns, which stay as they stand here. */
static const char more[] = "FILE (- is the standard input) is a trace: a JSON object on each line. A line without\n"
                           "\"op\" is a config: a new breaker with that policy, at time 0. The others are\n"
                           "steps, and for each the state after it is written as a line of JSON:\n"
                           "\n"
                           "  {\"rule\":\"count_window\",\"window_size\":20,\"minimum_calls\":10}\n"
                           "  {\"op\":\"acquire\",\"id\":1}          a call asks whether it may be made\n"
                           "  {\"op\":\"success\",\"id\":1,\"ms\":12}  its end: success, failure, timeout, ignore;\n"
                           "                                 \"ms\" is how long it took and may be missing\n"
                           "  {\"op\":\"advance\",\"ms\":500}        the clock goes on; else it stands still\n"
                           "  {\"op\":\"force_open\"}              by hand: force_open, disable, metrics_only\n"
                           "                                 (with \"for_ms\": for so long), close, reset\n"
                           "\n"
                           "  {\"state\":\"CLOSED\",\"permitted\":true,\"failure_rate\":-1,\"calls\":9}\n"
                           "\n"
                           "\"permitted\" is there after acquire. \"failure_rate\" (per cent, -1 with fewer\n"
                           "than minimum_calls) and \"calls\" are there when a window decides; in HALF_OPEN\n"
                           "they are those of the probes. Seconds of a time_window are whole seconds of\n"
                           "the trace's clock. METRICS_ONLY shows \"would_open\".\n"
                           "\n"
                           "Config and --policy also take the names type (rule), window (window_size),\n"
                           "min_calls, slow_rate, slow_ms, open_ms (timeout_ms), half_open_permits\n"
                           "(half_open_calls) and half_open_successes (success_threshold).\n"
                           "permit_lease_ms is 0 unless given: a trace says itself when a call ends.\n"
                           "\n"
                           "A call that was refused here and yet ends in the trace was not made, and its\n"
                           "end is passed over. The end of a call that was never begun, or has ended\n"
                           "already, is an error; so is a second acquire of a call that is under way.\n"
                           "An error names its line and ends the simulation with 65. Other members of a\n"
                           "step are ignored, empty lines too.";

static error_t parse(int key, char *value, struct argp_state *state, void *own)
{
    simulate_options *simulate = own;
    char why[TRACE_WHY_MAX];
    switch (key) {
    case KEY_POLICY:
        if (!trace_policy_words(&simulate->policy, value, why))
            argp_failure(state, CBMCTL_USAGE, 0, "--policy: %s", why);
        return 0;
    case KEY_SUMMARY: simulate->summary = true; return 0;
    default: return ARGP_ERR_UNKNOWN;
    }
}

static bool is_blank(const char *text, size_t length)
{
    for (size_t i = 0; i < length; i++) {
        if (strchr(" \t\r", text[i]) == NULL || text[i] == '\0')
            return false;
    }
    return true;
}

/* ---- the lines of one file ----------------------------------------------------------------------------------------- */

static int take_line(simulation *s, const char *text, size_t length, char why[TRACE_WHY_MAX])
{
    trace_line line;
    char state[SIMULATION_STATE_MAX];
    if (is_blank(text, length))
        return CBMCTL_OK;
    simulation_result result =
        trace_line_read(&line, text, length, why) ? simulation_take(s, &line, why) : SIMULATION_INVALID;
    trace_line_deinit(&line);
    switch (result) {
    case SIMULATION_STEP: fwrite_unlocked(state, 1, simulation_state_line(s, state), stdout); return CBMCTL_OK;
    case SIMULATION_CONFIG: return CBMCTL_OK;
    case SIMULATION_INVALID: return CBMCTL_DATA;
    default: snprintf(why, TRACE_WHY_MAX, "out of memory"); return CBMCTL_OS;
    }
}

static int take_lines(simulation *s, line_reader *reader, const char *name)
{
    const char *text;
    size_t length;
    char why[TRACE_WHY_MAX] = "";
    int exit_code = CBMCTL_OK;
    while (exit_code == CBMCTL_OK) {
        switch (line_reader_take(reader, &text, &length)) {
        case LINE_TAKEN: exit_code = take_line(s, text, length, why); break;
        case LINE_NEEDS_MORE:
            /* Whoever feeds a pipe line by line sees the answers before the next line is waited for. */
            if (fflush(stdout) != 0)
                return CBMCTL_IO;
            if (!line_reader_fill(reader)) {
                say("%s: %s", name, strerror(errno));
                return CBMCTL_NO_INPUT;
            }
            break;
        case LINE_TOO_LONG:
            snprintf(why, sizeof(why), "longer than %d bytes", LINE_READER_MAX);
            exit_code = CBMCTL_DATA;
            break;
        case LINE_END: return CBMCTL_OK;
        }
    }
    fflush(stdout); /* what was before the mistake stands before the message */
    say("%s: line %" PRIu64 ": %s", name, reader->number, why);
    return exit_code;
}

/* ---- summary ------------------------------------------------------------------------------------------------------- */

static void print_transitions(FILE *out, const simulation_totals *totals)
{
    const char *before = "transitions: ";
    for (int from = 0; from < CBM_CORE_STATES; from++) {
        for (int to = 0; to < CBM_CORE_STATES; to++) {
            if (totals->transitions[from][to] == 0)
                continue;
            fprintf(out, "%s%s to %s %" PRIu64, before, cbm_core_state_name((cbm_core_state)from),
                    cbm_core_state_name((cbm_core_state)to), totals->transitions[from][to]);
            before = ", ";
        }
    }
    fputs(*before == ',' ? "\n" : "transitions: none\n", out);
}

static void print_times(FILE *out, const simulation_totals *totals)
{
    const char *before = "time: ";
    for (int state = 0; state < CBM_CORE_STATES; state++) {
        char text[DURATION_TEXT_MAX];
        if (totals->time_in_state_ns[state] == 0)
            continue;
        duration_format(totals->time_in_state_ns[state] / CBM_CORE_NS_PER_MS, text);
        fprintf(out, "%s%s %s", before, cbm_core_state_name((cbm_core_state)state), text);
        before = ", ";
    }
    fputs(*before == ',' ? "\n" : "time: none\n", out);
}

static void print_summary(const simulation_totals *totals)
{
    char *text = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);
    if (out == NULL)
        return;
    const uint64_t *reports = totals->refused_reports;
    fprintf(out, "traces: %" PRIu64 ", steps: %" PRIu64 "\n", totals->traces, totals->steps);
    fprintf(out, "calls: permitted %" PRIu64 ", refused %" PRIu64 "\n", totals->permitted, totals->refused);
    fprintf(out, "refused here, ended in the trace: successes %" PRIu64 ", failures %" PRIu64 ", ignored %" PRIu64 "\n",
            reports[CBM_CORE_SUCCESS], reports[CBM_CORE_FAILURE] + reports[CBM_CORE_TIMEOUT],
            reports[CBM_CORE_IGNORED]);
    print_transitions(out, totals);
    print_times(out, totals);
    if (fclose(out) == 0)
        fputs(text, stderr);
    free(text);
}

/* ---- the command --------------------------------------------------------------------------------------------------- */

static int run(int fd, const char *name, const simulate_options *simulate)
{
    line_reader *reader = malloc(sizeof(*reader));
    simulation s;
    if (reader == NULL) {
        say("out of memory");
        return CBMCTL_OS;
    }
    line_reader_init(reader, fd);
    simulation_init(&s, &simulate->policy.request);
    int exit_code = take_lines(&s, reader, name);
    simulation_end(&s);
    if (exit_code == CBMCTL_OK && fflush(stdout) == 0 && simulate->summary)
        print_summary(&s.totals);
    free(reader);
    return exit_code;
}

int command_simulate(const cli_command *command, cli_options *options, int argc, char **argv)
{
    static char written[1 << 16];
    simulate_options simulate = {0};
    cli_spec spec = {.options = simulate_argp_options,
                     .parse = parse,
                     .own = &simulate,
                     .more = more,
                     .minimum = 1,
                     .maximum = 1,
                     .policy = &simulate.policy};
    cli_arguments arguments;
    arguments_parse(command, &spec, options, argc, argv, &arguments);

    bool standard = strcmp(arguments.words[0], "-") == 0;
    const char *name = standard ? "standard input" : arguments.words[0];
    int fd = standard ? STDIN_FILENO : open(name, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        say("%s: %s", name, strerror(errno));
        return CBMCTL_NO_INPUT;
    }
    setvbuf(stdout, written, _IOFBF, sizeof(written));
    int exit_code = run(fd, name, &simulate);
    if (!standard)
        close(fd);
    return exit_code;
}
