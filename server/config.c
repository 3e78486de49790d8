#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "config_access.h"
#include "config_lines.h"
#include "config_pattern.h"
#include "expects.h"
#include "request_fields.h"

#define VALUE_SHOWN 64 /* bytes of what was written, in messages */
#define PATH_SHOWN 160

/* A policy, and where in the file it stands. */
typedef struct config_section {
    cbm_config_pattern pattern; /* of [breaker] */
    cbm_core_policy_request policy;
    unsigned line;                                /* of the heading; 0: there is none */
    unsigned field_lines[CBM_CORE_POLICY_FIELDS]; /* 0: the field is not given */
} config_section;

struct cbm_config {
    config_section defaults;
    config_section *sections; /* names first, in the order of their bytes; then patterns, the most specific first */
    size_t count, names, capacity;
    cbm_options settings;
    cbm_access_rules *access; /* NULL: none, or taken */
};

/* ---- While it is read ------------------------------------------------------------------------------------------------ */

typedef enum section_kind {
    SECTION_NONE,
    SECTION_BROKER,
    SECTION_LIMITER,
    SECTION_DEFAULTS,
    SECTION_BREAKER,
    SECTION_QUOTAS,
    SECTION_ACCESS,
} section_kind;

typedef struct setting {
    section_kind kind;
    const char *name;
    cbm_option_key key;
} setting;

static const setting settings[] = {
    {SECTION_BROKER, "listen", CBM_OPTION_LISTEN},
    {SECTION_BROKER, "log_level", CBM_OPTION_LOG_LEVEL},
    {SECTION_BROKER, "max_breakers", CBM_OPTION_MAX_BREAKERS},
    {SECTION_BROKER, "socket_mode", CBM_OPTION_SOCKET_MODE},
    {SECTION_BROKER, "socket_group", CBM_OPTION_SOCKET_GROUP},
    {SECTION_BROKER, "admin_group", CBM_OPTION_ADMIN_GROUP},
    {SECTION_BROKER, "restrict_resets", CBM_OPTION_RESTRICT_RESETS},
    {SECTION_BROKER, "state_dir", CBM_OPTION_STATE_DIR},
    {SECTION_BROKER, "no_store", CBM_OPTION_NO_STORE},
    {SECTION_LIMITER, "rate_limit", CBM_OPTION_RATE_LIMIT},
    {SECTION_LIMITER, "rate_window_ms", CBM_OPTION_RATE_WINDOW},
    {SECTION_LIMITER, "rate_limit_scope", CBM_OPTION_RATE_SCOPE},
    {SECTION_QUOTAS, "max_clients", CBM_OPTION_MAX_CLIENTS},
    {SECTION_QUOTAS, "max_requests", CBM_OPTION_MAX_REQUESTS},
    {SECTION_QUOTAS, "max_breakers_per_user", CBM_OPTION_MAX_BREAKERS_PER_USER},
    {SECTION_QUOTAS, "max_permits_per_user", CBM_OPTION_MAX_PERMITS_PER_USER},
    {SECTION_QUOTAS, "max_pending_mib", CBM_OPTION_MAX_PENDING_MIB},
};
#define SETTINGS (sizeof settings / sizeof *settings)

typedef struct config_reading {
    cbm_config *config;
    section_kind kind;
    size_t patterns;
    unsigned broker_line, limiter_line, quotas_line; /* of their headings */
    unsigned setting_lines[SETTINGS];
} config_reading;

static config_section *section_under_way(const config_reading *reading)
{
    if (reading->kind == SECTION_DEFAULTS)
        return &reading->config->defaults;
    return reading->kind == SECTION_BREAKER ? &reading->config->sections[reading->config->count - 1] : NULL;
}

/* The line to blame for a field: where it stands, or the heading under which it is missing. */
static unsigned line_of(const config_section *section, int field)
{
    return section->field_lines[field] ? section->field_lines[field] : section->line;
}

/* A policy must make sense by itself: what breakers get of it must not depend on what clients ask for. */
static void end_section(cbm_config_lines *lines, const config_reading *reading)
{
    const config_section *section = section_under_way(reading);
    cbm_core_policy policy;
    int bad_field = -1;

    if (!section || cbm_core_policy_resolve(&section->policy, &policy, &bad_field) == 0 || bad_field < 0)
        return;
    cbm_config_refuse(lines, line_of(section, bad_field), "%s %s", cbm_core_policy_table()[bad_field].name,
                      cbm_policy_field_beside(bad_field));
}

/* ---- Headings --------------------------------------------------------------------------------------------------------- */

static bool grow(cbm_config *config)
{
    size_t capacity = config->capacity ? 2 * config->capacity : 16;
    config_section *more;

    if (config->count < config->capacity)
        return true;
    more = realloc(config->sections, capacity * sizeof *more);
    if (!more)
        return false;
    config->sections = more;
    config->capacity = capacity;
    return true;
}

static void begin_breaker(cbm_config_lines *lines, config_reading *reading, const char *pattern)
{
    cbm_config *config = reading->config;
    const char *why = "there is no memory for it";
    config_section added = {.line = lines->line};

    if (!grow(config) || !cbm_config_pattern_init(&added.pattern, pattern, &why)) {
        cbm_config_refuse(lines, lines->line, "\"%s\" is not taken: %s", pattern, why);
        return;
    }
    if (added.pattern.exact) {
        config->names++;
    } else if (++reading->patterns > CBM_CONFIG_GLOBS_MAX) {
        cbm_config_refuse(lines, lines->line, "this is one section with wildcards too many: there may be %d",
                          CBM_CONFIG_GLOBS_MAX);
        cbm_config_pattern_deinit(&added.pattern);
        return;
    }
    config->sections[config->count++] = added;
    reading->kind = SECTION_BREAKER;
}

static void begin_access(cbm_config_lines *lines, config_reading *reading, const char *pattern)
{
    cbm_config_access_begin(lines, &reading->config->access, pattern);
    reading->kind = SECTION_ACCESS;
}

/* [breaker "PATTERN"]: a backslash before a quotation mark stays, since it means the same in a pattern. */
static void pattern_heading(cbm_config_lines *lines, config_reading *reading, const char *rest, const char *kind,
                            void (*begin)(cbm_config_lines *lines, config_reading *reading, const char *pattern))
{
    char pattern[CBM_CONFIG_LINE_MAX + 1];
    const char *at = rest + strspn(rest, " \t");
    size_t size = 0;

    if (*at == '"') {
        for (at++; *at && *at != '"'; at++) {
            if (*at == '\\' && at[1])
                pattern[size++] = *at++;
            pattern[size++] = *at;
        }
        pattern[size] = '\0';
        if (*at == '"' && !at[1 + strspn(at + 1, " \t")]) {
            begin(lines, reading, pattern);
            return;
        }
    }
    cbm_config_refuse(lines, lines->line, "which breakers? A section is headed like [%s \"ha_*\"]", kind);
}

static bool is_kind(const char *text, size_t size, const char *kind)
{
    return size == strlen(kind) && memcmp(text, kind, size) == 0;
}

static void single_heading(cbm_config_lines *lines, config_reading *reading, section_kind kind, unsigned *line)
{
    if (*line)
        cbm_config_refuse(lines, lines->line, "this section stands in line %u already", *line);
    *line = lines->line;
    reading->kind = kind;
}

static void on_heading(cbm_config_lines *lines, void *context, const char *text)
{
    config_reading *reading = context;
    size_t size = strcspn(text, " \t\"");

    end_section(lines, reading);
    reading->kind = SECTION_NONE;
    if (strcmp(text, "broker") == 0)
        single_heading(lines, reading, SECTION_BROKER, &reading->broker_line);
    else if (strcmp(text, "limiter") == 0)
        single_heading(lines, reading, SECTION_LIMITER, &reading->limiter_line);
    else if (strcmp(text, "defaults") == 0)
        single_heading(lines, reading, SECTION_DEFAULTS, &reading->config->defaults.line);
    else if (strcmp(text, "quotas") == 0)
        single_heading(lines, reading, SECTION_QUOTAS, &reading->quotas_line);
    else if (is_kind(text, size, "breaker"))
        pattern_heading(lines, reading, text + size, "breaker", begin_breaker);
    else if (is_kind(text, size, "access"))
        pattern_heading(lines, reading, text + size, "access", begin_access);
    else
        cbm_config_refuse(lines, lines->line,
                          "there is no section [%.*s]: there are [broker], [limiter], [quotas], [defaults], "
                          "[breaker \"...\"] and [access \"...\"]",
                          VALUE_SHOWN, text);
}

/* ---- Keys ------------------------------------------------------------------------------------------------------------- */

static bool is_second(cbm_config_lines *lines, const char *key, unsigned *line)
{
    if (*line) {
        cbm_config_refuse(lines, lines->line, "%s stands in line %u already", key, *line);
        return true;
    }
    *line = lines->line;
    return false;
}

static void policy_key(cbm_config_lines *lines, config_section *section, const char *key, const char *value)
{
    int field = cbm_core_policy_find(key, strlen(key));
    char expects[128];

    if (field < 0) {
        cbm_config_refuse(lines, lines->line, "there is no policy field '%.*s'%s", VALUE_SHOWN, key,
                          strcmp(key, CBM_TIMEOUT_KEY) == 0 ? ": timeout_ms is, in milliseconds" : "");
    } else if (strcmp(key, "policy_version") == 0) {
        cbm_config_refuse(lines, lines->line,
                          "policy_version tells the policies of clients apart; a section wins over all of them");
    } else if (!is_second(lines, key, &section->field_lines[field]) &&
               cbm_core_policy_parse(&section->policy, field, value, strlen(value)) != 0) {
        cbm_policy_field_expects(field, expects, sizeof expects);
        cbm_config_refuse(lines, lines->line, "%s must be %s, not '%.*s'", key, expects, VALUE_SHOWN, value);
    }
}

/* Names those that there are. */
static void refuse_key(cbm_config_lines *lines, section_kind kind, const char *key)
{
    char names[256] = "";
    size_t size = 0;

    for (size_t i = 0; i < SETTINGS; i++)
        if (settings[i].kind == kind)
            size += (size_t)snprintf(names + size, sizeof names - size, "%s%s", size ? ", " : "", settings[i].name);
    cbm_config_refuse(lines, lines->line, "there is no key '%.*s' in this section: there are %s", VALUE_SHOWN, key,
                      names);
}

static void setting_key(cbm_config_lines *lines, config_reading *reading, const char *key, const char *value)
{
    char message[sizeof lines->why];

    for (size_t i = 0; i < SETTINGS; i++) {
        if (settings[i].kind != reading->kind || strcmp(settings[i].name, key) != 0)
            continue;
        if (!is_second(lines, key, &reading->setting_lines[i]) &&
            !cbm_options_set_as(&reading->config->settings, settings[i].key, key, value, message, sizeof message))
            cbm_config_refuse(lines, lines->line, "%s", message);
        return;
    }
    refuse_key(lines, reading->kind, key);
}

static void on_key(cbm_config_lines *lines, void *context, const char *key, const char *value)
{
    config_reading *reading = context;
    config_section *section = section_under_way(reading);

    if (section)
        policy_key(lines, section, key, value);
    else if (reading->kind == SECTION_ACCESS)
        cbm_config_access_key(lines, reading->config->access, key, value);
    else if (reading->kind == SECTION_NONE)
        cbm_config_refuse(lines, lines->line, "'%.*s' stands below no section", VALUE_SHOWN, key);
    else
        setting_key(lines, reading, key, value);
}

/* ---- When all of it is read ------------------------------------------------------------------------------------------- */

static int by_text(const void *a, const void *b)
{
    const config_section *first = a, *second = b;
    int order = strcmp(first->pattern.text, second->pattern.text);

    if (order == 0)
        order = first->pattern.exact - second->pattern.exact; /* the name "a*" is not the pattern a* */
    if (order == 0)
        order = first->line < second->line ? -1 : 1;
    return order;
}

static int by_specificity(const void *a, const void *b)
{
    const config_section *first = a, *second = b;
    int order = cbm_config_pattern_order(&first->pattern, &second->pattern);

    return order ? order : first->line < second->line ? -1 : 1;
}

static void sort(cbm_config_lines *lines, cbm_config *config)
{
    config_section *sections = config->sections;

    if (config->count == 0)
        return;
    qsort(sections, config->count, sizeof *sections, by_text);
    for (size_t i = 1; i < config->count; i++)
        if (sections[i].pattern.exact == sections[i - 1].pattern.exact &&
            strcmp(sections[i].pattern.text, sections[i - 1].pattern.text) == 0)
            cbm_config_refuse(lines, sections[i].line, "this section stands in line %u already", sections[i - 1].line);
    qsort(sections, config->count, sizeof *sections, by_specificity);
}

static void merge(cbm_core_policy_request *merged, const cbm_core_policy_request *over)
{
    for (size_t i = 0; i < CBM_CORE_POLICY_FIELDS; i++)
        if (over->given >> i & 1)
            memcpy((char *)&merged->values + i * sizeof(uint32_t), (const char *)&over->values + i * sizeof(uint32_t),
                   sizeof(uint32_t));
    merged->given |= over->given;
}

/* A section and [defaults], each sound by itself, may still not go together. */
static void check_with_defaults(cbm_config_lines *lines, const cbm_config *config)
{
    for (size_t i = 0; i < config->count; i++) {
        const config_section *section = &config->sections[i];
        cbm_core_policy_request merged = config->defaults.policy;
        cbm_core_policy policy;
        int bad_field = -1;

        merge(&merged, &section->policy);
        if (cbm_core_policy_resolve(&merged, &policy, &bad_field) != 0 && bad_field >= 0)
            cbm_config_refuse(lines, line_of(section, bad_field), "together with [defaults], %s %s",
                              cbm_core_policy_table()[bad_field].name, cbm_policy_field_beside(bad_field));
    }
}

cbm_config *cbm_config_parse(const char *name, const char *text, size_t size, char *message, size_t message_size)
{
    cbm_config *config = calloc(1, sizeof *config);
    config_reading reading = {.config = config};
    cbm_config_visitor visitor = {on_heading, on_key, &reading};
    cbm_config_lines lines;

    if (!config) {
        snprintf(message, message_size, "%s: there is no memory to read it", name);
        return NULL;
    }
    cbm_options_init(&config->settings);
    if (cbm_config_lines_read(&lines, text, size, &visitor)) {
        end_section(&lines, &reading);
        sort(&lines, config);
        check_with_defaults(&lines, config);
        cbm_config_access_end(&lines, config->access);
    }
    if (!lines.refused)
        return config;
    snprintf(message, message_size, "%s:%u: %s", name, lines.refused_line, lines.why);
    cbm_config_free(config);
    return NULL;
}

/* The end of a long path is what tells it from others. */
static const char *shown(const char *path)
{
    size_t length = strlen(path);

    return length > PATH_SHOWN ? path + length - PATH_SHOWN : path;
}

static char *read_all(int descriptor, size_t *size)
{
    char *text = malloc(CBM_CONFIG_SIZE_MAX + 1);
    ssize_t got = 1;

    *size = 0;
    while (text && got != 0 && *size <= CBM_CONFIG_SIZE_MAX) {
        got = read(descriptor, text + *size, CBM_CONFIG_SIZE_MAX + 1 - *size);
        if (got < 0 && errno != EINTR) {
            int error = errno;

            free(text);
            errno = error;
            return NULL;
        }
        *size += got > 0 ? (size_t)got : 0;
    }
    return text;
}

cbm_config *cbm_config_read(const char *path, char *message, size_t message_size)
{
    int descriptor = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    cbm_config *config = NULL;
    struct stat status;
    char *text = NULL;
    size_t size;

    if (descriptor < 0 || fstat(descriptor, &status) != 0) {
        snprintf(message, message_size, "%s: %s", shown(path), strerror(errno));
    } else if (!S_ISREG(status.st_mode)) { /* what else it is could keep the broker waiting */
        snprintf(message, message_size, "%s: this is no regular file", shown(path));
    } else if ((text = read_all(descriptor, &size)) == NULL) {
        snprintf(message, message_size, "%s: %s", shown(path), strerror(errno));
    } else if (size > CBM_CONFIG_SIZE_MAX) {
        snprintf(message, message_size, "%s: the file is larger than %d bytes", shown(path), CBM_CONFIG_SIZE_MAX);
    } else {
        config = cbm_config_parse(shown(path), text, size, message, message_size);
    }
    free(text);
    if (descriptor >= 0)
        close(descriptor);
    return config;
}

void cbm_config_free(cbm_config *config)
{
    if (!config)
        return;
    for (size_t i = 0; i < config->count; i++)
        cbm_config_pattern_deinit(&config->sections[i].pattern);
    cbm_access_rules_free(config->access);
    free(config->sections);
    free(config);
}

/* ---- What it says ----------------------------------------------------------------------------------------------------- */

const cbm_core_policy_request *cbm_config_defaults(const cbm_config *config)
{
    return &config->defaults.policy;
}

size_t cbm_config_sections(const cbm_config *config)
{
    return config->count;
}

static int compare_name(const void *name, const void *section)
{
    return strcmp(name, ((const config_section *)section)->pattern.text);
}

static const config_section *find(const cbm_config *config, const char *name)
{
    const config_section *found = NULL;

    if (config->names > 0)
        found = bsearch(name, config->sections, config->names, sizeof *config->sections, compare_name);
    for (size_t i = config->names; !found && i < config->count; i++)
        if (cbm_config_pattern_matches(&config->sections[i].pattern, name))
            found = &config->sections[i];
    return found;
}

bool cbm_config_policy(const cbm_config *config, const char *name, cbm_core_policy_request *request)
{
    const config_section *section = find(config, name);

    if (!section)
        return false;
    *request = section->policy;
    return true;
}

cbm_access_rules *cbm_config_take_access(cbm_config *config)
{
    cbm_access_rules *access = config->access;

    config->access = NULL;
    return access;
}

void cbm_config_apply(const cbm_config *config, cbm_options *options)
{
    cbm_options_fill(options, &config->settings);
}
