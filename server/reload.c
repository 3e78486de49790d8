#include "reload.h"

#include <signal.h>
#include <stdio.h>
#include <unistd.h>

void cbm_reload_init(cbm_reload *reload, bool possible)
{
    *reload = (cbm_reload){.possible = possible, .outcome.success = true};
    pthread_mutex_init(&reload->lock, NULL);
}

void cbm_reload_deinit(cbm_reload *reload)
{
    pthread_mutex_destroy(&reload->lock);
}

bool cbm_reload_ask(cbm_reload *reload, uint64_t *number)
{
    if (!reload->possible)
        return false;
    pthread_mutex_lock(&reload->lock);
    *number = ++reload->outcome.asked;
    pthread_mutex_unlock(&reload->lock);
    kill(getpid(), SIGHUP); /* for which the main thread waits */
    return true;
}

void cbm_reload_outcome_get(cbm_reload *reload, cbm_reload_outcome *outcome)
{
    pthread_mutex_lock(&reload->lock);
    *outcome = reload->outcome;
    pthread_mutex_unlock(&reload->lock);
}

uint64_t cbm_reload_begin(cbm_reload *reload)
{
    uint64_t number;

    pthread_mutex_lock(&reload->lock);
    number = reload->outcome.asked;
    pthread_mutex_unlock(&reload->lock);
    return number;
}

void cbm_reload_end(cbm_reload *reload, uint64_t number, bool success, const char *message)
{
    pthread_mutex_lock(&reload->lock);
    reload->outcome.done = number;
    reload->outcome.success = success;
    snprintf(reload->outcome.message, sizeof reload->outcome.message, "%s", message);
    pthread_mutex_unlock(&reload->lock);
}
