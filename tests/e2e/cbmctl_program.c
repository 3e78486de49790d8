#include "cbmctl_program.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pty.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <utmp.h>

#define ARGUMENTS_MAX 48

const char *cbmctl_program(void)
{
    const char *program = getenv("CBMCTL");
    return program != NULL ? program : CBMCTL_PROGRAM;
}

static void complete(const char **argv, const char *address, const char *const *arguments)
{
    size_t count = 0;
    argv[count++] = cbmctl_program();
    argv[count++] = "--address";
    argv[count++] = address;
    for (; *arguments != NULL; arguments++) {
        MUST(count + 1 < ARGUMENTS_MAX);
        argv[count++] = *arguments;
    }
    argv[count] = NULL;
}

void cbmctl_run(program_result *result, const char *address, const char *const *arguments)
{
    const char *argv[ARGUMENTS_MAX];
    complete(argv, address, arguments);
    program_run(result, argv, NULL, CBMCTL_DEADLINE_MS);
}

int cbmctl_status(const char *address, const char *const *arguments)
{
    program_result result;
    cbmctl_run(&result, address, arguments);
    int status = result.status;
    if (status != 0)
        fprintf(stderr, "cbmctl %s: %d\n%s%s", arguments[0], status, result.out, result.err);
    program_result_deinit(&result);
    return status;
}

json_t *cbmctl_json(const char *address, const char *const *arguments)
{
    const char *argv[ARGUMENTS_MAX] = {"--json"};
    program_result result;
    json_error_t error;
    for (size_t i = 0; arguments[i] != NULL; i++) {
        MUST(i + 2 < ARGUMENTS_MAX);
        argv[i + 1] = arguments[i];
    }
    cbmctl_run(&result, address, argv);
    json_t *json = json_loads(result.out, JSON_REJECT_DUPLICATES, &error);
    if (result.status != 0 || json == NULL)
        harness_fail("cbmctl --json %s: %d\n%s%s%s", arguments[0], result.status, result.out, result.err, error.text);
    program_result_deinit(&result);
    return json;
}

json_t *cbmctl_state(const char *address, const char *name)
{
    json_t *reply = cbmctl_json(address, ARGS("states"));
    json_t *state = json_incref(json_object_get(json_object_get(reply, "data"), name));
    json_decref(reply);
    return state;
}

long long cbmctl_statistic(const char *address, const char *name, const char *key)
{
    json_t *state = cbmctl_state(address, name);
    json_t *value = json_object_get(json_object_get(state, "statistics"), key);
    MUST(json_is_integer(value));
    long long number = json_integer_value(value);
    json_decref(state);
    return number;
}

typedef struct expected_state {
    const char *address, *name, *state;
} expected_state;

static bool is_state(void *context)
{
    const expected_state *expected = context;
    json_t *state = cbmctl_state(expected->address, expected->name);
    const char *word = json_string_value(json_object_get(state, "state"));
    bool same = word != NULL && strcmp(word, expected->state) == 0;
    json_decref(state);
    return same;
}

bool cbmctl_becomes(const char *address, const char *name, const char *state)
{
    return wait_until(is_state, &(expected_state){address, name, state}, CBMCTL_DEADLINE_MS);
}

typedef struct expected_check {
    const char *address, *name;
    int status;
} expected_check;

static bool checks_so(void *context)
{
    const expected_check *expected = context;
    program_result result;
    cbmctl_run(&result, expected->address, ARGS("check", "-q", expected->name));
    bool same = result.status == expected->status;
    program_result_deinit(&result);
    return same;
}

void cbmctl_wait_check(const char *address, const char *name, int status)
{
    MUST(wait_until(checks_so, &(expected_check){address, name, status}, CBMCTL_DEADLINE_MS));
}

size_t lines_of(char *text, char **lines, size_t most)
{
    size_t count = 0;
    for (char *line; count < most && (line = strsep(&text, "\n")) != NULL;) {
        if (text != NULL || *line != '\0')
            lines[count++] = line;
    }
    return count;
}

/* ---- in the background ------------------------------------------------------------------------------------------- */

static void become(const char *const *argv)
{
    close_range(3, ~0U, 0);
    signal(SIGPIPE, SIG_DFL);
    execvp(argv[0], (char *const *)(uintptr_t)argv);
    fprintf(stderr, "%s: %s\n", argv[0], strerror(errno));
    _exit(127);
}

static void start_on_pipes(background *b, const char *const *argv)
{
    int in[2], out[2];
    if (pipe2(in, O_CLOEXEC) != 0 || pipe2(out, O_CLOEXEC) != 0)
        harness_fail("pipe: %s", strerror(errno));
    b->pid = process_fork();
    if (b->pid == 0) {
        if (setsid() < 0 || dup2(in[0], 0) < 0 || dup2(out[1], 1) < 0 || dup2(out[1], 2) < 0)
            _exit(126);
        become(argv);
    }
    close(in[0]);
    close(out[1]);
    b->in = in[1];
    b->out = out[0];
}

static void start_on_terminal(background *b, const char *const *argv)
{
    int terminal, other_end;
    if (openpty(&terminal, &other_end, NULL, NULL, NULL) != 0)
        harness_fail("openpty: %s", strerror(errno));
    b->pid = process_fork();
    if (b->pid == 0) {
        if (login_tty(other_end) != 0)
            _exit(126);
        become(argv);
    }
    close(other_end);
    b->in = b->out = terminal;
}

void background_start(background *b, background_kind kind, const char *const *argv)
{
    memset(b, 0, sizeof(*b));
    if (kind == BACKGROUND_TERMINAL)
        start_on_terminal(b, argv);
    else
        start_on_pipes(b, argv);
}

void background_cbmctl(background *b, background_kind kind, const char *address, const char *const *arguments)
{
    const char *argv[ARGUMENTS_MAX];
    complete(argv, address, arguments);
    background_start(b, kind, argv);
}

/* False: there is no more, or not in time. */
static bool read_more(background *b, int64_t end_ms)
{
    int64_t left = end_ms - clock_ms();
    struct pollfd event = {b->out, POLLIN, 0};
    if (left <= 0 || poll(&event, 1, (int)left) <= 0)
        return false;
    MUST(b->size + 1 < sizeof(b->text));
    ssize_t got = read(b->out, b->text + b->size, sizeof(b->text) - b->size - 1);
    if (got <= 0)
        return false; /* a terminal whose other end is closed gives EIO */
    b->size += (size_t)got;
    b->text[b->size] = '\0';
    return true;
}

bool background_says(background *b, const char *text)
{
    int64_t end_ms = clock_ms() + CBMCTL_DEADLINE_MS;
    while (strstr(b->text, text) == NULL) {
        if (!read_more(b, end_ms)) {
            fprintf(stderr, "`%s' was not said, but:\n%s\n", text, b->text);
            return false;
        }
    }
    return true;
}

void background_type(background *b, const char *text)
{
    size_t length = strlen(text);
    MUST(write(b->in, text, length) == (ssize_t)length);
}

int background_end(background *b)
{
    int64_t end_ms = clock_ms() + CBMCTL_DEADLINE_MS;
    if (b->in != b->out)
        close(b->in);
    while (read_more(b, end_ms))
        continue;
    int64_t left = end_ms - clock_ms();
    int status = process_wait(b->pid, left > 0 ? (int)left : 0);
    close(b->out);
    return status;
}
