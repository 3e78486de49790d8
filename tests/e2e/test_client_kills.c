/*
 * Clients that come to a bad end while others work: killed at any moment, or gone mad over their own ledger. Nothing that anybody
 * counted is lost, and nothing of them is left behind.
 */
#include "fault_load.h"
#include "kept.h"
#include "random.h"

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <unistd.h>

TestSuite(client_kills, .timeout = 900);

enum {
    KILLS = 60,
    KILLS_SOAK = 3000,
    LIFE_MS = 40, /* between two kills, at most */
    SCRIBBLERS = 3,
    SCRIBBLES = 200,
    SCRIBBLES_SOAK = 5000,
    PATIENCE_MS = 20000,
};

/* ---- What they counted -------------------------------------------------------------------------------------------------- */

/* All that was done is there, but for what was under way in those that were killed. Returns how many successes that is of. */
static uint64_t check_totals(const broker *b, const load *l, uint64_t under_way)
{
    cbm_client *client = client_open(b->address, CBM_FAIL_CLOSED);
    uint64_t all = 0;

    for (int i = 0; i < LOAD_COUNTED; i++) {
        load_tally done = load_sum(l, i);
        cbm_statistics s = state_of(client, load_counted_name(i)).statistics;

        cr_assert(s.successful_calls >= done.fast + done.told && s.successful_calls <= done.begun,
                  "%s: %" PRIu64 " successes counted, %" PRIu64 " done, %" PRIu64 " begun", load_counted_name(i),
                  s.successful_calls, done.fast + done.told, done.begun);
        cr_assert(s.failed_calls >= done.failed && s.failed_calls <= done.failing,
                  "%s: %" PRIu64 " failures counted, %" PRIu64 " done, %" PRIu64 " begun", load_counted_name(i),
                  s.failed_calls, done.failed, done.failing);
        cr_assert_leq(done.begun - done.fast - done.told, under_way, "%s", load_counted_name(i));
        all += s.successful_calls;
    }
    cbm_close(client);
    return all;
}

/* ---- What they leave -------------------------------------------------------------------------------------------------------- */

static int count_entries(const char *path, const char *but)
{
    DIR *entries = opendir(path);
    int count = 0;

    if (entries == NULL)
        return -1;
    for (struct dirent *entry = readdir(entries); entry != NULL; entry = readdir(entries))
        count += entry->d_name[0] != '.' && (but == NULL || strcmp(entry->d_name, but) != 0);
    closedir(entries);
    return count;
}

/* Of the broker: mappings of ledgers. */
static int count_ledgers(const broker *b)
{
    char path[64], line[512];
    FILE *maps;
    int count = 0;

    snprintf(path, sizeof path, "/proc/%d/maps", (int)b->pid);
    maps = fopen(path, "re");
    cr_assert_not_null(maps);
    while (fgets(line, sizeof line, maps) != NULL)
        count += strstr(line, "cbm-ledger") != NULL;
    fclose(maps);
    return count;
}

typedef struct traces {
    int descriptors, ledgers, in_directory, in_dev_shm;
} traces;

static traces traces_of(const broker *b)
{
    return (traces){broker_descriptors(b), count_ledgers(b), count_entries(b->directory, NULL),
                    count_entries("/dev/shm", NULL)};
}

typedef struct comparison {
    const broker *broker;
    traces before, now;
} comparison;

static bool is_as_before(void *context)
{
    comparison *c = context;

    c->now = traces_of(c->broker);
    return memcmp(&c->now, &c->before, sizeof c->now) == 0;
}

/* When what the broker does at its start is over. */
static traces traces_at_rest(const broker *b)
{
    comparison c = {.broker = b};

    for (int64_t end_ms = clock_ms() + PATIENCE_MS; clock_ms() < end_ms;) {
        c.before = traces_of(b);
        usleep(100000);
        if (is_as_before(&c))
            break;
    }
    return c.before;
}

/* Others use /dev/shm too, the test runner among them: here it is of this test alone, where that is allowed. */
static void take_dev_shm(void)
{
    if (unshare(CLONE_NEWNS) != 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0 ||
        mount("none", "/dev/shm", "tmpfs", 0, "size=16m") != 0)
        fprintf(stderr, "/dev/shm is shared with others (%s)\n", strerror(errno));
}

/* ---- Killed ------------------------------------------------------------------------------------------------------------------ */

static void kill_one(load *l, int index)
{
    kill(l->pids[index], SIGKILL);
    cr_assert_eq(process_wait(l->pids[index], PATIENCE_MS), 128 + SIGKILL);
    l->pids[index] = 0;
}

static void start_all(load *l)
{
    for (int i = 0; i < LOAD_PROCESSES; i++)
        load_start(l, i);
    cr_assert(wait_until(load_is_attached, l, PATIENCE_MS));
}

static bool has_a_ledger_of_each(void *context)
{
    return count_ledgers(context) == LOAD_PROCESSES;
}

Test(client_kills, lose_no_success_and_leave_nothing_behind)
{
    int count = rounds(KILLS, KILLS_SOAK);
    comparison c = {0};
    broker *b;
    load *l;

    take_dev_shm();
    b = broker_start_unlimited();
    random_seed_from_environment();
    c.broker = b;
    c.before = traces_at_rest(b);
    cr_assert_eq(c.before.ledgers, 0);
    l = load_new(b);
    start_all(l);
    cr_assert(wait_until(has_a_ledger_of_each, b, PATIENCE_MS));
    for (int i = 0; i < count; i++) {
        int index = (int)random_below(LOAD_PROCESSES);

        usleep(random_below(LIFE_MS) * 1000);
        kill_one(l, index);
        load_start(l, index);
    }
    cr_assert(wait_until(load_is_attached, l, PATIENCE_MS));
    for (int i = 0; i < LOAD_PROCESSES; i++)
        kill_one(l, i);
    cr_assert(wait_until(is_as_before, &c, PATIENCE_MS),
              "%d descriptors, %d ledgers, %d and %d files; before: %d, %d, %d and %d", c.now.descriptors,
              c.now.ledgers, c.now.in_directory, c.now.in_dev_shm, c.before.descriptors, c.before.ledgers,
              c.before.in_directory, c.before.in_dev_shm);
    uint64_t all = check_totals(b, l, (uint64_t)count + LOAD_PROCESSES);
    fprintf(stderr,
            "figures: kills of clients %d, %" PRIu64
            " successes all there; left behind: %d descriptors, %d pages, %d files\n",
            count + LOAD_PROCESSES, all, c.now.descriptors - c.before.descriptors, c.now.ledgers - c.before.ledgers,
            c.now.in_directory - c.before.in_directory + c.now.in_dev_shm - c.before.in_dev_shm);
    load_free(l);
    broker_free(b);
}

/* ---- Gone mad ------------------------------------------------------------------------------------------------------------------ */

/* Where the library has mapped this process's ledger. */
static uint8_t *find_ledger(size_t *size)
{
    FILE *maps = fopen("/proc/self/maps", "re");
    char line[512];
    uint8_t *found = NULL;

    MUST(maps != NULL);
    while (found == NULL && fgets(line, sizeof line, maps) != NULL) {
        unsigned long first, end;

        if (strstr(line, "cbm-ledger") != NULL && sscanf(line, "%lx-%lx", &first, &end) == 2) {
            found = (uint8_t *)first;
            *size = end - first;
        }
    }
    fclose(maps);
    return found;
}

/* A byte, a line, or all of it; mostly where something stands. Or nothing at all is left of it. */
static void scribble(uint8_t *ledger, size_t size)
{
    size_t at = random_below(4) == 0 ? random_below((uint32_t)size) : random_below(512);
    size_t length = random_below(8) == 0 ? size - at : random_below(2) == 0 ? 1 : 64;
    bool nothing = random_below(4) == 0;

    for (size_t i = at; i < size && i < at + length; i++)
        ledger[i] = nothing ? 0 : (uint8_t)random_next();
}

/* It goes on calling, and is answered. */
static int call_and_scribble(int index, void *context)
{
    const load *l = context;
    cbm_client *client = client_open(l->address, CBM_FAIL_CLOSED);
    cbm_breaker *breaker;
    uint8_t *ledger;
    size_t size = 0;
    char name[32];

    random_seed((uint64_t)getpid());
    snprintf(name, sizeof name, "scribbled_%d", index);
    breaker = breaker_get(client, name, NULL);
    for (int i = 0; i < 100; i++)
        MUST(call_once(breaker, CBM_SUCCESS) == 0);
    ledger = find_ledger(&size);
    MUST(ledger != NULL);
    for (int i = 0; i < rounds(SCRIBBLES, SCRIBBLES_SOAK); i++) {
        int error;

        scribble(ledger, size);
        error = call_once(breaker, i % 8 == 0 ? CBM_FAILURE : CBM_SUCCESS);
        MUST(error == 0 || error == CBM_E_OPEN); /* whose successes nobody can read has nothing but failures */
        MUST(error == 0 || cbm_reset(client, name) == 0);
        (void)state_of(client, name);
    }
    cbm_close(client);
    return 0;
}

static int count_given_up(const broker *b, pid_t pid)
{
    char *log = broker_log(b), wanted[32];
    int count = 0;

    snprintf(wanted, sizeof wanted, "pid=%d ", (int)pid);
    for (char *rest = NULL, *line = strtok_r(log, "\n", &rest); line != NULL; line = strtok_r(NULL, "\n", &rest))
        count += strstr(line, "event=ledger_given_up") != NULL && (pid == 0 || strstr(line, wanted) != NULL);
    free(log);
    return count;
}

Test(client_kills, whoever_scribbles_over_its_ledger_loses_that_alone)
{
    broker *b = broker_start_unlimited();
    load *l = load_new(b);
    int given_up = 0, of_scribblers = 0;
    pid_t pids[SCRIBBLERS];
    processes scribblers;

    start_all(l);
    processes_start(&scribblers, SCRIBBLERS, call_and_scribble, l);
    memcpy(pids, scribblers.pids, sizeof pids);
    cr_assert_eq(processes_wait(&scribblers, 300000), 0);
    cr_assert(wait_until(load_is_attached, l, PATIENCE_MS));
    load_stop(l);
    uint64_t all = check_totals(b, l, 0);
    given_up = count_given_up(b, 0);
    for (int i = 0; i < SCRIBBLERS; i++)
        of_scribblers += count_given_up(b, pids[i]);
    cr_assert_geq(given_up, SCRIBBLERS);
    cr_assert_eq(given_up, of_scribblers, "a ledger was given up that makes sense");
    fprintf(stderr, "figures: ledgers given up %d, all of %d scribblers; %" PRIu64 " successes of others all there\n",
            given_up, SCRIBBLERS, all);
    load_free(l);
    broker_free(b);
}
