#include "shm_broker.h"

#include <dirent.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "hex.h"

static bool counts(void *context)
{
    const shm_broker *b = context;
    return broker_descriptors(b->broker) == b->descriptors;
}

static bool is_connected_socket(unsigned long inode)
{
    FILE *file = fopen("/proc/net/unix", "r");
    char line[512];
    bool connected = false;
    MUST(file != NULL);
    while (!connected && fgets(line, sizeof line, file) != NULL) {
        unsigned state = 0;
        unsigned long number = 0;
        if (sscanf(line, "%*s %*s %*s %*s %*s %x %lu", &state, &number) == 2)
            connected = number == inode && state == 3;
    }
    fclose(file);
    return connected;
}

/* Its own ones: all but connections, which may still be those of its start, and the pipe by which it says that it is ready. */
static int own_descriptors(const broker *of)
{
    char path[300], link[64];
    int count = 0;
    snprintf(path, sizeof path, "/proc/%d/fd", (int)of->pid);
    DIR *entries = opendir(path);
    MUST(entries != NULL);
    for (struct dirent *entry = readdir(entries); entry != NULL; entry = readdir(entries)) {
        unsigned long inode;
        snprintf(path, sizeof path, "/proc/%d/fd/%s", (int)of->pid, entry->d_name);
        ssize_t size = readlink(path, link, sizeof link - 1);
        if (size < 0)
            continue;
        link[size] = '\0';
        if (sscanf(link, "socket:[%lu]", &inode) == 1 && is_connected_socket(inode))
            continue;
        count += strncmp(link, "pipe:", 5) != 0;
    }
    closedir(entries);
    return count;
}

shm_broker shm_broker_start(const broker_options *options)
{
    shm_broker b = {.broker = broker_start(options)};
    b.path = b.broker->socket_path[0] != '\0' ? b.broker->socket_path : NULL;
    b.descriptors = own_descriptors(b.broker);
    return b;
}

bool shm_broker_descriptors_settle(const shm_broker *b, int more)
{
    shm_broker wanted = *b;
    wanted.descriptors += more;
    bool settled = wait_until(counts, &wanted, HARNESS_DEADLINE_MS);
    if (!settled)
        fprintf(stderr, "%d descriptors open, not %d\n", broker_descriptors(b->broker), wanted.descriptors);
    return settled;
}

void shm_broker_free(shm_broker *b)
{
    MUST(shm_broker_descriptors_settle(b, 0));
    json_decref(ask(b->broker->address, "ping"));
    broker_free(b->broker);
}

static void read_hex(const char *text, uint8_t *bytes, size_t size)
{
    MUST(text != NULL && strlen(text) == 2 * size);
    for (size_t i = 0; i < size; i++)
        bytes[i] = (uint8_t)(cbm_hex_digit(text[2 * i]) << 4 | cbm_hex_digit(text[2 * i + 1]));
}

void shm_token(const shm_broker *b, uint8_t token[CBM_ID_SIZE])
{
    json_t *answer = ask(b->broker->address, "attach");
    read_hex(json_string_value(json_object_get(json_object_get(answer, "data"), "token")), token, CBM_ID_SIZE);
    json_decref(answer);
}

int shm_bring(const shm_broker *b, int ledger)
{
    uint8_t token[CBM_ID_SIZE];
    shm_token(b, token);
    return shm_attach(b->path, token, ledger, NULL);
}

int shm_bring_good(const shm_broker *b, uint8_t id[CBM_ID_SIZE])
{
    int ledger = shm_good_ledger(id);
    MUST(ledger >= 0);
    int result = shm_bring(b, ledger);
    close(ledger);
    return result;
}

bool shm_is_attached(const shm_broker *b, const uint8_t id[CBM_ID_SIZE])
{
    char command[128];
    size_t size = (size_t)snprintf(command, sizeof command, "get held ledger=");
    for (size_t i = 0; i < CBM_ID_SIZE; i++)
        size += (size_t)snprintf(command + size, sizeof command - size, "%02x", id[i]);
    json_t *answer = ask(b->broker->address, command);
    MUST(json_is_true(json_object_get(answer, "success")));
    const json_t *entry = json_object_get(json_object_get(answer, "data"), "entry");
    bool attached = json_is_integer(entry) && json_integer_value(entry) >= 0;
    json_decref(answer);
    return attached;
}
