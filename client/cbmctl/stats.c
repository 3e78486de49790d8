/* cbmctl stats: the manager's figures, what its store does, what its users use, and the breakers. */
#include <pwd.h>
#include <stdlib.h>
#include <string.h>

#include "broker.h"
#include "commands.h"
#include "exit_codes.h"
#include "output.h"
#include "say.h"

/* ---- the store ----------------------------------------------------------------------------------------------------- */

static void add_store(text_table *table, const json_t *stats)
{
    const char *store = json_string_value(json_object_get(stats, "store"));
    const char *cause = json_string_value(json_object_get(stats, "store_error"));
    if (store == NULL)
        return;
    table_cell_add(table, "", "store");
    if (strcmp(store, "failing") == 0)
        table_cell_add(table, OUTPUT_COLOR_BAD, "FAILING: %s", cause != NULL ? cause : "unknown");
    else if (strcmp(store, "off") == 0)
        table_cell_add(table, "", "off: nothing outlives the broker");
    else
        table_cell_add(table, "", "%s", store);
}

/* On stderr too, for whoever looks at a part of the output only. */
static void warn_of_store(const json_t *stats)
{
    const char *store = json_string_value(json_object_get(stats, "store"));
    if (store != NULL && strcmp(store, "failing") == 0)
        say("the broker's store is failing: what happens now does not outlive the broker");
}

static void output_manager(json_t *stats, const cli_options *options)
{
    static const char *const apart[] = {"store", "store_error", "users", "user_limits", "breakers"};
    json_t *figures = json_copy(stats);
    text_table table;
    for (size_t i = 0; i < sizeof(apart) / sizeof(apart[0]); i++)
        json_object_del(figures, apart[i]);
    table_init(&table, output_member_columns, OUTPUT_MEMBER_COLUMNS);
    output_members(&table, figures);
    add_store(&table, stats);
    output_table(&table, false, options);
    json_decref(figures);
}

/* ---- the users ----------------------------------------------------------------------------------------------------- */

static void bytes_format(json_int_t bytes, char *text, size_t size)
{
    if (bytes % (1 << 20) == 0 && bytes > 0)
        snprintf(text, size, "%lld MiB", (long long)(bytes >> 20));
    else if (bytes >= 1 << 10)
        snprintf(text, size, "%lld KiB", (long long)(bytes >> 10));
    else
        snprintf(text, size, "%lld", (long long)bytes);
}

static void amount_format(const json_t *amount, bool bytes, char *text, size_t size)
{
    if (bytes)
        bytes_format(json_integer_value(amount), text, size);
    else
        snprintf(text, size, "%lld", (long long)json_integer_value(amount));
}

/* "3/4096"; without a limit, or from a broker that does not tell it, "3". */
static void add_usage(text_table *table, const json_t *usage, const json_t *limits, const char *key)
{
    bool bytes = strstr(key, "_bytes") != NULL;
    const json_t *used = json_object_get(usage, key), *limit = json_object_get(limits, key);
    char used_text[32], limit_text[32];
    amount_format(used, bytes, used_text, sizeof(used_text));
    amount_format(limit, bytes, limit_text, sizeof(limit_text));
    if (json_integer_value(limit) > 0)
        table_cell_add(table, json_integer_value(used) >= json_integer_value(limit) ? OUTPUT_COLOR_BAD : "", "%s/%s",
                       used_text, limit_text);
    else
        table_cell_add(table, "", "%s", used_text);
}

static void add_user(text_table *table, const char *uid)
{
    const struct passwd *user = getpwuid((uid_t)strtoul(uid, NULL, 10));
    table_cell_add(table, "", "%s", user != NULL ? user->pw_name : uid);
}

static void output_users(const json_t *stats, const cli_options *options)
{
    static const table_column columns[] = {
        {"USER"},          {"CONNECTIONS", true},  {"BREAKERS", true},      {"PERMITS", true},
        {"LEDGERS", true}, {"LEDGER BYTES", true}, {"PENDING BYTES", true}, {"REQUESTS", true},
        {"PACED", true},   {"REFUSED", true}};
    static const char *const used[] = {"connections",  "breakers",      "permits",  "ledgers",
                                       "ledger_bytes", "pending_bytes", "requests", "paced"};
    const json_t *limits = json_object_get(stats, "user_limits");
    const char *uid;
    json_t *usage;
    text_table table;
    table_init(&table, columns, sizeof(columns) / sizeof(columns[0]));
    json_object_foreach(json_object_get(stats, "users"), uid, usage)
    {
        json_int_t refused = json_integer_value(json_object_get(usage, "refused"));
        add_user(&table, uid);
        for (size_t i = 0; i < sizeof(used) / sizeof(used[0]); i++)
            add_usage(&table, usage, limits, used[i]);
        table_cell_add(&table, refused > 0 ? OUTPUT_COLOR_BAD : "", "%lld", (long long)refused);
    }
    output_table(&table, true, options);
}

/* ---- the command --------------------------------------------------------------------------------------------------- */

static void output_stats(json_t *stats, const cli_options *options)
{
    const json_t *breakers = json_object_get(stats, "breakers");
    warn_of_store(stats);
    output_manager(stats, options);
    if (json_object_size(json_object_get(stats, "users")) > 0) {
        fputc('\n', stdout);
        output_users(stats, options);
    }
    if (json_object_size(breakers) > 0) {
        fputc('\n', stdout);
        output_states(breakers, options);
    }
}

int command_stats(const cli_command *command, cli_options *options, int argc, char **argv)
{
    cli_spec spec = {.more = "USER: what each user uses of the broker / may use (administrators create breakers and "
                             "hold permits beyond it). REQUESTS, PACED (a connection was not read for a while) and "
                             "REFUSED count since the broker knows the user. Who is no administrator sees itself."};
    cli_arguments arguments;
    arguments_parse(command, &spec, options, argc, argv, &arguments);

    cbm_client *client = NULL;
    json_t *reply = NULL;
    int error = broker_open(options, CBM_FAIL_OPEN, &client);
    int exit_code = exit_code_of(error);
    if (error != 0)
        return exit_code;
    error = broker_stats(client, options, &reply);
    if (error != 0)
        exit_code = broker_failed(client, options, error, reply, NULL);
    else if (options->json)
        output_json(reply);
    else
        output_stats(broker_data(reply), options);
    json_decref(reply);
    cbm_close(client);
    return exit_code;
}
