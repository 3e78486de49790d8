/* Replies from msgpack. As strict as requests in what is there; what a newer or older broker adds or lacks is no fault. */
#include <stdlib.h>
#include <string.h>

#include "document.h"
#include "error.h"
#include "fault.h"
#include "reply_fields.h"
#include "sp.h"

static int no_memory(cbm_fault *fault)
{
    return cbm_fault_set(fault, CBM_PROTO_E_NOMEM, NULL, "%s", cbm_proto_error_sentence(CBM_PROTO_E_NOMEM));
}

static int missing(cbm_fault *fault, const char *key)
{
    return cbm_fault_set(fault, CBM_PROTO_E_PROTOCOL, key, "%s is missing", key);
}

/* Fields of a map that was checked already; those of `needed` must be there. */
static int read_rows(const cbm_field_row *rows, size_t count, const msgpack_object *map, void *to, uint64_t needed,
                     cbm_fault *fault)
{
    uint64_t seen;
    int error = cbm_fields_read(rows, count, map, to, &seen, "", fault);

    if (!error && needed & ~seen)
        error = missing(fault, rows[__builtin_ctzll(needed & ~seen)].name);
    return error;
}

static int read_differs(const msgpack_object *array, uint32_t *differs, cbm_fault *fault)
{
    if (array->type != MSGPACK_OBJECT_ARRAY)
        return cbm_fault_set(fault, CBM_PROTO_E_PROTOCOL, "differs", "differs must be an array of names");
    for (uint32_t i = 0; i < array->via.array.size; i++) {
        const msgpack_object *name = &array->via.array.ptr[i];
        int field;

        if (name->type != MSGPACK_OBJECT_STR)
            return cbm_fault_set(fault, CBM_PROTO_E_PROTOCOL, "differs", "differs must be an array of names");
        field = cbm_core_policy_find(name->via.str.ptr, name->via.str.size);
        if (field >= 0)
            *differs |= UINT32_C(1) << field;
    }
    return 0;
}

static int read_get(const msgpack_object *data, cbm_get_reply *get, cbm_fault *fault)
{
    const msgpack_object *differs = cbm_map_find(data, "differs");
    int error;

    get->entry = -1;
    error = cbm_status_read(data, &get->status, fault);
    get->policy_source = get->status.policy_source;
    if (!error)
        error = read_rows(cbm_get_rows, CBM_GET_FIELDS, data, get, 0, fault);
    if (!error && differs)
        error = read_differs(differs, &get->differs, fault);
    return error;
}

static int read_state(const msgpack_object *value, cbm_core_state *state, cbm_fault *fault)
{
    static const cbm_field_row row = {"state", CBM_TYPE_WORD, .maximum = CBM_CORE_STATES - 1, .word = cbm_state_word};

    return cbm_field_read(&row, value, state, "", fault);
}

static int read_result(const msgpack_object *map, cbm_report_result *result, cbm_fault *fault)
{
    const msgpack_object *state, *name;
    int error = cbm_map_check(map, "results", fault);

    if (error)
        return error;
    state = cbm_map_find(map, "state");
    name = cbm_map_find(map, "error");
    if (name && name->type == MSGPACK_OBJECT_STR) {
        result->error = cbm_proto_error_number(name->via.str.ptr, name->via.str.size);
        return 0;
    }
    return state ? read_state(state, &result->state, fault) : missing(fault, "state");
}

static int read_results(const msgpack_object *array, cbm_report_reply *report, cbm_fault *fault)
{
    size_t count = array->via.array.size;
    int error = 0;

    if (array->type != MSGPACK_OBJECT_ARRAY || count < 1 || count > CBM_REPORTS_MAX)
        return cbm_fault_set(fault, CBM_PROTO_E_PROTOCOL, "results", "results must be an array of 1 to %d maps",
                             CBM_REPORTS_MAX);
    report->results = calloc(count, sizeof(*report->results));
    if (!report->results)
        return no_memory(fault);
    report->result_count = count;
    for (size_t i = 0; i < count && !error; i++)
        error = read_result(&array->via.array.ptr[i], &report->results[i], fault);
    return error;
}

static int read_report(const msgpack_object *data, cbm_report_reply *report, cbm_fault *fault)
{
    static const cbm_field_row stored_row = {"stored", CBM_TYPE_BOOL, .offset = offsetof(cbm_report_reply, stored)};
    const msgpack_object *results = cbm_map_find(data, "results"), *state = cbm_map_find(data, "state");
    int error;

    report->stored = true;
    error = read_rows(&stored_row, 1, data, report, 0, fault);
    if (error)
        return error;
    if (results)
        return read_results(results, report, fault);
    return state ? read_state(state, &report->state, fault) : missing(fault, "state");
}

static int read_breakers(const msgpack_object *map, cbm_page_reply *page, cbm_fault *fault)
{
    size_t count = map->via.map.size;
    int error = cbm_map_check(map, "breakers", fault);

    if (error || count == 0)
        return error;
    page->statuses = calloc(count, sizeof(*page->statuses));
    if (!page->statuses)
        return no_memory(fault);
    page->count = count;
    for (size_t i = 0; i < count && !error; i++) {
        error = cbm_status_read(&map->via.map.ptr[i].val, &page->statuses[i], fault);
        if (!error && !cbm_str_equal(&map->via.map.ptr[i].key, page->statuses[i].name))
            error = cbm_fault_set(fault, CBM_PROTO_E_PROTOCOL, "name", "a state dict stands under another name");
    }
    return error;
}

static int read_next(const msgpack_object *root, cbm_page_reply *page, cbm_fault *fault)
{
    static const cbm_field_row row = {"next", CBM_TYPE_NAME, .size = sizeof(page->next)};
    const msgpack_object *next = cbm_map_find(root, "next");

    page->more = next != NULL;
    return next ? cbm_field_read(&row, next, page->next, "", fault) : 0;
}

static int read_user(const msgpack_object_kv *pair, cbm_user_usage *user, cbm_fault *fault)
{
    const msgpack_object_str *key = &pair->key.via.str;
    int error = cbm_map_check(&pair->val, "users", fault);

    if (error)
        return error;
    if (key->size == 0 || key->size > 20)
        return cbm_fault_set(fault, CBM_PROTO_E_PROTOCOL, "users", "users must be a map by uid");
    for (uint32_t i = 0; i < key->size; i++) {
        if (key->ptr[i] < '0' || key->ptr[i] > '9')
            return cbm_fault_set(fault, CBM_PROTO_E_PROTOCOL, "users", "users must be a map by uid");
        user->uid = user->uid * 10 + (uint64_t)(key->ptr[i] - '0');
    }
    return read_rows(cbm_user_rows, CBM_USER_FIELDS, &pair->val, user, 0, fault);
}

static int read_users(const msgpack_object *map, cbm_page_reply *page, cbm_fault *fault)
{
    int error = cbm_map_check(map, "users", fault);

    if (error)
        return error;
    if (map->via.map.size > CBM_USERS_MAX)
        return cbm_fault_set(fault, CBM_PROTO_E_PROTOCOL, "users", "users must be at most %d", CBM_USERS_MAX);
    page->users = calloc(map->via.map.size ? map->via.map.size : 1, sizeof(*page->users));
    if (!page->users)
        return no_memory(fault);
    for (; page->user_count < map->via.map.size && !error; page->user_count++)
        error = read_user(&map->via.map.ptr[page->user_count], &page->users[page->user_count], fault);
    return error;
}

static int read_user_limits(const msgpack_object *map, cbm_page_reply *page, cbm_fault *fault)
{
    int error = cbm_map_check(map, "user_limits", fault);

    page->has_user_limits = true;
    return error ? error : read_rows(cbm_user_limits_rows, CBM_USER_LIMITS_FIELDS, map, &page->user_limits, 0, fault);
}

static int read_store(const msgpack_object *data, cbm_page_reply *page, cbm_fault *fault)
{
    static const cbm_field_row rows[] = {
        {"store", CBM_TYPE_TEXT, .offset = offsetof(cbm_page_reply, store), .size = sizeof(page->store)},
        {"store_error", CBM_TYPE_TEXT, .offset = offsetof(cbm_page_reply, store_error),
         .size = sizeof(page->store_error)},
    };

    return read_rows(rows, sizeof(rows) / sizeof(*rows), data, page, 0, fault);
}

static int read_stats(const msgpack_object *data, cbm_page_reply *page, cbm_fault *fault)
{
    const msgpack_object *breakers = cbm_map_find(data, "breakers"), *users = cbm_map_find(data, "users");
    const msgpack_object *user_limits = cbm_map_find(data, "user_limits");
    int error = read_rows(cbm_stats_rows, CBM_STATS_FIELDS, data, &page->stats,
                          CBM_ALL_ROWS(CBM_STATS_MAX_RATE_LIMIT + 1), fault);

    if (!error)
        error = read_store(data, page, fault);
    if (!error && users)
        error = read_users(users, page, fault);
    if (!error && user_limits)
        error = read_user_limits(user_limits, page, fault);
    if (error)
        return error;
    return breakers ? read_breakers(breakers, page, fault) : missing(fault, "breakers");
}

static int read_limits(const msgpack_object *map, cbm_info_reply *info, cbm_fault *fault)
{
    const msgpack_object *scope;
    int error = cbm_map_check(map, "limits", fault);

    if (error)
        return error;
    scope = cbm_map_find(map, "rate_limit_scope");
    info->rate_limit_calls = scope && cbm_str_equal(scope, "calls");
    return read_rows(cbm_limits_rows, CBM_LIMITS_FIELDS, map, info, 0, fault);
}

static int read_reload(const msgpack_object *map, cbm_info_reply *info, cbm_fault *fault)
{
    int error = cbm_map_check(map, "reload", fault);

    info->has_reload = true;
    return error ? error : read_rows(cbm_reload_rows, CBM_RELOAD_FIELDS, map, info, 0, fault);
}

static int read_info(const msgpack_object *data, cbm_info_reply *info, cbm_fault *fault)
{
    static const cbm_field_row address_row = {"addresses", CBM_TYPE_TEXT, .size = sizeof(info->address)};
    const msgpack_object *limits = cbm_map_find(data, "limits"), *addresses = cbm_map_find(data, "addresses");
    const msgpack_object *reload = cbm_map_find(data, "reload");
    int error = read_rows(cbm_info_rows, CBM_INFO_FIELDS, data, info, 0, fault);

    if (!error && limits)
        error = read_limits(limits, info, fault);
    if (!error && addresses && addresses->type == MSGPACK_OBJECT_ARRAY && addresses->via.array.size > 0)
        error = cbm_field_read(&address_row, &addresses->via.array.ptr[0], info->address, "", fault);
    if (!error && reload)
        error = read_reload(reload, info, fault);
    return error;
}

static int read_removed(const msgpack_object *data, uint64_t *removed, cbm_fault *fault)
{
    static const cbm_field_row row = {"removed", CBM_TYPE_U64, .maximum = UINT64_MAX};

    return read_rows(&row, 1, data, removed, 1, fault);
}

static int read_reload_number(const msgpack_object *data, uint64_t *number, cbm_fault *fault)
{
    static const cbm_field_row row = {"reload", CBM_TYPE_U64, .maximum = UINT64_MAX};

    return read_rows(&row, 1, data, number, 1, fault);
}

static int read_data(const msgpack_object *root, const msgpack_object *data, cbm_reply *reply, cbm_fault *fault)
{
    int error;

    switch (reply->kind) {
    case CBM_REPLY_NONE:
    case CBM_REPLY_PONG: return 0;
    case CBM_REPLY_STATUS: return cbm_status_read(data, &reply->data.status, fault);
    case CBM_REPLY_GET: return read_get(data, &reply->data.get, fault);
    case CBM_REPLY_BEGIN:
        return read_rows(cbm_begin_rows, CBM_BEGIN_FIELDS, data, &reply->data.begin,
                         UINT64_C(1) << CBM_BEGIN_PERMIT | UINT64_C(1) << CBM_BEGIN_STATE, fault);
    case CBM_REPLY_REPORT: return read_report(data, &reply->data.report, fault);
    case CBM_REPLY_STATES:
        error = read_next(root, &reply->data.page, fault);
        return error ? error : read_breakers(data, &reply->data.page, fault);
    case CBM_REPLY_STATS:
        error = read_next(root, &reply->data.page, fault);
        return error ? error : read_stats(data, &reply->data.page, fault);
    case CBM_REPLY_REMOVED: return read_removed(data, &reply->data.removed, fault);
    case CBM_REPLY_RELOAD: return read_reload_number(data, &reply->data.reload, fault);
    case CBM_REPLY_ATTACH:
        return read_rows(cbm_attach_rows, CBM_ATTACH_FIELDS, data, &reply->data.attach, CBM_ALL_ROWS(CBM_ATTACH_FIELDS),
                         fault);
    case CBM_REPLY_INFO: return read_info(data, &reply->data.info, fault);
    }
    return cbm_fault_set(fault, CBM_PROTO_E_PROTOCOL, NULL, "there is no such kind of reply");
}

/* What an error reply says beside its error. All of it may be missing. */
static int read_failure(const msgpack_object *root, const msgpack_object *data, cbm_reply *reply, cbm_fault *fault)
{
    static const cbm_field_row field_row = {"field", CBM_TYPE_TEXT, .offset = offsetof(cbm_reply, field),
                                            .size = sizeof(reply->field)};
    static const cbm_field_row retry_row = {"retry_after_ms", CBM_TYPE_I64,
                                            .offset = offsetof(cbm_reply, retry_after_ms)};
    const msgpack_object *name = cbm_map_find(root, "error"), *retry;
    int error;

    if (!name || name->type != MSGPACK_OBJECT_STR)
        return missing(fault, "error");
    if (data) {
        error = read_rows(&field_row, 1, data, reply, 0, fault);
        if (!error)
            error = read_rows(&retry_row, 1, data, reply, 0, fault);
        if (error)
            return error;
        retry = cbm_map_find(data, "retry_after_ms");
        reply->has_retry_after = retry != NULL;
    }
    reply->error = cbm_proto_error_number(name->via.str.ptr, name->via.str.size);
    return 0;
}

static int read_reply(const msgpack_object *root, cbm_reply *reply, cbm_fault *fault)
{
    static const cbm_field_row message_row = {"message", CBM_TYPE_TEXT, .offset = offsetof(cbm_reply, message),
                                              .size = sizeof(reply->message)};
    const msgpack_object *success, *data;
    int error = cbm_map_check(root, NULL, fault);

    if (!error)
        error = read_rows(&message_row, 1, root, reply, 0, fault);
    if (error)
        return error;
    success = cbm_map_find(root, "success");
    if (!success || success->type != MSGPACK_OBJECT_BOOLEAN)
        return missing(fault, "success");
    data = cbm_map_find(root, "data");
    if (data) {
        error = cbm_map_check(data, "data", fault);
        if (error)
            return error;
    }
    if (!success->via.boolean)
        return read_failure(root, data, reply, fault);
    if (!data && reply->kind != CBM_REPLY_NONE)
        return missing(fault, "data");
    return read_data(root, data, reply, fault);
}

int cbm_reply_decode(const void *bytes, size_t size, cbm_reply_kind kind, cbm_reply *reply, cbm_fault *fault)
{
    cbm_document document;
    int error;

    *fault = (cbm_fault){0};
    *reply = (cbm_reply){.kind = kind};
    error = cbm_document_open(&document, bytes, size, CBM_REPLY_MAX, fault);
    if (!error) {
        error = read_reply(&document.root, reply, fault);
        cbm_document_close(&document);
    }
    if (error) {
        cbm_reply_deinit(reply);
        *reply = (cbm_reply){.kind = CBM_REPLY_NONE};
        /* To the side that asked, bytes that break the contract are the peer's fault, not its own. */
        if (error == CBM_PROTO_E_INVALID)
            fault->error = error = CBM_PROTO_E_PROTOCOL;
    } else if (reply->error) {
        reply->kind = CBM_REPLY_NONE;
    }
    return error;
}
