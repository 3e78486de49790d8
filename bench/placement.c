#include "placement.h"

#include <dirent.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>

static cpu_set_t allowed; /* what this process was started with */

static void ask(void)
{
    sched_getaffinity(0, sizeof(allowed), &allowed);
}

static void learn_allowed(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;

    pthread_once(&once, ask);
}

static cpu_set_t first(void)
{
    cpu_set_t set;

    learn_allowed();
    CPU_ZERO(&set);
    for (int cpu = 0; cpu < CPU_SETSIZE; cpu++) {
        if (CPU_ISSET(cpu, &allowed)) {
            CPU_SET(cpu, &set);
            break;
        }
    }
    return set;
}

static cpu_set_t all_but_first(void)
{
    cpu_set_t set, one = first();

    CPU_XOR(&set, &allowed, &one);
    return set;
}

bool bench_placement_possible(bench_placement placement)
{
    learn_allowed();
    return placement != BENCH_APART || CPU_COUNT(&allowed) > 1;
}

void bench_place_server(pid_t pid, bench_placement placement)
{
    cpu_set_t set = placement == BENCH_APART ? all_but_first() : first();
    char path[64];
    struct dirent *entry;
    DIR *tasks;

    if (placement == BENCH_ANYWHERE)
        set = allowed;
    snprintf(path, sizeof(path), "/proc/%d/task", (int)pid);
    tasks = opendir(path);
    if (!tasks)
        return;
    while ((entry = readdir(tasks))) {
        int task = atoi(entry->d_name);
        if (task > 0)
            sched_setaffinity(task, sizeof(set), &set);
    }
    closedir(tasks);
}

void bench_place_client(bench_placement placement)
{
    cpu_set_t set = first();

    if (placement != BENCH_ANYWHERE)
        sched_setaffinity(0, sizeof(set), &set);
}

void bench_place_worker(int index)
{
    cpu_set_t set;
    int wanted;

    learn_allowed();
    wanted = index % CPU_COUNT(&allowed);
    CPU_ZERO(&set);
    for (int cpu = 0; cpu < CPU_SETSIZE; cpu++) {
        if (CPU_ISSET(cpu, &allowed) && wanted-- == 0) {
            CPU_SET(cpu, &set);
            break;
        }
    }
    sched_setaffinity(0, sizeof(set), &set);
}
