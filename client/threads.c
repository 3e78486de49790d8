#include "threads.h"

#include <errno.h>
#include <linux/membarrier.h>
#include <pthread.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "clock.h"
#include "failure.h"
#include "ledger.h"

#define RECORDS 1024                        /* the calls of more threads than this are counted, which costs them more */
#define LANE_SHARED (CBM_LEDGER_LANES - 1)  /* of all threads that find no lane of their own */
#define LOOK_AGAIN_NS (100 * CBM_NS_PER_US) /* between looks at who is still in a call */
#define SETTLE_NS (10 * CBM_NS_PER_MS)      /* long enough for any store to be seen */

_Thread_local cbm_thread cbm_this_thread __attribute__((tls_model("initial-exec"))) = {.process = CBM_THREAD_UNKNOWN};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* guards what is `taken` */
static cbm_thread_record records[RECORDS];
static _Atomic int records_used; /* those at and above it were never taken */
static uint32_t lanes_taken;
static pthread_key_t key; /* its destructor tells that a thread ends */
static bool has_key;
static bool fenced;

static long membarrier(int command)
{
    return syscall(SYS_membarrier, command, 0, 0);
}

static void pause_ns(int64_t ns)
{
    struct timespec time = cbm_clock_timespec(ns);

    nanosleep(&time, NULL);
}

/* ---- Coming and going ------------------------------------------------------------------------------------------- */

static cbm_thread_record *take_record(void)
{
    for (int i = 0; i < RECORDS; i++) {
        if (records[i].taken)
            continue;
        records[i].taken = true;
        if (i >= records_used)
            records_used = i + 1;
        return &records[i];
    }
    return NULL;
}

static void take_lane(cbm_thread *thread)
{
    thread->lane = 0;
    while (thread->lane < LANE_SHARED && lanes_taken >> thread->lane & 1)
        thread->lane++;
    thread->lane_is_shared = thread->lane == LANE_SHARED;
    if (!thread->lane_is_shared)
        lanes_taken |= UINT32_C(1) << thread->lane;
}

/* A thread without a record is asked for again at each of its calls. */
static void come(cbm_thread *thread)
{
    cbm_thread_record *record;

    thread->record = NULL;
    thread->process = CBM_THREAD_UNKNOWN;
    thread->lane = LANE_SHARED;
    thread->lane_is_shared = true;
    thread->fenced = fenced;
    if (!has_key)
        return;
    pthread_mutex_lock(&lock);
    record = take_record();
    if (record && pthread_setspecific(key, record)) {
        record->taken = false;
        record = NULL;
    }
    if (record) {
        take_lane(thread);
        thread->record = record;
        thread->process = cbm_process();
    }
    pthread_mutex_unlock(&lock);
}

/* Should the thread call again after this, it comes anew, and this is called again. */
static void go(void *record)
{
    cbm_thread *thread = &cbm_this_thread;

    if (thread->record != record || thread->process != cbm_process())
        return; /* taken in the process that this one was forked from */
    pthread_mutex_lock(&lock);
    thread->record->taken = false;
    if (!thread->lane_is_shared)
        lanes_taken &= ~(UINT32_C(1) << thread->lane);
    pthread_mutex_unlock(&lock);
    thread->record = NULL;
    thread->process = CBM_THREAD_UNKNOWN;
}

void cbm_threads_begin(void)
{
    long offered = membarrier(MEMBARRIER_CMD_QUERY);

    fenced = offered < 0 || !(offered & MEMBARRIER_CMD_PRIVATE_EXPEDITED);
    has_key = pthread_key_create(&key, go) == 0;
}

void cbm_threads_renew(void)
{
    pthread_mutex_init(&lock, NULL);
    lanes_taken = 0;
    for (int i = 0; i < records_used; i++) {
        atomic_store_explicit(&records[i].in, NULL, memory_order_relaxed);
        records[i].taken = false;
    }
    records_used = 0;
}

/* ---- Calls ------------------------------------------------------------------------------------------------------- */

int cbm_enter(cbm_client *client)
{
    cbm_thread *thread = &cbm_this_thread;

    if (thread->process != cbm_process())
        come(thread);
    if (thread->record)
        atomic_store(&thread->record->in, client);
    else
        atomic_fetch_add(&client->uncounted_in, 1);
    if (!atomic_load(&client->closing))
        return 0;
    cbm_leave(client);
    return cbm_fail(CBM_E_INVALID, "client: it is being closed");
}

void cbm_leave(cbm_client *client)
{
    if (cbm_this_thread.record)
        cbm_unmark();
    else
        atomic_fetch_sub(&client->uncounted_in, 1);
}

/* After it every other thread has seen what this one stored before it, or its mark is seen here. */
static void order_all_threads(void)
{
    if (fenced || membarrier(MEMBARRIER_CMD_PRIVATE_EXPEDITED) == 0)
        return;
    /* Not registered in this process yet: done here, since it may take a while where there are threads. */
    if (errno == EPERM && membarrier(MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED) == 0 &&
        membarrier(MEMBARRIER_CMD_PRIVATE_EXPEDITED) == 0)
        return;
    pause_ns(SETTLE_NS); /* forbidden meanwhile */
}

static bool is_somebody_in(const cbm_client *client)
{
    for (int i = 0; i < atomic_load(&records_used); i++)
        if (atomic_load(&records[i].in) == client)
            return true;
    return atomic_load(&client->uncounted_in) > 0;
}

void cbm_threads_await(cbm_client *client)
{
    atomic_store(&client->closing, true);
    order_all_threads();
    while (is_somebody_in(client))
        pause_ns(LOOK_AGAIN_NS);
}
