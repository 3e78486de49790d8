/* Threads, forks and system calls around a client that shares memory, and its end while others are at work. */
#include <criterion/criterion.h>
#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stddef.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "board_scene.h"
#include "client.h"
#include "sanitizers.h"

TestSuite(client_shared, .timeout = 60);

/* In a child: what does not hold ends it with the line as its status, which the parent prints. */
#define HOLDS(condition) ((condition) ? (void)0 : _exit(__LINE__ % 255 + 1))

static int64_t soon(void)
{
    return now_ns() + 60 * SECOND;
}

static void ends_well(pid_t pid)
{
    int status;

    cr_assert_eq(waitpid(pid, &status, 0), pid);
    cr_assert_not(WIFSIGNALED(status), "it died of signal %d", WTERMSIG(status));
    cr_assert_eq(WEXITSTATUS(status), 0, "line %d (or 255 more) does not hold", WEXITSTATUS(status) - 1);
}

/* ---- No system call ------------------------------------------------------------------------------------------------------- */

/* From now on any other system call than exit_group ends the process. (AddressSanitizer makes some of its own.) */
static void forbid_system_calls(void)
{
    struct sock_filter filter[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, __NR_exit_group, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
    };
    struct sock_fprog program = {sizeof(filter) / sizeof(*filter), filter};

    HOLDS(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
    HOLDS(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program, 0, 0) == 0);
}

static void calls_without_a_system_call(cbm_core_state state, uint64_t flags, int64_t aux, int begun)
{
    scene s = new_scene(CBM_FAIL_CLOSED);
    pid_t pid;

    if (TEST_UNDER_ASAN) {
        end_scene(&s);
        return;
    }
    fake_board_put(s.board, 0, fake_board_word(s.board, state, flags, 1), aux);
    pid = fork();
    if (pid == 0) {
        /* The child attaches, gets a place, and its thread a lane. */
        call_with(s.breaker, CBM_SUCCESS);
        call_with(s.breaker, CBM_SUCCESS);
        forbid_system_calls();
        for (int i = 0; i < 100000; i++)
            HOLDS(call_with(s.breaker, CBM_SUCCESS) == begun);
        _exit(0);
    }
    ends_well(pid);
    end_scene(&s);
}

Test(client_shared, a_call_that_succeeds_makes_no_system_call)
{
    calls_without_a_system_call(CBM_CORE_CLOSED, CBM_WORD_FAST, 0, 0);
}

Test(client_shared, nor_does_one_that_is_timed)
{
    calls_without_a_system_call(CBM_CORE_CLOSED, CBM_WORD_FAST | CBM_WORD_TIMED, 3600 * SECOND, 0);
}

Test(client_shared, nor_does_one_that_is_refused)
{
    calls_without_a_system_call(CBM_CORE_OPEN, 0, soon(), CBM_E_OPEN);
}

Test(client_shared, a_system_call_would_be_noticed)
{
    pid_t pid = fork();
    int status;

    if (pid == 0) {
        forbid_system_calls();
        syscall(SYS_getppid);
        _exit(0);
    }
    cr_assert_eq(waitpid(pid, &status, 0), pid);
    cr_assert(WIFSIGNALED(status) && WTERMSIG(status) == SIGSYS);
}

/* ---- Threads --------------------------------------------------------------------------------------------------------------- */

#define CALLS 20000

static void *call_many_times(void *context)
{
    const scene *s = context;

    for (int i = 0; i < CALLS; i++)
        if (call_with(s->breaker, CBM_SUCCESS))
            return (void *)1;
    return NULL;
}

static void run_threads(const scene *s, int threads)
{
    pthread_t ids[64];

    for (int i = 0; i < threads; i++)
        cr_assert_eq(pthread_create(&ids[i], NULL, call_many_times, (void *)(uintptr_t)s), 0);
    for (int i = 0; i < threads; i++) {
        void *failed;

        pthread_join(ids[i], &failed);
        cr_assert_null(failed);
    }
}

Test(client_shared, each_thread_counts_in_a_lane_of_its_own_and_lanes_are_used_again)
{
    scene s = new_scene(CBM_FAIL_CLOSED);

    for (int i = 0; i < 40; i++)
        run_threads(&s, 1);
    cr_assert_eq(counts(&s).successes, 40 * CALLS);
    cr_assert_eq(atomic_load(&fake_board_ledger(s.board)->lanes_in_use), 1, "one after the other");
    end_scene(&s);
}

Test(client_shared, more_threads_than_lanes_lose_nothing)
{
    scene s = new_scene(CBM_FAIL_CLOSED);

    run_threads(&s, 40);
    cr_assert_eq(counts(&s).successes, 40 * CALLS);
    cr_assert_eq(count(&s, CBM_OP_CALL_BEGIN) + count(&s, CBM_OP_CALL_REPORT), 0);
    end_scene(&s);
}

typedef struct gate {
    const scene *scene;
    pthread_barrier_t barrier;
    atomic_int refused;
} gate;

/* All are there at once before the first one goes on, so that each has its lane. */
static void *be_refused(void *context)
{
    gate *g = context;
    cbm_permit permit;

    cbm_call_begin(g->scene->breaker, &permit);
    pthread_barrier_wait(&g->barrier);
    for (int i = 0; i < 1000; i++)
        g->refused += cbm_call_begin(g->scene->breaker, &permit) == CBM_E_OPEN;
    pthread_barrier_wait(&g->barrier);
    return NULL;
}

Test(client_shared, counters_without_locked_instructions_lose_nothing_in_shared_lanes_either)
{
    enum { THREADS = 24 };
    scene s = new_scene(CBM_FAIL_CLOSED);
    gate g = {.scene = &s};
    pthread_t threads[THREADS];

    fake_board_put(s.board, 0, fake_board_word(s.board, CBM_CORE_OPEN, 0, 2), soon());
    pthread_barrier_init(&g.barrier, NULL, THREADS);
    for (int i = 0; i < THREADS; i++)
        cr_assert_eq(pthread_create(&threads[i], NULL, be_refused, &g), 0);
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    pthread_barrier_destroy(&g.barrier);
    cr_assert_eq(g.refused, THREADS * 1000);
    cr_assert_eq(counts(&s).rejected, THREADS * 1001);
    cr_assert_eq(atomic_load(&fake_board_ledger(s.board)->lanes_in_use), CBM_LEDGER_LANES);
    end_scene(&s);
}

/* ---- Forks ----------------------------------------------------------------------------------------------------------------- */

Test(client_shared, a_child_attaches_for_itself_and_writes_no_page_of_its_parent)
{
    scene s = new_scene(CBM_FAIL_CLOSED);
    const cbm_ledger *of_parent = fake_board_ledger(s.board);
    cbm_permit permit;
    pid_t pid;

    for (int i = 0; i < 10; i++)
        cr_assert_eq(call_with(s.breaker, CBM_SUCCESS), 0);
    cr_assert_eq(cbm_call_begin(s.breaker, &permit), 0);
    pid = fork();
    if (pid == 0) {
        HOLDS(cbm_call_report(&permit, CBM_SUCCESS) == CBM_E_INHERITED);
        for (int i = 0; i < 100; i++)
            HOLDS(call_with(s.breaker, CBM_SUCCESS) == 0);
        cbm_close(s.client);
        _exit(0);
    }
    ends_well(pid);
    cr_assert_eq(fake_board_attached(s.board), 2);
    cr_assert_eq(fake_counts_of(of_parent, 0).successes, 10);
    cr_assert_eq(counts(&s).successes, 99, "the child's first call was a get, and reported by message");
    cr_assert_neq(memcmp(of_parent->id, fake_board_ledger(s.board)->id, CBM_ID_SIZE), 0);
    cr_assert_eq(cbm_call_report(&permit, CBM_SUCCESS), 0, "the parent goes on");
    cr_assert_eq(fake_counts_of(of_parent, 0).successes, 11);
    cr_assert_eq(count(&s, CBM_OP_CALL_BEGIN), 0);
    end_scene(&s);
}

static const scene *interrupted;
static volatile sig_atomic_t is_child;
static volatile sig_atomic_t in_handler;

/* Forks in the middle of whatever the thread is at; the child goes on with that as well. */
static void fork_in_the_handler(int number)
{
    pid_t pid;

    (void)number;
    if (in_handler)
        return;
    in_handler = 1;
    pid = fork();
    if (pid == 0)
        is_child = 1;
    else if (pid > 0) {
        int status;

        if (waitpid(pid, &status, 0) != pid || status != 0)
            _exit(200);
    }
    in_handler = 0;
}

static void *interrupt(void *context)
{
    pthread_t thread = *(pthread_t *)context;
    struct timespec pause = {.tv_nsec = 300000};

    for (int i = 0; i < 200; i++) {
        pthread_kill(thread, SIGUSR1);
        nanosleep(&pause, NULL);
    }
    return NULL;
}

static void call_while_interrupted(void)
{
    struct sigaction action = {.sa_handler = fork_in_the_handler, .sa_flags = SA_RESTART};
    const cbm_ledger *ledger = interrupted->client->ledger;
    pthread_t self = pthread_self(), other;
    uint64_t calls = 0;
    uint64_t before = fake_counts_of(ledger, 0).successes;

    sigaction(SIGUSR1, &action, NULL);
    HOLDS(pthread_create(&other, NULL, interrupt, &self) == 0);
    while (pthread_tryjoin_np(other, NULL) == EBUSY) {
        cbm_permit permit;

        if (cbm_call_begin(interrupted->breaker, &permit) || cbm_call_report(&permit, CBM_SUCCESS))
            _exit(is_child ? 0 : 201); /* as a child, without a broker's word for it perhaps */
        if (is_child)
            _exit(0);
        calls++;
    }
    signal(SIGUSR1, SIG_IGN);
    if (is_child) /* made in the loop's condition: in a child the other thread is not there, and its parent's ledger neither */
        _exit(0);
    HOLDS(fake_counts_of(ledger, 0).successes == before + calls);
    _exit(0);
}

Test(client_shared, a_call_that_is_interrupted_by_a_fork_goes_on_in_both_and_counts_for_the_parent_alone)
{
    scene s = new_scene(CBM_FAIL_OPEN);
    pid_t pid;

    if (!TEST_FORKS_AMONG_THREADS) {
        end_scene(&s);
        return;
    }
    interrupted = &s;
    pid = fork();
    if (pid == 0) {
        alarm(PATIENCE_MS / 1000);
        HOLDS(call_with(s.breaker, CBM_SUCCESS) == 0);
        HOLDS(call_with(s.breaker, CBM_SUCCESS) == 0);
        call_while_interrupted();
    }
    ends_well(pid);
    end_scene(&s);
}

/* ---- The end ---------------------------------------------------------------------------------------------------------------- */

typedef struct waiting {
    scene *scene;
    atomic_bool begun;
    int error;
    int64_t ended_ms;
} waiting;

static void *fail_slowly(void *context)
{
    waiting *w = context;
    cbm_permit permit;

    if (cbm_call_begin(w->scene->breaker, &permit) == 0) {
        w->begun = true;
        w->error = cbm_call_report(&permit, CBM_FAILURE);
    }
    w->ended_ms = test_clock_ms();
    return NULL;
}

Test(client_shared, close_waits_for_calls_under_way_which_end_by_their_deadlines)
{
    scene s = {.board = fake_board_start(FAKE_ATTACH_WELL)};
    waiting w = {.scene = &s};
    int64_t closed_ms;
    pthread_t thread;

    s.client = open_hurried(fake_board_address(s.board), CBM_FAIL_CLOSED);
    s.breaker = get_breaker(s.client, "ha_api", NULL);
    fake_board_hang(s.board, true);
    cr_assert_eq(pthread_create(&thread, NULL, fail_slowly, &w), 0);
    while (!w.begun || count(&s, CBM_OP_CALL_REPORT) == 0)
        sleep_ms(1);
    cbm_close(s.client);
    closed_ms = test_clock_ms();
    pthread_join(thread, NULL);
    cr_assert_eq(w.error, CBM_E_AWAY);
    cr_assert_leq(w.ended_ms, closed_ms + 1);
    fake_board_stop(s.board);
}

static void *call_until_closed(void *context)
{
    scene *s = context;
    int error = 0;

    while (error != CBM_E_INVALID) {
        error = call_with(s->breaker, CBM_SUCCESS);
        if (error && error != CBM_E_INVALID && error != CBM_E_AWAY)
            return (void *)1;
    }
    return NULL;
}

Test(client_shared, calls_that_go_on_while_the_client_is_closed_get_an_error_and_no_crash)
{
    for (int round = 0; round < 50; round++) {
        scene s = new_scene(CBM_FAIL_CLOSED);
        pthread_t threads[4];

        for (int i = 0; i < 4; i++)
            cr_assert_eq(pthread_create(&threads[i], NULL, call_until_closed, &s), 0);
        sleep_ms(round % 4);
        cbm_close(s.client);
        for (int i = 0; i < 4; i++) {
            void *failed;

            pthread_join(threads[i], &failed);
            cr_assert_null(failed);
        }
        fake_board_stop(s.board);
    }
}
