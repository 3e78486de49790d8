#include "permits.h"

#include "cbm_core.h"
#include "table.h"

#include <stdlib.h>

#define FIRST_CAPACITY 16

struct core_holder {
    uint64_t id;
    uint32_t first, last;
    UT_hash_handle hh;
};

void core_permits_init(core_permits *permits)
{
    *permits = (core_permits){.first_unused = CORE_NO_PERMIT};
}

void core_permits_deinit(core_permits *permits)
{
    core_holder *holder;
    core_holder *next;

    HASH_ITER(hh, permits->holders, holder, next)
    {
        HASH_DELETE(hh, permits->holders, holder);
        free(holder);
    }
    free(permits->records);
    core_permits_init(permits);
}

void core_permit_list_init(core_permit_list *list)
{
    *list = (core_permit_list){.first = CORE_NO_PERMIT, .last = CORE_NO_PERMIT};
}

static core_holder *find_holder(const core_permits *permits, uint64_t id)
{
    core_holder *holder;

    HASH_FIND(hh, permits->holders, &id, sizeof(id), holder);
    return holder;
}

static core_holder *find_or_add_holder(core_permits *permits, uint64_t id)
{
    core_holder *holder = find_holder(permits, id);

    if (holder != NULL) {
        return holder;
    }
    holder = malloc(sizeof(*holder));
    if (holder == NULL) {
        return NULL;
    }
    *holder = (core_holder){.id = id, .first = CORE_NO_PERMIT, .last = CORE_NO_PERMIT};
    HASH_ADD(hh, permits->holders, id, sizeof(holder->id), holder);
    if (holder->hh.tbl == NULL) {
        free(holder);
        return NULL;
    }
    return holder;
}

static bool grow(core_permits *permits)
{
    uint32_t capacity = permits->capacity == 0 ? FIRST_CAPACITY : permits->capacity * 2;
    core_permit_record *records;

    if (capacity < permits->capacity) {
        return false;
    }
    records = realloc(permits->records, capacity * sizeof(*records));
    if (records == NULL) {
        return false;
    }
    for (uint32_t i = capacity; i-- > permits->capacity;) {
        records[i] = (core_permit_record){.holder_next = permits->first_unused};
        permits->first_unused = i;
    }
    permits->records = records;
    permits->capacity = capacity;
    return true;
}

/* Behind all that do not end later. New leases mostly end last, so the search from the back is short. */
static void link_by_lease(core_permits *permits, core_permit_list *list, uint32_t index)
{
    core_permit_record *records = permits->records;
    uint32_t before = list->last;

    while (before != CORE_NO_PERMIT && records[before].lease_end_ns > records[index].lease_end_ns) {
        before = records[before].earlier;
    }
    records[index].earlier = before;
    records[index].later = before == CORE_NO_PERMIT ? list->first : records[before].later;
    *(before == CORE_NO_PERMIT ? &list->first : &records[before].later) = index;
    *(records[index].later == CORE_NO_PERMIT ? &list->last : &records[records[index].later].earlier) = index;
    list->count++;
}

static void link_to_holder(core_permits *permits, core_holder *holder, uint32_t index)
{
    core_permit_record *records = permits->records;

    records[index].holder_previous = holder->last;
    records[index].holder_next = CORE_NO_PERMIT;
    *(holder->last == CORE_NO_PERMIT ? &holder->first : &records[holder->last].holder_next) = index;
    holder->last = index;
}

static bool charge(const core_permits *permits, uint64_t account, int change)
{
    return permits->charge == NULL || permits->charge(permits->charge_context, account, CBM_CORE_CHARGE_PERMIT, change);
}

int core_permits_give(core_permits *permits, core_permit_list *list, struct core_breaker *breaker, uint64_t holder_id,
                      int64_t lease_end_ns, uint64_t *id)
{
    core_holder *holder = NULL;
    core_permit_record *record;
    uint32_t index;

    if (permits->first_unused == CORE_NO_PERMIT && !grow(permits)) {
        return CBM_CORE_E_NOMEM;
    }
    if (!charge(permits, permits->account, 1)) {
        return CBM_CORE_E_FULL;
    }
    if (holder_id != 0 && (holder = find_or_add_holder(permits, holder_id)) == NULL) {
        charge(permits, permits->account, -1);
        return CBM_CORE_E_NOMEM;
    }
    index = permits->first_unused;
    record = &permits->records[index];
    permits->first_unused = record->holder_next;
    if (++permits->serial == 0) {
        permits->serial = 1; /* no id is 0, which stands for a permit without a holder */
    }
    *record = (core_permit_record){
        .id = (uint64_t)permits->serial << 32 | index,
        .holder = holder,
        .lease_end_ns = lease_end_ns,
        .account = permits->account,
        .breaker = breaker,
        .holder_previous = CORE_NO_PERMIT,
        .holder_next = CORE_NO_PERMIT,
    };
    link_by_lease(permits, list, index);
    if (holder != NULL) {
        link_to_holder(permits, holder, index);
    }
    *id = record->id;
    return CBM_CORE_OK;
}

uint32_t core_permits_find(const core_permits *permits, const struct core_breaker *breaker, uint64_t id)
{
    uint32_t index = (uint32_t)id;

    if (id == 0 || index >= permits->capacity || permits->records[index].id != id ||
        permits->records[index].breaker != breaker) {
        return CORE_NO_PERMIT;
    }
    return index;
}

static void unlink_from_holder(core_permits *permits, uint32_t index)
{
    core_permit_record *records = permits->records;
    core_holder *holder = records[index].holder;
    uint32_t previous = records[index].holder_previous;
    uint32_t next = records[index].holder_next;

    *(previous == CORE_NO_PERMIT ? &holder->first : &records[previous].holder_next) = next;
    *(next == CORE_NO_PERMIT ? &holder->last : &records[next].holder_previous) = previous;
    if (holder->first == CORE_NO_PERMIT) {
        HASH_DELETE(hh, permits->holders, holder);
        free(holder);
    }
}

void core_permits_take_back(core_permits *permits, core_permit_list *list, uint32_t index)
{
    core_permit_record *records = permits->records;
    uint32_t earlier = records[index].earlier;
    uint32_t later = records[index].later;

    *(earlier == CORE_NO_PERMIT ? &list->first : &records[earlier].later) = later;
    *(later == CORE_NO_PERMIT ? &list->last : &records[later].earlier) = earlier;
    list->count--;
    if (records[index].holder != NULL) {
        unlink_from_holder(permits, index);
    }
    charge(permits, records[index].account, -1);
    records[index] = (core_permit_record){.holder_next = permits->first_unused};
    permits->first_unused = index;
}

void core_permits_take_back_all(core_permits *permits, core_permit_list *list)
{
    while (list->first != CORE_NO_PERMIT) {
        core_permits_take_back(permits, list, list->first);
    }
}

int64_t core_permits_first_end(const core_permits *permits, const core_permit_list *list)
{
    return list->first == CORE_NO_PERMIT ? CBM_CORE_NEVER_NS : permits->records[list->first].lease_end_ns;
}

uint32_t core_permits_of_holder(const core_permits *permits, uint64_t holder_id)
{
    core_holder *holder = find_holder(permits, holder_id);

    return holder == NULL ? CORE_NO_PERMIT : holder->first;
}
