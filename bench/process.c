#include "process.h"

#include <dirent.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#define END_TIMEOUT_MS 10000

pid_t bench_fork(void)
{
    pid_t parent = getpid();
    pid_t pid = fork();

    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (getppid() != parent)
            _exit(1);
    }
    return pid;
}

bool bench_end(pid_t pid, int signal)
{
    int status = 1, waited_ms = 0;
    pid_t ended;

    if (pid <= 0)
        return false;
    if (signal)
        kill(pid, signal);
    /* One that was told to go and does not must not keep the benchmark. */
    while ((ended = waitpid(pid, &status, signal ? WNOHANG : 0)) == 0) {
        if (++waited_ms == END_TIMEOUT_MS)
            kill(pid, SIGKILL);
        poll(NULL, 0, 1);
    }
    return ended == pid && status == 0;
}

/* The sum of the numbers that stand behind these words in a status file of /proc. -1: no such file. */
static int64_t sum_of(const char *path, const char *const *words)
{
    char line[256];
    int64_t sum = 0;
    FILE *file = fopen(path, "r");

    if (!file)
        return -1;
    while (fgets(line, sizeof(line), file)) {
        for (const char *const *word = words; *word; word++)
            if (strncmp(line, *word, strlen(*word)) == 0)
                sum += atoll(line + strlen(*word));
    }
    fclose(file);
    return sum;
}

double bench_memory_kib(pid_t pid)
{
    static const char *const words[] = {"RssAnon:", "RssShmem:", NULL};
    char path[64];

    snprintf(path, sizeof(path), "/proc/%d/status", (int)pid);
    return (double)sum_of(path, words);
}

/* The sum over all threads of what `of_thread` finds in the directory of one. */
static int64_t sum_of_threads(pid_t pid, int64_t (*of_thread)(const char *directory))
{
    char path[320];
    int64_t sum = 0;
    struct dirent *entry;
    DIR *tasks;

    snprintf(path, sizeof(path), "/proc/%d/task", (int)pid);
    tasks = opendir(path);
    if (!tasks)
        return -1;
    while ((entry = readdir(tasks))) {
        int64_t found;
        snprintf(path, sizeof(path), "/proc/%d/task/%s", (int)pid, entry->d_name);
        found = entry->d_name[0] == '.' ? 0 : of_thread(path);
        sum += found > 0 ? found : 0;
    }
    closedir(tasks);
    return sum;
}

static int64_t switches_of(const char *directory)
{
    static const char *const words[] = {"voluntary_ctxt_switches:", "nonvoluntary_ctxt_switches:", NULL};
    char path[340];

    snprintf(path, sizeof(path), "%s/status", directory);
    return sum_of(path, words);
}

static int64_t processor_ns_of(const char *directory)
{
    char path[340], line[64] = "";
    FILE *file;

    snprintf(path, sizeof(path), "%s/schedstat", directory);
    file = fopen(path, "r");
    if (!file)
        return -1;
    if (!fgets(line, sizeof(line), file))
        line[0] = '\0';
    fclose(file);
    return atoll(line);
}

int64_t bench_switches(pid_t pid)
{
    return sum_of_threads(pid, switches_of);
}

int64_t bench_processor_ns(pid_t pid)
{
    return sum_of_threads(pid, processor_ns_of);
}

void bench_raise_descriptor_limit(void)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
        return;
    limit.rlim_cur = limit.rlim_max;
    (void)setrlimit(RLIMIT_NOFILE, &limit);
}
