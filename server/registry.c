#include "registry.h"

#include <time.h>

#include "engine.h"
#include "error.h"

#define GREETING_NS (2 * CBM_CORE_NS_PER_S)
#define GREETING_PRESSED_NS (100 * CBM_CORE_NS_PER_MS)
#define AGAIN_NS (50 * CBM_CORE_NS_PER_MS)
#define STOP_AGAIN_NS (10 * CBM_CORE_NS_PER_MS)

static void list_add(cbm_registry_list *list, cbm_registry_entry *entry)
{
    entry->list = list;
    entry->next = NULL;
    entry->previous = list->last;
    if (list->last)
        list->last->next = entry;
    else
        list->first = entry;
    list->last = entry;
    list->count++;
}

static void list_remove(cbm_registry_entry *entry)
{
    cbm_registry_list *list = entry->list;

    if (entry->previous)
        entry->previous->next = entry->next;
    else
        list->first = entry->next;
    if (entry->next)
        entry->next->previous = entry->previous;
    else
        list->last = entry->previous;
    list->count--;
}

static void give_up(cbm_registry *registry, cbm_registry_entry *entry)
{
    list_remove(entry);
    list_add(&registry->given_up, entry);
    nng_aio_abort(entry->aio, NNG_ECLOSED);
}

static void give_up_list(cbm_registry *registry, cbm_registry_list *list)
{
    while (list->first)
        give_up(registry, list->first);
}

static void give_up_older(cbm_registry *registry, int64_t age_ns)
{
    int64_t before_ns = cbm_clock_ns() - age_ns;

    while (registry->silent.first && registry->silent.first->accepted_ns <= before_ns)
        give_up(registry, registry->silent.first);
}

static void give_up_again(cbm_registry *registry)
{
    for (cbm_registry_entry *entry = registry->given_up.first; entry; entry = entry->next)
        nng_aio_abort(entry->aio, NNG_ECLOSED);
}

/* Runs while there is somebody to wait for, and not when all have greeted. */
static void arm_sweep(cbm_registry *registry)
{
    int64_t wait_ns;

    registry->sweeping = registry->silent.first || registry->given_up.first;
    if (!registry->sweeping)
        return;
    if (registry->given_up.first)
        wait_ns = AGAIN_NS;
    else
        wait_ns = registry->silent.first->accepted_ns + GREETING_NS - cbm_clock_ns();
    nng_sleep_aio((nng_duration)(wait_ns < 0 ? 0 : wait_ns / CBM_CORE_NS_PER_MS + 1), registry->sweep);
}

static void on_sweep(void *argument)
{
    cbm_registry *registry = argument;

    if (nng_aio_result(registry->sweep) != 0)
        return;
    pthread_mutex_lock(&registry->lock);
    give_up_again(registry);
    give_up_older(registry, GREETING_NS);
    arm_sweep(registry);
    pthread_mutex_unlock(&registry->lock);
}

int cbm_registry_init(cbm_registry *registry, size_t silent_max)
{
    pthread_condattr_t attributes;

    *registry = (cbm_registry){.silent_max = silent_max};
    if (nng_aio_alloc(&registry->sweep, on_sweep, registry) != 0)
        return CBM_PROTO_E_NOMEM;
    if (cbm_turns_init(&registry->turns) != 0) {
        nng_aio_free(registry->sweep);
        return CBM_PROTO_E_NOMEM;
    }
    pthread_mutex_init(&registry->lock, NULL);
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&registry->emptied, &attributes);
    pthread_condattr_destroy(&attributes);
    return 0;
}

void cbm_registry_deinit(cbm_registry *registry)
{
    nng_aio_free(registry->sweep);
    cbm_turns_deinit(&registry->turns);
    pthread_cond_destroy(&registry->emptied);
    pthread_mutex_destroy(&registry->lock);
}

void cbm_registry_add(cbm_registry *registry, cbm_registry_entry *entry)
{
    entry->accepted_ns = cbm_clock_ns();
    pthread_mutex_lock(&registry->lock);
    if (registry->silent.count >= registry->silent_max)
        give_up(registry, registry->silent.first);
    list_add(&registry->silent, entry);
    registry->living++;
    if (!registry->sweeping)
        arm_sweep(registry);
    pthread_mutex_unlock(&registry->lock);
}

bool cbm_registry_greeted(cbm_registry *registry, cbm_registry_entry *entry)
{
    bool wanted;

    pthread_mutex_lock(&registry->lock);
    wanted = entry->list == &registry->silent;
    if (wanted) {
        list_remove(entry);
        list_add(&registry->greeted, entry);
    }
    pthread_mutex_unlock(&registry->lock);
    return wanted;
}

void cbm_registry_remove(cbm_registry *registry, cbm_registry_entry *entry)
{
    pthread_mutex_lock(&registry->lock);
    list_remove(entry);
    pthread_mutex_unlock(&registry->lock);
}

void cbm_registry_release(cbm_registry *registry)
{
    pthread_mutex_lock(&registry->lock);
    if (--registry->living == 0)
        pthread_cond_signal(&registry->emptied);
    pthread_mutex_unlock(&registry->lock);
}

void cbm_registry_relieve(cbm_registry *registry)
{
    pthread_mutex_lock(&registry->lock);
    give_up_older(registry, GREETING_PRESSED_NS);
    pthread_mutex_unlock(&registry->lock);
}

bool cbm_registry_is_stopping(const cbm_registry *registry)
{
    return atomic_load_explicit(&registry->stopping, memory_order_relaxed);
}

static struct timespec deadline(int64_t wait_ns)
{
    int64_t at_ns = cbm_clock_ns() + wait_ns;

    return (struct timespec){.tv_sec = at_ns / CBM_CORE_NS_PER_S, .tv_nsec = at_ns % CBM_CORE_NS_PER_S};
}

void cbm_registry_stop(cbm_registry *registry)
{
    atomic_store(&registry->stopping, true);
    nng_aio_stop(registry->sweep);
    pthread_mutex_lock(&registry->lock);
    give_up_list(registry, &registry->silent);
    give_up_list(registry, &registry->greeted);
    while (registry->living) {
        struct timespec again = deadline(STOP_AGAIN_NS);

        pthread_cond_timedwait(&registry->emptied, &registry->lock, &again);
        give_up_again(registry);
    }
    pthread_mutex_unlock(&registry->lock);
    cbm_turns_stop(&registry->turns);
}
