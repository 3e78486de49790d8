#include "store_fixture.h"

#include <pthread.h>

/* ---- What the store collects from --------------------------------------------------------------------------------- */

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
cbm_core_snapshot breakers[BREAKERS]; /* name "": there is none in that slot */
cbm_core_totals totals;
uint64_t watermark; /* of entry 5 of the ledger, in the statistics of slot 0 */
const uint8_t ledger[CBM_ID_SIZE] = "the ledger";

static void collect(void *context, const uint32_t *slots, size_t count, cbm_store_batch *batch)
{
    (void)context;
    pthread_mutex_lock(&lock);
    for (size_t i = 0; i < count; i++) {
        batch->breakers[i].slot = slots[i];
        batch->breakers[i].present = breakers[slots[i]].name[0] != '\0';
        batch->breakers[i].snapshot = breakers[slots[i]];
        if (slots[i] == 0 && watermark)
            cbm_store_batch_watermark(batch, ledger, 5, (uint64_t[]){watermark, 1, 2}, 3);
    }
    batch->count = count;
    batch->totals = totals;
    batch->asks_back = true;
    pthread_mutex_unlock(&lock);
}

atomic_int told_stored, told_not_stored;

static void stored(void *context, bool stored)
{
    (void)context;
    atomic_fetch_add(stored ? &told_stored : &told_not_stored, 1);
}

void put(uint32_t slot, const char *name, cbm_core_state state)
{
    pthread_mutex_lock(&lock);
    memset(&breakers[slot], 0, sizeof breakers[slot]);
    snprintf(breakers[slot].name, sizeof breakers[slot].name, "%s", name);
    breakers[slot].state = state;
    breakers[slot].remaining_ns = state == CBM_CORE_OPEN ? 60 * CBM_CORE_NS_PER_S : -1;
    breakers[slot].last_failure_ns_ago = -1;
    breakers[slot].least_duration_ns = breakers[slot].most_duration_ns = -1;
    breakers[slot].slot_generation = 7;
    pthread_mutex_unlock(&lock);
}

/* ---- A clock ------------------------------------------------------------------------------------------------------- */

int64_t wall_ms = INT64_C(1700000000000), monotonic_ns = 1000 * CBM_CORE_NS_PER_S;
char boot[64] = "first";

static int64_t read_wall(void *context)
{
    return (void)context, __atomic_load_n(&wall_ms, __ATOMIC_SEQ_CST);
}

static int64_t read_monotonic(void *context)
{
    return (void)context, __atomic_load_n(&monotonic_ns, __ATOMIC_SEQ_CST);
}

/* ---- A store ------------------------------------------------------------------------------------------------------- */

char directory[64];
cbm_store *store;
char message[512];

void make_directory(void)
{
    strcpy(directory, "/tmp/cbm-store-XXXXXX");
    cr_assert_not_null(mkdtemp(directory));
    cbm_log_set_level(CBM_LOG_ERROR);
}

void remove_directory(void)
{
    char command[128];

    cbm_store_close(store);
    snprintf(command, sizeof command, "rm -rf %s", directory);
    cr_assert_eq(system(command), 0);
}

cbm_store_error try_open(void)
{
    cbm_store_clock clock = {read_wall, read_monotonic, boot, NULL};
    return cbm_store_open(&store, &(cbm_store_options){directory, BREAKERS, &clock}, message, sizeof message);
}

/* What was restored, in slots as they came. */
cbm_core_snapshot restored[BREAKERS];
int64_t elapsed[BREAKERS];
uint32_t restored_count;
cbm_store_restored restored_how;

static uint32_t take(void *context, const cbm_core_snapshot *snapshot, int64_t elapsed_ns)
{
    (void)context;
    restored[restored_count] = *snapshot;
    elapsed[restored_count] = elapsed_ns;
    return restored_count++;
}

const cbm_core_snapshot *restored_as(const char *name)
{
    for (uint32_t i = 0; i < restored_count; i++)
        if (strcmp(restored[i].name, name) == 0)
            return &restored[i];
    cr_assert_fail("%s was not restored", name);
    return NULL;
}

void open_store(void)
{
    restored_count = 0;
    cr_assert_eq(try_open(), CBM_STORE_OK, "%s", message);
    cr_assert_eq(cbm_store_restore(store, take, NULL, &restored_how), CBM_STORE_OK);
}

void start_store(void)
{
    open_store();
    cr_assert_eq(cbm_store_start(store, &(cbm_store_source){collect, NULL, stored}), CBM_STORE_OK);
}

void close_store(void)
{
    cbm_store_close(store);
    store = NULL;
}

/* As after kill -9: what is in memory only is gone. The files are copied, since a lock goes with its process. */
void killed_and_opened(void)
{
    char command[256], copy[72];
    snprintf(copy, sizeof copy, "%s.copy", directory);
    snprintf(command, sizeof command, "cp -r %s %s", directory, copy);
    cr_assert_eq(system(command), 0);
    close_store();
    snprintf(command, sizeof command, "rm -rf %s && mv %s %s", directory, copy, directory);
    cr_assert_eq(system(command), 0);
    open_store();
}

bool wait_committed(uint64_t ticket)
{
    int64_t end_ns = cbm_clock_ns() + DEADLINE_NS;
    while (!cbm_store_is_committed(cbm_store_waits_of(store), ticket) && cbm_clock_ns() < end_ns)
        nanosleep(&(struct timespec){.tv_nsec = 500000}, NULL);
    return cbm_store_is_committed(cbm_store_waits_of(store), ticket);
}

uint64_t transition(uint32_t slot, cbm_core_state from, cbm_core_state to)
{
    char name[CBM_CORE_NAME_MAX + 1];
    strcpy(name, breakers[slot].name);
    cbm_core_event event = {.type = CBM_CORE_EVENT_TRANSITION,
                            .name = name,
                            .slot = slot,
                            .from = from,
                            .to = to,
                            .cause = CBM_CORE_CAUSE_RULE,
                            .failures = 5};
    put(slot, name, to);
    return cbm_store_transition(store, &event);
}
