#include "orphans.h"

#include <string.h>

#include "codec.h"

void cbm_orphans_forget(cbm_orphans *orphans)
{
    memset(orphans, 0, sizeof(*orphans));
}

static cbm_orphan *find(cbm_orphans *orphans, uint32_t id)
{
    for (size_t i = 0; i < CBM_ORPHANS; i++)
        if (orphans->entries[i].id == id)
            return &orphans->entries[i];
    return NULL;
}

void cbm_orphans_expect(cbm_orphans *orphans, uint32_t id, const char *name)
{
    cbm_orphan *orphan = find(orphans, 0);

    if (!orphan)
        return;
    orphan->id = id;
    orphan->permit_size = 0;
    strcpy(orphan->name, name);
}

void cbm_orphans_arrive(cbm_orphans *orphans, uint32_t id, const uint8_t *body, size_t size)
{
    cbm_orphan *orphan = find(orphans, id);
    cbm_reply reply;
    cbm_fault fault;

    if (!orphan)
        return;
    orphan->id = 0;
    if (cbm_reply_decode(body, size, CBM_REPLY_BEGIN, &reply, &fault))
        return;
    if (!reply.error && reply.data.begin.probe) {
        orphan->id = id;
        orphan->permit_size = reply.data.begin.permit_size;
        memcpy(orphan->permit, reply.data.begin.permit, reply.data.begin.permit_size);
    }
    cbm_reply_deinit(&reply);
}

bool cbm_orphans_take(cbm_orphans *orphans, cbm_report_message *report)
{
    for (size_t i = 0; i < CBM_ORPHANS; i++) {
        cbm_orphan *orphan = &orphans->entries[i];

        if (!orphan->id || !orphan->permit_size)
            continue;
        *report = (cbm_report_message){.outcome = CBM_CORE_IGNORED, .duration_ns = -1, .count = 1};
        strcpy(report->name, orphan->name);
        report->permit_size = orphan->permit_size;
        memcpy(report->permit, orphan->permit, orphan->permit_size);
        orphan->id = 0;
        return true;
    }
    return false;
}
