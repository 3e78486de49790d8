#include "store_flusher.h"

#include <errno.h>
#include <time.h>
#include <unistd.h>

#define DELAY_NS                                                                                                       \
    10000000 /* what is written within it is synced together; a disk has 40 ms more for the 50 ms promised */

/* With the lock held; it is given up meanwhile. A copy of the descriptor, since another one may be set. */
static void sync_now(cbm_store_flusher *flusher)
{
    int descriptor = flusher->descriptor >= 0 ? dup(flusher->descriptor) : -1;
    int error = 0;

    flusher->dirty = false;
    if (descriptor < 0)
        return;
    pthread_mutex_unlock(&flusher->lock);
    if (fdatasync(descriptor) != 0)
        error = errno;
    close(descriptor);
    pthread_mutex_lock(&flusher->lock);
    if (!error)
        return;
    flusher->error = error;
    pthread_mutex_unlock(&flusher->lock);
    flusher->failed(flusher->context);
    pthread_mutex_lock(&flusher->lock);
}

static void *run(void *argument)
{
    cbm_store_flusher *flusher = argument;

    pthread_mutex_lock(&flusher->lock);
    while (!flusher->stopping || flusher->dirty) {
        if (!flusher->dirty) {
            pthread_cond_wait(&flusher->wake, &flusher->lock);
            continue;
        }
        pthread_mutex_unlock(&flusher->lock);
        nanosleep(&(struct timespec){.tv_nsec = DELAY_NS}, NULL);
        pthread_mutex_lock(&flusher->lock);
        sync_now(flusher);
    }
    pthread_mutex_unlock(&flusher->lock);
    return NULL;
}

int cbm_store_flusher_start(cbm_store_flusher *flusher, void (*failed)(void *context), void *context)
{
    int error;

    *flusher = (cbm_store_flusher){.descriptor = -1, .failed = failed, .context = context};
    pthread_mutex_init(&flusher->lock, NULL);
    pthread_cond_init(&flusher->wake, NULL);
    error = pthread_create(&flusher->thread, NULL, run, flusher);
    flusher->running = error == 0;
    return error;
}

void cbm_store_flusher_stop(cbm_store_flusher *flusher)
{
    if (flusher->running) {
        pthread_mutex_lock(&flusher->lock);
        flusher->stopping = true;
        pthread_cond_signal(&flusher->wake);
        pthread_mutex_unlock(&flusher->lock);
        pthread_join(flusher->thread, NULL);
        flusher->running = false;
        cbm_store_flusher_set(flusher, -1);
        pthread_cond_destroy(&flusher->wake);
        pthread_mutex_destroy(&flusher->lock);
    }
}

void cbm_store_flusher_set(cbm_store_flusher *flusher, int descriptor)
{
    int old;

    pthread_mutex_lock(&flusher->lock);
    old = flusher->descriptor;
    flusher->descriptor = descriptor;
    pthread_mutex_unlock(&flusher->lock);
    if (old >= 0)
        close(old);
}

bool cbm_store_flusher_has_file(cbm_store_flusher *flusher)
{
    bool has_file;

    pthread_mutex_lock(&flusher->lock);
    has_file = flusher->descriptor >= 0;
    pthread_mutex_unlock(&flusher->lock);
    return has_file;
}

void cbm_store_flusher_wrote(cbm_store_flusher *flusher)
{
    pthread_mutex_lock(&flusher->lock);
    if (!flusher->dirty) {
        flusher->dirty = true;
        pthread_cond_signal(&flusher->wake);
    }
    pthread_mutex_unlock(&flusher->lock);
}

int cbm_store_flusher_take_error(cbm_store_flusher *flusher)
{
    int error;

    pthread_mutex_lock(&flusher->lock);
    error = flusher->error;
    flusher->error = 0;
    pthread_mutex_unlock(&flusher->lock);
    return error;
}
