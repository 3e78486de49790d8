#include "clients.h"

#include <pthread.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static cbm_client *first;
static cbm_client *closed; /* through `next` */

void cbm_clients_add(cbm_client *client)
{
    pthread_mutex_lock(&lock);
    client->previous = NULL;
    client->next = first;
    if (first)
        first->previous = client;
    first = client;
    pthread_mutex_unlock(&lock);
}

void cbm_clients_remove(cbm_client *client)
{
    pthread_mutex_lock(&lock);
    if (client->previous)
        client->previous->next = client->next;
    else
        first = client->next;
    if (client->next)
        client->next->previous = client->previous;
    pthread_mutex_unlock(&lock);
}

/* What was the broker's of the earlier client, and all from `backend` on but for the registry. */
static void clear(cbm_client *client)
{
    cbm_registry registry = client->registry;

    atomic_store(&client->answered, false);
    atomic_store(&client->attached, false);
    memset(&client->backend, 0, sizeof(*client) - offsetof(cbm_client, backend));
    client->registry = registry;
}

cbm_client *cbm_clients_take(void)
{
    cbm_client *client;

    pthread_mutex_lock(&lock);
    client = closed;
    if (client)
        closed = client->next;
    pthread_mutex_unlock(&lock);
    if (client) {
        clear(client);
        return client;
    }
    client = aligned_alloc(_Alignof(cbm_client), sizeof(*client));
    if (client) {
        memset(client, 0, sizeof(*client));
        atomic_store(&client->closed, true);
    }
    return client;
}

void cbm_clients_give_back(cbm_client *client)
{
    pthread_mutex_lock(&lock);
    client->next = closed;
    closed = client;
    pthread_mutex_unlock(&lock);
}

void cbm_clients_lock_all(void)
{
    pthread_mutex_lock(&lock);
    for (cbm_client *client = first; client; client = client->next)
        pthread_mutex_lock(&client->lock);
}

void cbm_clients_unlock_all(void)
{
    for (cbm_client *client = first; client; client = client->next)
        pthread_mutex_unlock(&client->lock);
    pthread_mutex_unlock(&lock);
}

void cbm_clients_renew(void)
{
    pthread_mutex_init(&lock, NULL);
    for (cbm_client *client = first; client; client = client->next)
        cbm_client_renew(client);
}
