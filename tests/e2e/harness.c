#include "harness.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define READY_FD 3

void harness_fail(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    fprintf(stderr, "[%d] ", (int)getpid());
    vfprintf(stderr, format, arguments);
    fputc('\n', stderr);
    va_end(arguments);
    fflush(NULL);
    abort();
}

int64_t clock_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

int64_t clock_ms(void)
{
    return clock_ns() / 1000000;
}

bool wait_until(bool (*condition)(void *context), void *context, int deadline_ms)
{
    int64_t end = clock_ms() + deadline_ms;
    for (;;) {
        if (condition(context))
            return true;
        if (clock_ms() >= end)
            return false;
        nanosleep(&(struct timespec){.tv_nsec = 2000000}, NULL);
    }
}

void *shared_new(size_t size)
{
    void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED)
        harness_fail("mmap: %s", strerror(errno));
    return memory;
}

const char *broker_program(void)
{
    const char *program = getenv("CBMD");
    return program != NULL ? program : CBMD_PROGRAM;
}

/* Only those that say where keep any state: no test reaches what the user's own broker keeps. */
static bool has_state(const broker *b)
{
    for (size_t i = 0; i < BROKER_ARGUMENTS_MAX && b->options.arguments[i] != NULL; i++)
        if (strcmp(b->options.arguments[i], "--state-dir") == 0)
            return true;
    return false;
}

/* In the child: becomes cbmd. Descriptors beyond the first four are closed, so that what the test holds is not counted. */
static void become_broker(const broker *b, int ready)
{
    int log = open(b->log_path, O_WRONLY | O_CREAT | O_APPEND, 0600);
    int nothing = open("/dev/null", O_RDWR);
    if (log < 0 || nothing < 0 || dup2(nothing, 0) < 0 || dup2(nothing, 1) < 0 || dup2(log, 2) < 0)
        harness_fail("redirection: %s", strerror(errno));
    if (ready != READY_FD && dup2(ready, READY_FD) < 0)
        harness_fail("dup2: %s", strerror(errno));
    if (close_range(READY_FD + 1, ~0U, 0) != 0)
        harness_fail("close_range: %s", strerror(errno));
    if (b->options.descriptors != 0) {
        struct rlimit limit = {b->options.descriptors, b->options.descriptors};
        if (setrlimit(RLIMIT_NOFILE, &limit) != 0)
            harness_fail("setrlimit: %s", strerror(errno));
    }
    char ready_text[12];
    snprintf(ready_text, sizeof ready_text, "%d", READY_FD);
    const char *argv[BROKER_ARGUMENTS_MAX + 9] = {broker_program(), "--listen", b->address, "--ready-fd", ready_text};
    size_t count = 5;
    for (size_t i = 0; i < BROKER_ARGUMENTS_MAX && b->options.arguments[i] != NULL; i++)
        argv[count++] = b->options.arguments[i];
    if (!has_state(b))
        argv[count++] = "--no-store";
    argv[count] = NULL;
    execv(argv[0], (char *const *)argv);
    harness_fail("%s: %s", argv[0], strerror(errno));
}

static void wait_ready(broker *b, int ready)
{
    int64_t end = clock_ms() + HARNESS_DEADLINE_MS;
    char text[16] = "";
    size_t size = 0;
    while (strchr(text, '\n') == NULL) {
        struct pollfd event = {ready, POLLIN, 0};
        int64_t left = end - clock_ms();
        if (left <= 0 || poll(&event, 1, (int)left) <= 0)
            harness_fail("cbmd was not ready in time");
        ssize_t got = read(ready, text + size, sizeof text - 1 - size);
        if (got <= 0) {
            char *log = broker_log(b);
            harness_fail("cbmd ended with status %d before it was ready: %s", process_wait(b->pid, HARNESS_DEADLINE_MS),
                         log);
        }
        size += (size_t)got;
    }
}

static void broker_spawn(broker *b)
{
    int ready[2];
    if (pipe2(ready, O_CLOEXEC) != 0)
        harness_fail("pipe: %s", strerror(errno));
    b->pid = process_fork();
    if (b->pid == 0)
        become_broker(b, ready[1]);
    close(ready[1]);
    wait_ready(b, ready[0]);
    close(ready[0]);
}

broker *broker_start(const broker_options *options)
{
    broker *b = calloc(1, sizeof *b);
    if (b == NULL)
        harness_fail("no memory");
    if (options != NULL)
        b->options = *options;
    strcpy(b->directory, "/tmp/cbm-e2e-XXXXXX");
    if (mkdtemp(b->directory) == NULL)
        harness_fail("mkdtemp: %s", strerror(errno));
    snprintf(b->log_path, sizeof b->log_path, "%s/stderr", b->directory);
    if (b->options.address != NULL)
        snprintf(b->address, sizeof b->address, "%s", b->options.address);
    else
        snprintf(b->address, sizeof b->address, "ipc://%s/cbm.sock", b->directory);
    if (strncmp(b->address, "ipc://", 6) == 0)
        snprintf(b->socket_path, sizeof b->socket_path, "%s", b->address + 6);
    broker_spawn(b);
    return b;
}

broker *broker_start_unlimited(void)
{
    return broker_start(&(broker_options){.arguments = {"--rate-limit", "0"}});
}

void broker_restart(broker *b)
{
    if (b->pid != 0)
        harness_fail("the broker runs already");
    broker_spawn(b);
}

int broker_stop(broker *b, int signal_number)
{
    if (b->pid == 0 || kill(b->pid, signal_number) != 0)
        harness_fail("there is no broker to stop");
    int status = process_wait(b->pid, HARNESS_DEADLINE_MS);
    b->pid = 0;
    return status;
}

void broker_kill(broker *b)
{
    broker_stop(b, SIGKILL);
}

static void remove_directory(const char *directory)
{
    DIR *entries = opendir(directory);
    if (entries == NULL)
        return;
    for (struct dirent *entry = readdir(entries); entry != NULL; entry = readdir(entries))
        unlinkat(dirfd(entries), entry->d_name, 0);
    closedir(entries);
    rmdir(directory);
}

void broker_free(broker *b)
{
    if (b->pid != 0) {
        int status = broker_stop(b, SIGTERM);
        if (status != 0) {
            char *log = broker_log(b);
            size_t length = strlen(log);
            harness_fail("cbmd ended with status %d; the end of its log:\n%s", status,
                         length > 6000 ? log + length - 6000 : log);
        }
    }
    remove_directory(b->directory);
    free(b);
}

/* A whole file, also one of /proc, with a zero byte behind it. */
static char *read_file(const char *path)
{
    FILE *file = fopen(path, "re");
    if (file == NULL)
        return calloc(1, 1);
    size_t size = 0, capacity = 4096;
    char *text = malloc(capacity);
    while (text != NULL) {
        size += fread(text + size, 1, capacity - size - 1, file);
        if (size < capacity - 1)
            break;
        char *more = realloc(text, capacity *= 2);
        if (more == NULL)
            free(text);
        text = more;
    }
    fclose(file);
    if (text == NULL)
        harness_fail("no memory");
    text[size] = '\0';
    return text;
}

char *broker_log(const broker *b)
{
    return read_file(b->log_path);
}

static bool contains_all(const char *line, const char *const *texts)
{
    for (; *texts != NULL; texts++) {
        if (strstr(line, *texts) == NULL)
            return false;
    }
    return true;
}

typedef struct log_search {
    const broker *broker;
    const char *const *texts;
    char *found;
} log_search;

static bool search_log(void *context)
{
    log_search *search = context;
    char *log = broker_log(search->broker), *rest = NULL;
    /* A line whose newline is still missing is still being written. */
    char *end = strrchr(log, '\n');
    *(end == NULL ? log : end) = '\0';
    for (char *line = strtok_r(log, "\n", &rest); line != NULL; line = strtok_r(NULL, "\n", &rest)) {
        if (contains_all(line, search->texts)) {
            search->found = strdup(line);
            break;
        }
    }
    free(log);
    return search->found != NULL;
}

char *broker_wait_log(const broker *b, const char *const *texts, int deadline_ms)
{
    log_search search = {b, texts, NULL};
    wait_until(search_log, &search, deadline_ms);
    return search.found;
}

char *broker_wait_log1(const broker *b, const char *text, int deadline_ms)
{
    return broker_wait_log(b, (const char *const[]){text, NULL}, deadline_ms);
}

static size_t read_status(const broker *b, const char *field)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/status", (int)b->pid);
    char *text = read_file(path);
    const char *at = strstr(text, field);
    size_t value = at == NULL ? 0 : strtoul(at + strlen(field), NULL, 10);
    free(text);
    return value;
}

size_t broker_rss_kib(const broker *b)
{
    return read_status(b, "VmRSS:");
}

bool broker_is_sanitized(void)
{
#ifdef CBM_SANITIZED
    return true;
#else
    return getenv("CBMD_SANITIZED") != NULL;
#endif
}

int broker_threads(const broker *b)
{
    return (int)read_status(b, "\nThreads:");
}

int broker_descriptors(const broker *b)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/fd", (int)b->pid);
    DIR *entries = opendir(path);
    if (entries == NULL)
        return -1;
    int count = 0;
    for (struct dirent *entry = readdir(entries); entry != NULL; entry = readdir(entries))
        count += entry->d_name[0] != '.';
    closedir(entries);
    return count;
}
