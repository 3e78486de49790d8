#include "trace_files.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>

enum { TRACES_IN_A_FILE = 60 };

static void take(const char *where, const char *line, trace_function *function, void *context)
{
    json_error_t error;
    json_t *trace = json_loads(line, 0, &error);
    cr_assert_not_null(trace, "%s: %s", where, error.text);
    cr_assert(json_is_object(json_object_get(trace, "config")), "%s", where);
    size_t steps = json_array_size(json_object_get(trace, "steps"));
    cr_assert_gt(steps, 0, "%s", where);
    cr_assert_eq(steps, json_array_size(json_object_get(trace, "expect")), "%s", where);
    function(where, trace, context);
    json_decref(trace);
}

void trace_file_each(const char *file, trace_function *function, void *context)
{
    char command[512], where[128];
    snprintf(command, sizeof(command), "gzip -dc '%s/%s.jsonl.gz'", CBM_TEST_TRACES, file);
    FILE *lines = popen(command, "r");
    cr_assert_not_null(lines);
    char *line = NULL;
    size_t size = 0;
    int count = 0;
    while (getline(&line, &size, lines) > 0) {
        snprintf(where, sizeof(where), "%s, trace %d", file, ++count);
        take(where, line, function, context);
    }
    free(line);
    cr_assert_eq(pclose(lines), 0);
    cr_assert_eq(count, TRACES_IN_A_FILE);
}
