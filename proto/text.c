#include "text.h"

#include <jansson.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "error.h"
#include "expects.h"
#include "fault.h"
#include "hex.h"
#include "request_fields.h"
#include "sp.h"

#define DIGITS_MAX 15 /* of a number with a point: so many a double holds exactly */

typedef struct text_command {
    const char *text;
    size_t size;
    size_t at;
    const cbm_operation_row *operation;
    cbm_buffer pairs; /* keys and values, as msgpack */
    msgpack_packer packer;
    uint32_t pair_count;
    cbm_fault *fault;
} text_command;

/* A word or a quoted text, without its quotes and escapes. */
typedef struct text_token {
    const char *text;
    size_t length;
    size_t start;   /* where it stands in the command */
    json_t *quoted; /* owns the text; NULL: it points into the command */
} text_token;

bool cbm_text_is_command(const void *bytes, size_t size)
{
    uint8_t first = size > 0 ? *(const uint8_t *)bytes : 0;

    return first >= 0x20 && first < 0x7f;
}

static int __attribute__((format(printf, 4, 5)))
bad(text_command *command, size_t start, const char *field, const char *format, ...)
{
    char text[256];
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(text, sizeof(text), format, arguments);
    va_end(arguments);
    return cbm_fault_set(command->fault, CBM_PROTO_E_INVALID, field, "column %zu: %s", start + 1, text);
}

static bool at_space(const text_command *command)
{
    return command->text[command->at] == ' ' || command->text[command->at] == '\t';
}

static void skip_spaces(text_command *command)
{
    while (command->at < command->size && at_space(command))
        command->at++;
}

static text_token read_word(text_command *command)
{
    text_token token = {.text = command->text + command->at, .start = command->at};

    while (command->at < command->size && !at_space(command))
        command->at++;
    token.length = command->at - token.start;
    return token;
}

/* The four digits behind a backslash and u; -1: they are none. */
static int32_t code_unit(const char *at, const char *end)
{
    int32_t unit = 0;

    if (end - at < 4)
        return -1;
    for (int i = 0; i < 4; i++) {
        int digit = cbm_hex_digit(at[i]);

        if (digit < 0)
            return -1;
        unit = unit << 4 | digit;
    }
    return unit;
}

/* Behind the backslash: moves behind the escape. */
static bool skip_escape(const char **at, const char *end)
{
    int32_t unit, second;

    if (*at == end)
        return false;
    if (**at != 'u')
        return strchr("\"\\/bfnrt", *(*at)++) != NULL;
    unit = code_unit(*at + 1, end);
    *at += 5;
    if (unit < 0xd800 || unit > 0xdfff)
        return unit > 0;
    if (unit > 0xdbff || end - *at < 6 || (*at)[0] != '\\' || (*at)[1] != 'u')
        return false;
    second = code_unit(*at + 2, end);
    *at += 6;
    return second >= 0xdc00 && second <= 0xdfff;
}

/* What stands between the quotes. jansson does not tell a mistake from a lack of memory; this needs none. */
static bool is_json_string(const char *at, size_t size)
{
    const char *end = at + size;

    if (!cbm_core_text_valid(at, size))
        return false;
    while (at < end) {
        char byte = *at++;

        if ((unsigned char)byte < 0x20 || (byte == '\\' && !skip_escape(&at, end)))
            return false;
    }
    return true;
}

/* A JSON string: its end is found here, what stands in it is jansson's to read. */
static int read_quoted(text_command *command, text_token *token)
{
    size_t start = command->at++;
    json_error_t error;

    while (command->at < command->size && command->text[command->at] != '"')
        command->at += command->text[command->at] == '\\' ? 2 : 1;
    if (command->at >= command->size)
        return bad(command, start, NULL, "the quoted text has no end");
    command->at++;
    if (command->at < command->size && !at_space(command))
        return bad(command, command->at, NULL, "a space must follow the quoted text");
    token->quoted = json_loadb(command->text + start, command->at - start, JSON_DECODE_ANY, &error);
    if (!token->quoted && is_json_string(command->text + start + 1, command->at - start - 2))
        return cbm_fault_set(command->fault, CBM_PROTO_E_NOMEM, NULL, "%s",
                             cbm_proto_error_sentence(CBM_PROTO_E_NOMEM));
    if (!token->quoted)
        return bad(command, start, NULL, "the quoted text is not a JSON string");
    token->text = json_string_value(token->quoted);
    token->length = json_string_length(token->quoted);
    token->start = start;
    return 0;
}

static int read_token(text_command *command, text_token *token)
{
    *token = (struct text_token){0};
    if (command->at < command->size && command->text[command->at] == '"')
        return read_quoted(command, token);
    *token = read_word(command);
    return 0;
}

/* Bytes of a field's name when `name=` stands here; else 0. A word like http://host/?a=b has an = too but is no field. */
static size_t field_name_length(const text_command *command)
{
    size_t at = command->at;

    while (at < command->size && ((command->text[at] >= 'a' && command->text[at] <= 'z') ||
                                  (command->text[at] >= '0' && command->text[at] <= '9') || command->text[at] == '_'))
        at++;
    return at < command->size && command->text[at] == '=' ? at - command->at : 0;
}

typedef struct text_number {
    bool negative;
    uint64_t digits; /* without the point */
    int places;      /* digits behind it */
} text_number;

static bool parse_number(const text_token *token, text_number *number)
{
    bool point = false;
    size_t i = 0, count = 0;

    *number = (struct text_number){0};
    if (token->length > 0 && token->text[0] == '-') {
        number->negative = true;
        i++;
    }
    for (; i < token->length; i++) {
        char c = token->text[i];

        if (c == '.' && !point && count > 0) {
            point = true;
            continue;
        }
        if (c < '0' || c > '9' || number->digits > (UINT64_MAX - (uint64_t)(c - '0')) / 10)
            return false;
        number->digits = number->digits * 10 + (uint64_t)(c - '0');
        number->places += point;
        count += number->digits > 0 || count == 0;
    }
    if (point && (number->places == 0 || number->places > DIGITS_MAX || count > DIGITS_MAX + 1))
        return false;
    return count > 0;
}

static int refuse_value(text_command *command, const text_token *token, const char *field, const char *expects)
{
    char shown[CBM_SHOWN_MAX];

    return bad(command, token->start, field, "%s must be %s, not %s", field, expects,
               cbm_text_shown(token->text, token->length, shown));
}

static int write_integer(text_command *command, const text_token *token, const char *field)
{
    text_number number;

    if (!parse_number(token, &number) || number.places > 0 || (number.negative && number.digits > INT64_MAX))
        return refuse_value(command, token, field, "an integer");
    if (number.negative)
        msgpack_pack_int64(&command->packer, -(int64_t)number.digits);
    else
        msgpack_pack_uint64(&command->packer, number.digits);
    return 0;
}

static int write_number(text_command *command, const text_token *token, const char *field)
{
    text_number number;
    double scale = 1, value;

    if (!parse_number(token, &number))
        return refuse_value(command, token, field, "a number");
    for (int i = 0; i < number.places; i++)
        scale *= 10;
    /* Both are exact, so the quotient is the double nearest to what was written; and no locale has a say in it. */
    value = (double)number.digits / scale;
    cbm_pack_number(&command->packer, number.negative ? -value : value);
    return 0;
}

static int write_hex(text_command *command, const text_token *token, const char *field)
{
    msgpack_pack_bin(&command->packer, token->length / 2);
    if (token->length % 2 != 0)
        return refuse_value(command, token, field, "hex, two digits a byte");
    for (size_t i = 0; i < token->length; i += 2) {
        int high = cbm_hex_digit(token->text[i]), low = cbm_hex_digit(token->text[i + 1]);
        char byte;

        if (high < 0 || low < 0)
            return refuse_value(command, token, field, "hex, two digits a byte");
        byte = (char)(high << 4 | low);
        msgpack_pack_bin_body(&command->packer, &byte, 1);
    }
    return 0;
}

static int write_bool(text_command *command, const text_token *token, const char *field)
{
    if (token->length == 4 && memcmp(token->text, "true", 4) == 0)
        msgpack_pack_true(&command->packer);
    else if (token->length == 5 && memcmp(token->text, "false", 5) == 0)
        msgpack_pack_false(&command->packer);
    else
        return refuse_value(command, token, field, "true or false");
    return 0;
}

static int write_text(text_command *command, const text_token *token)
{
    msgpack_pack_str_with_body(&command->packer, token->text, token->length);
    return 0;
}

static int write_typed(text_command *command, cbm_field_type type, const text_token *token, const char *field)
{
    switch (type) {
    case CBM_TYPE_NAME:
    case CBM_TYPE_GLOB:
    case CBM_TYPE_TEXT:
    case CBM_TYPE_WORD: return write_text(command, token);
    case CBM_TYPE_BOOL: return write_bool(command, token, field);
    case CBM_TYPE_U32:
    case CBM_TYPE_U64:
    case CBM_TYPE_I64:
    case CBM_TYPE_MS_UP:
    case CBM_TYPE_MS_DOWN: return write_integer(command, token, field);
    case CBM_TYPE_NUMBER:
    case CBM_TYPE_SECONDS:
    case CBM_TYPE_DURATION: return write_number(command, token, field);
    case CBM_TYPE_BIN:
    case CBM_TYPE_BIN_UPTO: return write_hex(command, token, field);
    }
    return write_text(command, token);
}

/* The type of a field that the operation takes and its name in the tables. False: it takes no such field. */
static bool find_field(const cbm_operation_row *operation, const char *name, size_t length, cbm_field_type *type,
                       const char **found)
{
    static const cbm_field_type policy_types[] = {
        [CBM_CORE_FIELD_UINT] = CBM_TYPE_U32,
        [CBM_CORE_FIELD_NUMBER] = CBM_TYPE_NUMBER,
        [CBM_CORE_FIELD_WORD] = CBM_TYPE_WORD,
    };
    uint32_t takes = operation->takes | CBM_FIELD(CORRELATION_ID);
    int field = cbm_field_find(cbm_request_rows, CBM_REQUEST_NONE, name, length, 0);

    if (field >= 0 && takes & UINT32_C(1) << field) {
        *type = cbm_request_rows[field].type;
        *found = cbm_request_rows[field].name;
        return true;
    }
    if (takes & CBM_FIELD(REPORT) &&
        (field = cbm_field_find(cbm_report_rows, CBM_REPORT_FIELDS, name, length, 0)) >= 0) {
        *type = cbm_report_rows[field].type;
        *found = cbm_report_rows[field].name;
        return true;
    }
    if (!(takes & CBM_FIELD(POLICY)))
        return false;
    field = cbm_core_policy_find(name, length);
    if (field >= 0) {
        *type = policy_types[cbm_core_policy_table()[field].kind];
        *found = cbm_core_policy_table()[field].name;
        return true;
    }
    *type = CBM_TYPE_NUMBER;
    *found = CBM_TIMEOUT_KEY;
    return length == strlen(CBM_TIMEOUT_KEY) && memcmp(name, CBM_TIMEOUT_KEY, length) == 0;
}

/* `name=value`, or a bare word when name_length is 0. */
static int read_argument(text_command *command)
{
    const char *name = command->text + command->at, *field;
    size_t start = command->at, length = field_name_length(command);
    char unknown[32];
    cbm_field_type type;
    text_token value;
    int error;

    if (length > 0) {
        command->at += length + 1;
    } else {
        if (command->operation->positional == CBM_REQUEST_NONE)
            return bad(command, start, NULL, "%s takes fields only, as field=value", command->operation->name);
        if (command->pair_count > 0)
            return bad(command, start, NULL, "field=value was expected");
        name = cbm_request_rows[command->operation->positional].name;
        length = strlen(name);
    }
    if (!find_field(command->operation, name, length, &type, &field)) {
        snprintf(unknown, sizeof(unknown), "%.*s", length > sizeof(unknown) ? (int)sizeof(unknown) : (int)length, name);
        return bad(command, start, unknown, "%s takes no field \"%s\"", command->operation->name, unknown);
    }
    error = read_token(command, &value);
    if (!error) {
        cbm_pack_text(&command->packer, field);
        error = write_typed(command, type, &value, field);
        command->pair_count++;
    }
    json_decref(value.quoted);
    return error;
}

static int read_operation(text_command *command)
{
    text_token word = read_word(command);
    int found = cbm_operation_find(word.text, word.length);

    if (found < 0)
        return cbm_fault_set(command->fault, CBM_PROTO_E_UNKNOWN_OP, "op", "column %zu: there is no operation \"%.*s\"",
                             word.start + 1, word.length > 64 ? 64 : (int)word.length, word.text);
    command->operation = &cbm_operations[found];
    return 0;
}

static int read_command(text_command *command)
{
    int error;

    skip_spaces(command);
    error = read_operation(command);
    for (skip_spaces(command); !error && command->at < command->size; skip_spaces(command))
        error = read_argument(command);
    return error;
}

/* What nngcat, a shell or a C program leave at the end of a line. */
static size_t without_end(const char *text, size_t size)
{
    while (size > 0 && (text[size - 1] == '\n' || text[size - 1] == '\r' || text[size - 1] == '\0'))
        size--;
    return size;
}

int cbm_text_to_request(const void *bytes, size_t size, cbm_buffer *request, cbm_fault *fault)
{
    text_command command = {.text = bytes, .size = without_end(bytes, size), .fault = fault};
    msgpack_packer packer;
    size_t start = request->size;
    int error;

    *fault = (cbm_fault){0};
    if (size > CBM_REQUEST_MAX)
        return cbm_fault_set(fault, CBM_PROTO_E_TOO_LARGE, NULL, "the message has %zu bytes, more than the %zu allowed",
                             size, CBM_REQUEST_MAX);
    cbm_buffer_init(&command.pairs, CBM_REQUEST_MAX);
    cbm_packer_init(&command.packer, &command.pairs);
    error = read_command(&command);
    if (!error)
        error = command.pairs.error;
    if (!error) {
        cbm_packer_init(&packer, request);
        msgpack_pack_map(&packer, 1 + command.pair_count);
        cbm_pack_text(&packer, "op");
        cbm_pack_text(&packer, command.operation->name);
        cbm_buffer_append(request, command.pairs.data, command.pairs.size);
        error = cbm_buffer_settle(request, start, CBM_REQUEST_MAX);
    }
    cbm_buffer_deinit(&command.pairs);
    if (error && !fault->error)
        cbm_fault_set(fault, error, NULL, "%s", cbm_proto_error_sentence(error));
    return error;
}
