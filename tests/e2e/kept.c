#include "kept.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

kept kept_in(const char *directory)
{
    static char argument[96]; /* each test has a process of its own, and one such broker */
    kept k;
    snprintf(argument, sizeof argument, "%s", directory);
    snprintf(k.directory, sizeof k.directory, "%s", directory);
    snprintf(k.database, sizeof k.database, "%s/cbm.db", directory);
    k.broker = broker_start(&(broker_options){.arguments = {"--rate-limit", "0", "--state-dir", argument}});
    return k;
}

void new_directory(char directory[64])
{
    strcpy(directory, "/tmp/cbm-e2e-state-XXXXXX");
    cr_assert_not_null(mkdtemp(directory));
}

kept kept_new(void)
{
    char directory[64];
    new_directory(directory);
    return kept_in(directory);
}

void kept_end(kept *k)
{
    program_result removed;
    broker_free(k->broker);
    program_run(&removed, (const char *const[]){"rm", "-rf", k->directory, NULL}, NULL, HARNESS_DEADLINE_MS);
    program_result_deinit(&removed);
}

void killed_and_started(kept *k)
{
    broker_kill(k->broker);
    broker_restart(k->broker);
}

json_t *told(kept *k, const char *format, ...)
{
    char command[256];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(command, sizeof command, format, arguments);
    va_end(arguments);
    json_t *answer = ask(k->broker->address, command);
    cr_assert(json_is_true(json_object_get(answer, "success")), "%s: %s", command,
              json_string_value(json_object_get(answer, "message")));
    return answer;
}
/* Whether the report's answer says that it is stored; it must not be silent about it for long. */
bool fail_stored(kept *k, const char *name)
{
    int64_t begun = clock_ms();
    json_t *answer = told(k, "call_report %s outcome=failure", name);
    json_t *stored = json_object_get(json_object_get(answer, "data"), "stored");
    bool said_so = stored == NULL;
    cr_assert(stored == NULL || json_is_false(stored));
    cr_assert_lt(clock_ms() - begun, 5000);
    json_decref(answer);
    return said_so;
}

int64_t state_number(kept *k, const char *name, const char *key)
{
    json_t *state = ask_state(k->broker->address, name);
    int64_t value = json_integer_value(json_object_get(state, key));
    json_decref(state);
    return value;
}

int rounds(int ordinary, int soak)
{
    return getenv("CBM_SOAK") != NULL ? soak : ordinary;
}

void assert_logged(const kept *k, const char *text)
{
    char *line = broker_wait_log1(k->broker, text, HARNESS_DEADLINE_MS);
    cr_assert_not_null(line, "no line of the log says %s", text);
    free(line);
}
