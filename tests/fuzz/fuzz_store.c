/*
 * Any bytes as a store: what can be read of it is sound, what cannot is moved aside or left alone, with every byte that it had.
 * The input is the size of the database (4 bytes, little-endian), the database, and its log.
 */
#include <dirent.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "log.h"
#include "store.h"
#include "store_inner.h"

#define ONE_PAGE 4096 /* what is no larger holds nothing yet, and may be made into a store */
#define SLOTS 16
#define INPUT_MAX (1 << 20)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerInitialize(int *argc, char ***argv);

static char directory[64];
static cbm_core_manager *manager;

static void check(bool holds)
{
    if (!holds)
        abort();
}

static void empty_directory(void)
{
    DIR *entries = opendir(directory);

    check(entries != NULL);
    for (struct dirent *entry = readdir(entries); entry; entry = readdir(entries))
        unlinkat(dirfd(entries), entry->d_name, 0);
    closedir(entries);
}

static void remove_all(void)
{
    empty_directory();
    rmdir(directory);
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc, (void)argv;
    strcpy(directory, access("/dev/shm", W_OK) == 0 ? "/dev/shm/cbm-fuzz-XXXXXX" : "/tmp/cbm-fuzz-XXXXXX");
    check(mkdtemp(directory) != NULL);
    atexit(remove_all);
    cbm_log_set_output(open("/dev/null", O_WRONLY | O_CLOEXEC));
    return 0;
}

static void write_file(const char *name, const uint8_t *bytes, size_t size)
{
    char path[128];
    int file;

    snprintf(path, sizeof path, "%s/%s", directory, name);
    file = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    check(file >= 0 && write(file, bytes, size) == (ssize_t)size);
    close(file);
}

/* Whether a file whose name begins so has exactly those bytes. */
static bool is_kept(const char *prefix, const uint8_t *bytes, size_t size)
{
    DIR *entries = opendir(directory);
    uint8_t *found = malloc(size + 1);
    bool kept = false;

    check(entries != NULL && found != NULL);
    for (struct dirent *entry = readdir(entries); entry && !kept; entry = readdir(entries)) {
        int file = strncmp(entry->d_name, prefix, strlen(prefix)) == 0
                       ? openat(dirfd(entries), entry->d_name, O_RDONLY | O_CLOEXEC)
                       : -1;

        kept = file >= 0 && read(file, found, size + 1) == (ssize_t)size && memcmp(found, bytes, size) == 0;
        if (file >= 0)
            close(file);
    }
    closedir(entries);
    free(found);
    return kept;
}

static bool was_moved(void)
{
    DIR *entries = opendir(directory);
    bool moved = false;

    check(entries != NULL);
    for (struct dirent *entry = readdir(entries); entry; entry = readdir(entries))
        moved = moved || strncmp(entry->d_name, "cbm.db.damaged-", 15) == 0;
    closedir(entries);
    return moved;
}

static uint32_t restore_one(void *context, const cbm_core_snapshot *snapshot, int64_t elapsed_ns)
{
    cbm_core_status status;
    uint32_t slot;

    (void)context;
    check(elapsed_ns >= 0);
    if (cbm_core_restore(manager, snapshot, elapsed_ns, INT64_C(1000000000000), &slot) != 0)
        return CBM_STORE_NOT_TAKEN;
    check(slot < SLOTS && cbm_core_state_of(manager, snapshot->name, INT64_C(1000000000001), &status) == 0);
    check(cbm_core_name_valid(status.name, strlen(status.name)));
    return slot;
}

static void collect(void *context, const uint32_t *slots, size_t count, cbm_store_batch *batch)
{
    (void)context;
    for (size_t i = 0; i < count; i++) {
        batch->breakers[i].slot = slots[i];
        batch->breakers[i].present =
            cbm_core_snapshot_at(manager, slots[i], INT64_C(1000000000002), &batch->breakers[i].snapshot) == 0;
    }
    batch->count = count;
    cbm_core_totals_get(manager, &batch->totals);
}

/* All is read, and all is written again. */
static void use(cbm_store *store, bool writes)
{
    cbm_store_transition_row rows[8];
    cbm_store_restored restored;
    uint64_t counters[CBM_STORE_WATERMARK_COUNTERS];

    check(cbm_core_manager_new(
              &manager, &(cbm_core_options){.max_breakers = SLOTS, .first_epoch = cbm_store_first_number(store)}) == 0);
    if (cbm_store_restore(store, restore_one, NULL, &restored) == CBM_STORE_OK) {
        (void)cbm_store_watermark(store, (const uint8_t *)"0123456789abcdef", 1, counters,
                                  CBM_STORE_WATERMARK_COUNTERS);
        (void)cbm_store_history(store, NULL, 0, 8, rows);
        if (writes && cbm_store_start(store, &(cbm_store_source){.collect = collect}) == CBM_STORE_OK)
            for (uint32_t slot = 0; slot < SLOTS; slot++)
                cbm_store_mark(store, slot);
    }
    cbm_store_close(store);
    cbm_core_manager_free(manager);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char message[512];
    cbm_store_error error;
    cbm_store *store;
    uint32_t database;

    if (size < 4 || size > INPUT_MAX)
        return 0;
    database = (uint32_t)data[0] | (uint32_t)data[1] << 8 | (uint32_t)data[2] << 16 | (uint32_t)data[3] << 24;
    data += 4;
    size -= 4;
    database = database < size ? database : (uint32_t)size;
    empty_directory();
    write_file("cbm.db", data, database);
    if (size > database)
        write_file("cbm.db-wal", data + database, size - database);
    error =
        cbm_store_open(&store, &(cbm_store_options){.directory = directory, .slots = SLOTS}, message, sizeof message);
    /* A sound log may have gone into the database before it turned out that the rest is not; without one nothing changes. */
    if (database > ONE_PAGE && size == database && (error || was_moved()))
        check(is_kept(error ? "cbm.db" : "cbm.db.damaged-", data, database));
    if (error == CBM_STORE_OK)
        use(store, size % 16 == 0); /* it takes threads, and time */
    return 0;
}
