#include "command_text.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdlib.h>

void command_text_init(command_text *text, const char *operation)
{
    *text = (command_text){0};
    text->stream = open_memstream(&text->bytes, &text->size);
    if (text->stream != NULL)
        fputs(operation, text->stream);
}

void command_text_deinit(command_text *text)
{
    if (text->stream != NULL)
        fclose(text->stream);
    free(text->bytes);
    *text = (command_text){0};
}

void command_text_string(command_text *text, const char *field, const char *value)
{
    if (value == NULL || text->stream == NULL)
        return;
    json_t *string = json_string(value);
    char *quoted = string != NULL ? json_dumps(string, JSON_ENCODE_ANY) : NULL;
    json_decref(string);
    if (quoted == NULL) {
        text->bad_field = field;
        return;
    }
    fprintf(text->stream, " %s=%s", field, quoted);
    free(quoted);
}

void command_text_number(command_text *text, const char *field, uint64_t value)
{
    if (text->stream != NULL)
        fprintf(text->stream, " %s=%" PRIu64, field, value);
}

void command_text_policy(command_text *text, const policy_options *policy)
{
    const cbm_core_policy_field *table = cbm_core_policy_table();
    char value[POLICY_TEXT_MAX];
    for (int field = 0; text->stream != NULL && field < CBM_CORE_POLICY_FIELDS; field++) {
        if ((policy->request.given & (UINT32_C(1) << field)) == 0)
            continue;
        policy_value_text(&table[field], cbm_core_policy_value(&policy->request.values, field), value);
        fprintf(text->stream, " %s=%s", table[field].name, value);
    }
}

const char *command_text_finish(command_text *text)
{
    if (text->stream == NULL)
        return NULL;
    bool written = fclose(text->stream) == 0;
    text->stream = NULL;
    return written && text->bad_field == NULL ? text->bytes : NULL;
}
