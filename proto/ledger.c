#include "ledger.h"

#include <string.h>

#define STEP_BITS 2 /* four steps for each doubling */
#define NS_PER_US 1000

void cbm_ledger_init(cbm_ledger *ledger, const uint8_t id[CBM_ID_SIZE])
{
    ledger->magic = CBM_LEDGER_MAGIC;
    ledger->version = CBM_LEDGER_VERSION;
    ledger->entry_size = sizeof(cbm_entry);
    ledger->size = CBM_LEDGER_SIZE;
    ledger->entry_count = CBM_LEDGER_ENTRIES;
    ledger->lane_count = CBM_LEDGER_LANES;
    memcpy(ledger->id, id, CBM_ID_SIZE);
}

bool cbm_ledger_valid(const cbm_ledger *ledger, size_t size)
{
    return size == CBM_LEDGER_SIZE && ledger->magic == CBM_LEDGER_MAGIC && ledger->version == CBM_LEDGER_VERSION &&
           ledger->entry_size == sizeof(cbm_entry) && ledger->size == CBM_LEDGER_SIZE &&
           ledger->entry_count == CBM_LEDGER_ENTRIES && ledger->lane_count == CBM_LEDGER_LANES;
}

uint32_t cbm_ledger_bucket(int64_t duration_ns)
{
    uint64_t us = duration_ns < 0 ? 0 : (uint64_t)duration_ns / NS_PER_US;
    uint32_t doublings, bucket;

    if (us < 1U << STEP_BITS)
        return (uint32_t)us;
    doublings = 63 - STEP_BITS - (uint32_t)__builtin_clzll(us);
    bucket = (doublings << STEP_BITS) + (uint32_t)(us >> doublings);
    return bucket < CBM_LEDGER_BUCKETS ? bucket : CBM_LEDGER_BUCKETS - 1;
}

int64_t cbm_ledger_bucket_ns(uint32_t bucket)
{
    uint32_t doublings = bucket < 2U << STEP_BITS ? 0 : (bucket >> STEP_BITS) - 1;
    int64_t low_us = (int64_t)(bucket - (doublings << STEP_BITS)) << doublings;

    return low_us * NS_PER_US + ((int64_t)NS_PER_US << doublings) / 2;
}
