#include "handover.h"

#include <stdlib.h>
#include <string.h>

#include "broker.h"
#include "client.h"

int cbm_handover_init(cbm_handover *handover)
{
    handover->count = 0;
    handover->batch = calloc(CBM_HANDOVER_BATCH, sizeof(*handover->batch));
    return handover->batch ? 0 : CBM_E_NOMEM;
}

void cbm_handover_deinit(cbm_handover *handover)
{
    free(handover->batch);
    *handover = (cbm_handover){0};
}

void cbm_handover_add(cbm_breaker *breaker, cbm_outcome outcome)
{
    cbm_client *client = breaker->client;

    pthread_mutex_lock(&client->lock);
    breaker->owed[outcome]++;
    client->owes = true;
    pthread_mutex_unlock(&client->lock);
}

static bool owes(const cbm_breaker *breaker)
{
    for (int outcome = 0; outcome < CBM_OUTCOMES; outcome++)
        if (breaker->owed[outcome])
            return true;
    return false;
}

/* A handle that owes something and is not known to this broker yet: the report would create it without its policy. */
static cbm_breaker *find_strange(cbm_client *client)
{
    cbm_breaker *breaker;

    pthread_mutex_lock(&client->lock);
    breaker = client->registry.first;
    while (breaker && !(owes(breaker) && breaker->attached != client->link.life))
        breaker = breaker->following;
    pthread_mutex_unlock(&client->lock);
    return breaker;
}

static void fill(cbm_client *client, cbm_report_message *message, const cbm_breaker *breaker, int outcome)
{
    memset(message, 0, sizeof(*message));
    strcpy(message->name, breaker->name);
    message->outcome = (cbm_core_outcome)outcome;
    message->duration_ns = -1;
    message->late = true;
    message->count = breaker->owed[outcome];
    message->has_client = true;
    memcpy(message->client, client->id, CBM_ID_SIZE);
    message->sequence = ++client->sequence;
    message->has_incarnation = client->link.has_incarnation;
    memcpy(message->incarnation, client->link.incarnation, CBM_ID_SIZE);
}

/* Takes what the handles owe into the batch, as far as it has room. */
static void collect(cbm_client *client)
{
    cbm_handover *handover = &client->handover;

    pthread_mutex_lock(&client->lock);
    client->owes = false;
    for (cbm_breaker *breaker = client->registry.first; breaker; breaker = breaker->following)
        for (int outcome = 0; outcome < CBM_OUTCOMES; outcome++) {
            if (!breaker->owed[outcome])
                continue;
            if (handover->count == CBM_HANDOVER_BATCH) {
                client->owes = true;
                break;
            }
            fill(client, &handover->batch[handover->count++], breaker, outcome);
            breaker->owed[outcome] = 0;
        }
    pthread_mutex_unlock(&client->lock);
}

/* A batch that was sent without an answer is sent again as it is: by its sequences the broker knows what it has already. */
static int send_batch(cbm_client *client, int64_t deadline_ns)
{
    cbm_handover *handover = &client->handover;
    cbm_request request = {
        .op = CBM_OP_CALL_REPORT,
        .given = CBM_FIELD(REPORTS),
        .reports = handover->batch,
        .report_count = handover->count,
    };
    cbm_link_reply answer;
    cbm_reply reply;
    int error = cbm_broker_round_trip(&client->link, &request, deadline_ns, &reply, &answer);

    if (error)
        return error;
    cbm_reply_deinit(&reply);
    handover->count = 0;
    return 0;
}

/* Makes the breaker known to this broker. One that it will not have has no statistics there, and must not keep the others' back. */
static bool introduce(cbm_client *client, cbm_breaker *breaker, int64_t deadline_ns)
{
    cbm_reply refusal;

    if (cbm_broker_attach(client, breaker, deadline_ns, &refusal))
        return false;
    if (refusal.error == CBM_E_RATE_LIMITED || refusal.error == CBM_E_NOMEM)
        return false; /* for now */
    if (refusal.error) {
        pthread_mutex_lock(&client->lock);
        memset(breaker->owed, 0, sizeof(breaker->owed));
        pthread_mutex_unlock(&client->lock);
    }
    return true;
}

/* Another message's worth. False: no more can be done for now. */
static bool step(cbm_client *client, int64_t deadline_ns)
{
    cbm_breaker *breaker = find_strange(client);

    if (breaker)
        return introduce(client, breaker, deadline_ns);
    if (client->handover.count == 0)
        collect(client);
    if (client->handover.count == 0)
        return false;
    if (send_batch(client, deadline_ns)) {
        client->owes = true;
        return false;
    }
    return true;
}

void cbm_handover_send(cbm_client *client, int64_t deadline_ns)
{
    for (int messages = 0; messages < CBM_HANDOVER_MESSAGES && client->owes; messages++)
        if (!step(client, deadline_ns))
            return;
}

void cbm_handover_try(cbm_client *client, int64_t deadline_ns)
{
    if (cbm_link_enter(&client->link, deadline_ns))
        return;
    if (cbm_link_connect(&client->link, deadline_ns) == 0)
        cbm_handover_send(client, deadline_ns);
    cbm_link_leave(&client->link);
}

void cbm_handover_finish(cbm_client *client, int64_t deadline_ns)
{
    if (!client->owes || cbm_link_enter(&client->link, deadline_ns))
        return;
    if (cbm_link_connect(&client->link, deadline_ns) == 0)
        while (client->owes && step(client, deadline_ns))
            ;
    cbm_link_leave(&client->link);
}

void cbm_handover_forget(cbm_client *client)
{
    client->owes = false;
    client->handover.count = 0;
    for (cbm_breaker *breaker = client->registry.first; breaker; breaker = breaker->following)
        memset(breaker->owed, 0, sizeof(breaker->owed));
}
