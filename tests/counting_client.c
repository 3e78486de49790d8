#include "counting_client.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <unistd.h>

#include "publisher.h"

static void count_ended(void *context, uint64_t holder)
{
    (void)holder;
    if (context)
        ++*(int *)context;
}

void counting_listen(cbm_engine *engine, int *ended)
{
    cbm_engine_on_ledger_ended(engine, count_ended, ended);
}

static void *map(int descriptor, size_t size, int protection)
{
    void *mapped = mmap(NULL, size, protection, MAP_SHARED, descriptor, 0);

    cr_assert_neq(mapped, MAP_FAILED);
    return mapped;
}

int counting_client_attach(counting_client *client)
{
    cbm_ledger_owner owner = {client->caller.uid, client->caller.pid, client->caller.connection};
    cbm_ledger *page = map(client->descriptor, CBM_LEDGER_SIZE, PROT_READ);
    int error = cbm_engine_ledger_attach(client->engine, page, &owner, &client->holder);

    if (error)
        munmap(page, CBM_LEDGER_SIZE);
    return error;
}

static const cbm_board *map_board(cbm_engine *engine)
{
    const struct cbm_publisher *publisher = cbm_engine_publisher(engine);

    cr_assert_not_null(publisher);
    return map(cbm_publisher_descriptor(publisher), cbm_publisher_size(publisher), PROT_READ);
}

static void unmap_board(const counting_client *client)
{
    munmap((void *)client->board, cbm_publisher_size(cbm_engine_publisher(client->engine)));
}

counting_client *counting_client_new(cbm_engine *engine, int64_t pid)
{
    counting_client *client = calloc(1, sizeof *client);
    uint8_t id[CBM_ID_SIZE];

    client->engine = engine;
    client->caller = (cbm_caller){.holder = (uint64_t)pid,
                                  .connection = (uint64_t)pid,
                                  .uid = 1000,
                                  .pid = pid,
                                  .admin = true,
                                  .correlation_id = ""};
    client->descriptor = memfd_create("ledger", MFD_CLOEXEC);
    cr_assert_eq(ftruncate(client->descriptor, CBM_LEDGER_SIZE), 0);
    client->ledger = map(client->descriptor, CBM_LEDGER_SIZE, PROT_READ | PROT_WRITE);
    client->board = map_board(engine);
    cr_assert_eq(getrandom(id, sizeof id, 0), sizeof id);
    cbm_ledger_init(client->ledger, id);
    cr_assert_eq(counting_client_attach(client), 0);
    return client;
}

void counting_client_move(counting_client *client, cbm_engine *engine)
{
    unmap_board(client);
    client->engine = engine;
    client->board = map_board(engine);
    cr_assert_eq(counting_client_attach(client), 0);
}

void counting_client_free(counting_client *client)
{
    unmap_board(client);
    munmap(client->ledger, CBM_LEDGER_SIZE);
    close(client->descriptor);
    free(client);
}

/* ---- Breakers ------------------------------------------------------------------------------------------------------ */

static void parse_word(cbm_core_policy_request *request, const char *word)
{
    const char *equals = strchr(word, '=');
    int field;

    cr_assert_not_null(equals, "%s", word);
    field = cbm_core_policy_find(word, (size_t)(equals - word));
    cr_assert_geq(field, 0, "%s", word);
    cr_assert_eq(cbm_core_policy_parse(request, field, equals + 1, strlen(equals + 1)), 0, "%s", word);
}

static cbm_core_policy_request parse(const char *policy)
{
    cbm_core_policy_request request = {0};
    char words[256], *rest = NULL;

    snprintf(words, sizeof words, "%s", policy);
    for (char *word = strtok_r(words, " ", &rest); word; word = strtok_r(NULL, " ", &rest))
        parse_word(&request, word);
    return request;
}

static void get(counting_handle *handle, const cbm_core_policy_request *policy, int64_t wanted)
{
    cbm_ledger_claim claim = {.ledger = handle->client->ledger->id, .wanted = wanted, .entry = -1};
    cbm_core_get_result result;

    cr_assert_eq(cbm_engine_get(handle->client->engine, &handle->client->caller, handle->name, policy, &claim, &result),
                 0);
    handle->slot = result.status.slot;
    handle->generation = result.status.slot_generation;
    handle->entry = claim.entry;
}

counting_handle counting_get(counting_client *client, const char *name, const char *policy)
{
    cbm_core_policy_request request = parse(policy);
    counting_handle handle = {.client = client};

    strcpy(handle.name, name);
    get(&handle, &request, -1);
    return handle;
}

void counting_get_again(counting_handle *handle)
{
    cbm_core_policy_request request = {0};

    get(handle, &request, handle->entry);
}

uint64_t counting_word(const counting_handle *handle, int64_t *aux)
{
    int64_t unwanted;

    return cbm_board_read(handle->client->board, handle->slot, aux ? aux : &unwanted);
}

cbm_entry *counting_entry(const counting_handle *handle)
{
    cbm_ledger *ledger = handle->client->ledger;
    uint32_t lane = handle->client->lane;

    if (atomic_load(&ledger->lanes_in_use) <= lane)
        atomic_store(&ledger->lanes_in_use, lane + 1);
    return &ledger->entries[lane][handle->entry];
}

/* ---- Counting ------------------------------------------------------------------------------------------------------ */

counting_result counting_succeed(const counting_handle *handle, uint64_t begun)
{
    const _Atomic uint64_t *board_word = &handle->client->board->slots[handle->slot].word;
    uint64_t word = atomic_load_explicit(board_word, memory_order_acquire);

    if ((word ^ begun) & CBM_WORD_GENERATION_MASK)
        return NOT_COUNTED;
    if ((word ^ begun) & CBM_WORD_EPOCH_MASK) {
        atomic_fetch_add_explicit(&counting_entry(handle)->late, 1, memory_order_relaxed);
        return COUNTED_LATE;
    }
    if (!(word & CBM_WORD_FAST))
        return NOT_COUNTED;
    atomic_fetch_add(&counting_entry(handle)->successes[cbm_word_epoch(word) % CBM_LEDGER_EPOCHS], 1);
    if (((atomic_load(board_word) ^ word) & (CBM_WORD_PERMIT_MASK | CBM_WORD_FAST)) == 0)
        return COUNTED;
    (void)cbm_engine_pull(handle->client->engine, &handle->client->caller, handle->name);
    return COUNTED_AND_PULLED;
}

void counting_successes(const counting_handle *handle, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        cr_assert_eq(counting_succeed(handle, counting_word(handle, NULL)), COUNTED);
}

cbm_core_state counting_report(const counting_handle *handle, cbm_core_outcome outcome)
{
    cbm_report_message message = {.outcome = outcome, .duration_ns = -1, .count = 1};
    uint64_t word = counting_word(handle, NULL);
    cbm_core_permit permit = {
        .slot = handle->slot,
        .slot_generation = handle->generation,
        .epoch = cbm_word_epoch(word),
        .flags = CBM_CORE_PERMIT_UNCOUNTED,
    };
    cbm_core_state state;

    strcpy(message.name, handle->name);
    message.permit_size = cbm_permit_write(message.permit, &permit, cbm_engine_incarnation(handle->client->engine));
    cr_assert_eq(cbm_engine_call_report(handle->client->engine, &handle->client->caller, &message, &state), 0);
    return state;
}

cbm_core_status counting_status(const counting_handle *handle)
{
    cbm_core_status status;

    cr_assert_eq(cbm_engine_state_of(handle->client->engine, handle->name, &status), 0);
    return status;
}
