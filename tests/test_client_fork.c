/* A client is opened, and then its process forks. */
#include <criterion/criterion.h>
#include <dlfcn.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "client_fixture.h"
#include "fake_broker.h"
#include "sanitizers.h"

TestSuite(client_fork, .timeout = 60);

/* In a child: what does not hold ends it with the line as its status, which the parent prints. */
#define HOLDS(condition) ((condition) ? (void)0 : _exit(__LINE__ % 255 + 1))

typedef void child_function(void *context);

static pid_t start(pid_t (*how)(void), child_function *function, void *context)
{
    pid_t pid = how();

    cr_assert_geq(pid, 0);
    if (pid == 0) {
        alarm(PATIENCE_MS / 1000);
        function(context);
        _exit(0);
    }
    return pid;
}

static void ends_well(pid_t pid)
{
    int status;

    cr_assert_eq(waitpid(pid, &status, 0), pid);
    cr_assert_not(WIFSIGNALED(status), "it died of signal %d", WTERMSIG(status));
    cr_assert_eq(WEXITSTATUS(status), 0, "line %d (or 255 more) does not hold", WEXITSTATUS(status) - 1);
}

/* Without the handlers of pthread_atfork. */
static pid_t raw_fork(void)
{
    return (pid_t)syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0);
}

typedef struct inherited {
    fake_broker *broker;
    cbm_client *client;
    cbm_breaker *breaker;
    cbm_permit permit;
    uint8_t id[CBM_ID_SIZE];
} inherited;

static inherited new_inherited(cbm_when_away when_away)
{
    inherited i = {.broker = fake_broker_start(fake_serve_well, NULL)};

    i.client = open_client(fake_broker_address(i.broker), when_away);
    i.breaker = get_breaker(i.client, "ha_api", NULL);
    cr_assert_eq(call_with(i.breaker, CBM_SUCCESS), 0);
    memcpy(i.id, fake_broker_last(i.broker, CBM_OP_CALL_REPORT).report.client, CBM_ID_SIZE);
    cr_assert_eq(cbm_call_begin(i.breaker, &i.permit), 0);
    return i;
}

/* ---- What the child may do ---------------------------------------------------------------------------------------------- */

static void use_all(void *context)
{
    inherited *i = context;
    cbm_breaker *other;
    cbm_permit permit;

    HOLDS(cbm_call_report(&i->permit, CBM_SUCCESS) == CBM_E_INHERITED);
    HOLDS(cbm_call_begin(i->breaker, &permit) == 0);
    HOLDS(cbm_permit_unprotected(&permit) == 0);
    HOLDS(cbm_call_report(&permit, CBM_SUCCESS) == 0);
    HOLDS(cbm_get(i->client, "of_the_child", NULL, &other) == 0);
    HOLDS(cbm_ping(i->client) == 0);
    HOLDS(cbm_connected(i->client) == 1);
    cbm_close(i->client);
}

static void child_works(pid_t (*how)(void))
{
    inherited i = new_inherited(CBM_FAIL_CLOSED);

    ends_well(start(how, use_all, &i));
    cr_assert_eq(fake_broker_connections(i.broker), 2, "it connected for itself");
    cr_assert_neq(memcmp(fake_broker_last(i.broker, CBM_OP_CALL_REPORT).report.client, i.id, CBM_ID_SIZE), 0,
                  "its reports are not the parent's");
    cr_assert_eq(cbm_call_report(&i.permit, CBM_SUCCESS), 0, "the parent's permit is good");
    cr_assert_eq(fake_broker_connections(i.broker), 2, "and its connection");
    cbm_close(i.client);
    fake_broker_stop(i.broker);
}

Test(client_fork, a_child_connects_for_itself_and_inherits_no_permit)
{
    child_works(fork);
}

Test(client_fork, a_child_that_was_not_made_by_fork_is_noticed_too)
{
    child_works(raw_fork);
}

static void use_in_a_grandchild(void *context)
{
    inherited *i = context;
    cbm_permit permit;
    int status;
    pid_t pid;

    HOLDS(cbm_call_begin(i->breaker, &permit) == 0);
    pid = fork();
    if (pid == 0) {
        HOLDS(cbm_call_report(&permit, CBM_SUCCESS) == CBM_E_INHERITED);
        use_all(i);
        _exit(0);
    }
    HOLDS(waitpid(pid, &status, 0) == pid && status == 0);
    HOLDS(cbm_call_report(&permit, CBM_SUCCESS) == 0);
}

Test(client_fork, a_grandchild_is_another_process_again)
{
    inherited i = new_inherited(CBM_FAIL_CLOSED);

    ends_well(start(fork, use_in_a_grandchild, &i));
    cr_assert_eq(fake_broker_connections(i.broker), 3);
    cbm_close(i.client);
    fake_broker_stop(i.broker);
}

static void wait_for_the_end_of_the_parents_pipe(void *context)
{
    int *pipe_fds = context;
    char byte;

    close(pipe_fds[1]);
    (void)!read(pipe_fds[0], &byte, 1);
}

Test(client_fork, a_child_that_does_nothing_does_not_hold_the_parents_connection_open)
{
    inherited i = new_inherited(CBM_FAIL_CLOSED);
    int64_t end_ms = test_clock_ms() + PATIENCE_MS;
    int pipe_fds[2];
    pid_t pid;

    cr_assert_eq(pipe(pipe_fds), 0);
    pid = start(fork, wait_for_the_end_of_the_parents_pipe, pipe_fds);
    cbm_close(i.client);
    while (fake_broker_open_connections(i.broker) > 0 && test_clock_ms() < end_ms)
        sleep_ms(1);
    cr_assert_eq(fake_broker_open_connections(i.broker), 0);
    close(pipe_fds[1]);
    ends_well(pid);
    fake_broker_stop(i.broker);
}

/* ---- Threads at work while the process forks ------------------------------------------------------------------------------ */

/* Answers no begin. */
static void hang_in_begin(fake_peer *peer)
{
    if (!fake_greet(peer))
        return;
    while (fake_receive(peer))
        if (peer->request.op != CBM_OP_CALL_BEGIN)
            fake_answer(peer);
}

static void *begin_in_a_thread(void *breaker)
{
    cbm_permit permit;

    cbm_call_begin(breaker, &permit);
    return NULL;
}

static void ping_in_time(void *context)
{
    HOLDS(cbm_ping(context) == 0);
}

Test(client_fork, a_child_does_not_wait_for_a_call_that_a_thread_of_the_parent_is_in)
{
    fake_broker *broker = fake_broker_start(hang_in_begin, NULL);
    cbm_client *client = open_client(fake_broker_address(broker), CBM_FAIL_CLOSED);
    cbm_breaker *breaker = get_breaker(client, "ha_api", NULL);
    int64_t begun_ms = test_clock_ms();
    pthread_t thread;

    cr_assert_eq(pthread_create(&thread, NULL, begin_in_a_thread, breaker), 0);
    while (fake_broker_count(broker, CBM_OP_CALL_BEGIN) == 0)
        sleep_ms(1);
    ends_well(start(fork, ping_in_time, client));
    ends_well(start(raw_fork, ping_in_time, client));
    cr_assert_lt(test_clock_ms() - begun_ms, PATIENCE_MS / 2, "the thread's deadline is not over yet");
    fake_broker_stop(broker);
    pthread_join(thread, NULL);
    cbm_close(client);
}

typedef struct crowd {
    cbm_client *client;
    atomic_bool stop;
    atomic_int started;
} crowd;

static void *get_and_call(void *context)
{
    crowd *c = context;
    char name[] = "breaker-0000";
    unsigned number = (unsigned)atomic_fetch_add(&c->started, 1) * 1000;

    while (!c->stop) {
        cbm_breaker *breaker;

        for (unsigned i = 0, n = number++ % 10000; i < 4; i++, n /= 10)
            name[11 - i] = (char)('0' + n % 10);
        if (cbm_get(c->client, name, NULL, &breaker) == 0)
            call_with(breaker, CBM_SUCCESS);
    }
    return NULL;
}

static void use_the_manager(void *client)
{
    cbm_states_result *states;
    int error;

    error = cbm_reset_all(client);
    HOLDS(error == 0);
    HOLDS(cbm_states(client, NULL, &states) == 0);
    HOLDS(cbm_states_count(states) > 0);
    cbm_states_free(states);
    cbm_close(client);
}

Test(client_fork, forks_in_the_middle_of_other_threads_work_leave_the_childs_manager_whole)
{
    enum { THREADS = 3, CHILDREN = TEST_FORKS_AMONG_THREADS ? 60 : 0 };
    crowd c = {.client = open_client("local:", CBM_FAIL_OPEN)};
    pthread_t threads[THREADS];

    get_breaker(c.client, "ha_api", NULL);
    for (int i = 0; i < THREADS; i++)
        cr_assert_eq(pthread_create(&threads[i], NULL, get_and_call, &c), 0);
    for (int i = 0; i < CHILDREN; i++)
        ends_well(start(fork, use_the_manager, c.client));
    c.stop = true;
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    cbm_close(c.client);
}

/* ---- The manager inside the process ---------------------------------------------------------------------------------------- */

typedef struct probing {
    cbm_client *client;
    cbm_breaker *breaker;
    cbm_permit probe;
} probing;

static void find_states_but_no_permit(void *context)
{
    probing *p = context;
    cbm_states_result *states;

    HOLDS(cbm_call_report(&p->probe, CBM_SUCCESS) == CBM_E_INHERITED);
    HOLDS(cbm_states(p->client, "opened", &states) == 0);
    HOLDS(cbm_states_at(states, 0)->state == CBM_OPEN);
    HOLDS(cbm_states_at(states, 0)->failures == 5);
    cbm_states_free(states);
    HOLDS(cbm_states(p->client, "probed", &states) == 0);
    HOLDS(cbm_states_at(states, 0)->permits_out == 0);
    cbm_states_free(states);
}

Test(client_fork, a_child_inherits_the_states_of_the_local_manager_and_not_its_permits)
{
    probing p = {.client = open_client("local:", CBM_FAIL_OPEN)};
    cbm_policy policy = CBM_POLICY_INIT;

    for (int i = 0; i < 5; i++)
        cr_assert_eq(call_with(get_breaker(p.client, "opened", NULL), CBM_FAILURE), 0);
    policy.failure_threshold = 1;
    policy.timeout_ms = 1;
    policy.permit_lease_ms = CBM_NEVER;
    p.breaker = get_breaker(p.client, "probed", &policy);
    cr_assert_eq(call_with(p.breaker, CBM_FAILURE), 0);
    while (cbm_call_begin(p.breaker, &p.probe))
        sleep_ms(1);
    ends_well(start(fork, find_states_but_no_permit, &p));
    cr_assert_eq(cbm_call_report(&p.probe, CBM_SUCCESS), 0);
    cr_assert_eq(state_of(p.client, "probed").state, CBM_CLOSED);
    cbm_close(p.client);
}

static void ping_until_the_broker_is_back(void *client)
{
    while (cbm_ping(client))
        sleep_ms(5);
}

Test(client_fork, what_the_parent_owes_the_broker_is_handed_over_by_the_parent_alone)
{
    inherited i = new_inherited(CBM_LOCAL);

    fake_broker_go_away(i.broker);
    for (int n = 0; n < 4; n++)
        cr_assert_eq(call_with(i.breaker, CBM_SUCCESS), 0);
    fake_broker_restart(i.broker, fake_serve_well);
    ends_well(start(fork, ping_until_the_broker_is_back, i.client));
    cr_assert_eq(fake_broker_late(i.broker, CBM_CORE_SUCCESS), 0);
    cr_assert(await_broker(i.client));
    cr_assert_eq(fake_broker_late(i.broker, CBM_CORE_SUCCESS), 4);
    cbm_close(i.client);
    fake_broker_stop(i.broker);
}

/* ---- What an exec inherits, and what dlclose leaves -------------------------------------------------------------------------- */

Test(client_fork, no_socket_survives_an_exec)
{
    inherited i = new_inherited(CBM_FAIL_OPEN);
    int sockets = 0;

    for (int fd = 3; fd < 256; fd++) {
        struct stat status;

        if (fstat(fd, &status) || !S_ISSOCK(status.st_mode))
            continue;
        sockets += (fcntl(fd, F_GETFD) & FD_CLOEXEC) != 0;
    }
    cr_assert_geq(sockets, 3, "the client's, and the broker's two");
    cbm_close(i.client);
    fake_broker_stop(i.broker);
}

Test(client_fork, a_library_that_was_loaded_and_unloaded_does_no_harm_at_a_fork)
{
    for (int round = 0; round < 3; round++) {
        void *library = dlopen(CBM_CLIENT_LIBRARY, RTLD_NOW | RTLD_LOCAL);
        int (*open_function)(cbm_client **, const char *, const cbm_open_options *);
        void (*close_function)(cbm_client *);
        cbm_client *(*manager_function)(void);
        cbm_client *client;
        int status;
        pid_t pid;

        cr_assert_not_null(library, "%s", dlerror());
        *(void **)&open_function = dlsym(library, "cbm_open");
        *(void **)&close_function = dlsym(library, "cbm_close");
        *(void **)&manager_function = dlsym(library, "cbm_manager");
        cr_assert_eq(open_function(&client, "local:", NULL), 0);
        cr_assert_not_null(manager_function());
        close_function(client);
        cr_assert_eq(dlclose(library), 0);
        pid = fork();
        if (pid == 0)
            _exit(0);
        cr_assert_eq(waitpid(pid, &status, 0), pid);
        cr_assert_eq(status, 0);
    }
}

/* In a child: 0 when words on closed standard descriptors go nowhere. */
static int write_to_closed_descriptors(const char *address)
{
    cbm_client *client;
    int outcome = 0;

    for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++)
        close(fd);
    if (cbm_open(&client, address, NULL))
        return 1;
    for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++)
        if (write(fd, "words\n", 6) >= 0)
            outcome = 2;
    if (cbm_ping(client))
        outcome = 3;
    cbm_close(client);
    return outcome;
}

Test(client_fork, a_connection_never_takes_the_place_of_a_closed_standard_descriptor)
{
    fake_broker *broker = fake_broker_start(fake_serve_well, NULL);
    pid_t child = fork();
    int status;

    if (child == 0)
        _exit(write_to_closed_descriptors(fake_broker_address(broker)));
    cr_assert_eq(waitpid(child, &status, 0), child);
    cr_assert(WIFEXITED(status));
    cr_assert_eq(WEXITSTATUS(status), 0);
    fake_broker_stop(broker);
}
