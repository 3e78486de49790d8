#include "clients.h"

#include <pthread.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static cbm_client *first;

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
