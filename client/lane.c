#include "lane.h"

#include <pthread.h>
#include <stdatomic.h>

#include "fork.h"
#include "ledger.h"

#define SHARED (CBM_LEDGER_LANES - 1)

_Thread_local cbm_thread cbm_this_thread __attribute__((tls_model("initial-exec"))) = {.lane = CBM_LANE_NONE};

static _Atomic uint32_t taken; /* a bit for each lane that is one thread's */
static pthread_key_t key;      /* its destructor tells that a thread ends */
static bool has_key;

/* Should the thread count again after this, it takes another one, and this is called again. */
static void give_back(void *context)
{
    cbm_thread *thread = context;

    if (thread->lane < SHARED && thread->process == cbm_process())
        atomic_fetch_and(&taken, ~(UINT32_C(1) << thread->lane));
    thread->lane = CBM_LANE_NONE;
}

/* The lowest one that is free. */
static uint32_t take_bit(void)
{
    uint32_t before = atomic_load(&taken), lane;

    do {
        lane = 0;
        while (lane < SHARED && before >> lane & 1)
            lane++;
    } while (lane < SHARED && !atomic_compare_exchange_weak(&taken, &before, before | UINT32_C(1) << lane));
    return lane;
}

void cbm_lane_take(void)
{
    cbm_thread *thread = &cbm_this_thread;

    thread->process = cbm_process();
    thread->lane = has_key && pthread_setspecific(key, thread) == 0 ? take_bit() : SHARED;
    thread->lane_is_shared = thread->lane == SHARED;
}

void cbm_lanes_begin(void)
{
    has_key = pthread_key_create(&key, give_back) == 0;
}

void cbm_lanes_renew(void)
{
    atomic_store(&taken, 0);
    cbm_this_thread.lane = CBM_LANE_NONE;
}
