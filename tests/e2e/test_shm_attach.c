/* Handing over: who takes his time, who comes with many, who dies half-way. Others attach meanwhile. */
#include "shm_broker.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "error.h"
#include "ledger.h"

#define NOBODY 65534
#define MOMENT_MS 5000 /* for what takes some milliseconds on a machine that has time */

static shm_broker b;

static void set_up(void)
{
    b = shm_broker_start(&(broker_options){.arguments = {"--rate-limit", "0", "--no-store", "--socket-mode", "0666"}});
    chmod(b.broker->directory, 0755);
}

static void tear_down(void)
{
    shm_broker_free(&b);
}

TestSuite(shm_attach, .init = set_up, .fini = tear_down, .timeout = 90);

static int attach_one(int index, void *context)
{
    (void)index;
    (void)context;
    uint8_t id[CBM_ID_SIZE];
    MUST(shm_bring_good(&b, id) == 0);
    MUST(shm_is_attached(&b, id));
    return 0;
}

/* Up to the reply, which is not acknowledged; the connection stays open. */
static int take_the_reply(void)
{
    uint8_t id[CBM_ID_SIZE], token[CBM_ID_SIZE];
    int ledger = shm_good_ledger(id), fd = shm_connect(b.path);
    MUST(fd >= 0);
    shm_token(&b, token);
    MUST(shm_request(fd, token, ledger));
    close(ledger);
    return fd;
}

/* ---- Many at once -------------------------------------------------------------------------------------------------- */

Test(shm_attach, thirty_two_processes_that_start_at_once_all_attach)
{
    int64_t begun = clock_ms();
    cr_assert_eq(processes_run(32, attach_one, NULL, HARNESS_DEADLINE_MS), 0);
    cr_assert_lt(clock_ms() - begun, MOMENT_MS, "they took turns, and nobody waited for another's deadline");
}

Test(shm_attach, four_of_a_user_are_answered_and_the_next_when_one_acknowledges)
{
    int fds[6];
    cbm_attach_reply reply;
    for (int i = 0; i < 6; i++)
        fds[i] = take_the_reply();
    for (int i = 0; i < 4; i++)
        cr_assert_eq(shm_receive(fds[i], &reply, NULL, MOMENT_MS), SHM_REPLY, "%d", i);
    cr_assert_eq(shm_receive(fds[4], &reply, NULL, 50), SHM_SILENCE);
    cr_assert(shm_acknowledge(fds[2]));
    cr_assert_eq(shm_receive(fds[2], &reply, NULL, MOMENT_MS), SHM_END);
    cr_assert_eq(shm_receive(fds[4], &reply, NULL, 800), SHM_REPLY, "in the order in which they came");
    cr_assert_eq(reply.result, 0);
    for (int i = 0; i < 6; i++)
        close(fds[i]);
    cr_assert(shm_broker_descriptors_settle(&b, 1));
    cr_assert_eq(processes_run(1, attach_one, NULL, HARNESS_DEADLINE_MS), 0);
    /* The one that was acknowledged is this process's, which lives. */
    b.descriptors++;
}

/* ---- Those who take their time ------------------------------------------------------------------------------------- */

Test(shm_attach, whoever_says_nothing_is_hung_up_on_after_a_second)
{
    cbm_attach_reply reply;
    int64_t begun = clock_ms();
    int fd = shm_connect(b.path);
    cr_assert_eq(processes_run(1, attach_one, NULL, HARNESS_DEADLINE_MS), 0);
    cr_assert_eq(shm_receive(fd, &reply, NULL, MOMENT_MS), SHM_END);
    cr_assert_geq(clock_ms() - begun, 900);
    close(fd);
}

Test(shm_attach, whoever_does_not_acknowledge_is_hung_up_on_and_others_get_their_turn)
{
    int fds[12];
    cbm_attach_reply reply;
    uint8_t id[CBM_ID_SIZE];
    for (int i = 0; i < 12; i++)
        fds[i] = take_the_reply();
    int64_t begun = clock_ms();
    cr_assert_eq(shm_bring_good(&b, id), 0, "behind twelve of the same user");
    cr_assert_lt(clock_ms() - begun, 3 * 1000 + MOMENT_MS);
    for (int i = 0; i < 12; i++) {
        cr_assert_eq(shm_receive(fds[i], &reply, NULL, MOMENT_MS), SHM_REPLY);
        cr_assert_eq(shm_receive(fds[i], &reply, NULL, MOMENT_MS), SHM_END);
        cr_assert_not(shm_acknowledge(fds[i]), "too late");
        close(fds[i]);
    }
    cr_assert(shm_broker_descriptors_settle(&b, 1));
    b.descriptors++;
}

static void become_nobody(void)
{
    MUST(setgroups(0, NULL) == 0 && setresgid(NOBODY, NOBODY, NOBODY) == 0 && setresuid(NOBODY, NOBODY, NOBODY) == 0);
}

enum { NOBODYS = 120 };

typedef struct crowd {
    int there, may_go;
} crowd;

static bool is_set(void *context)
{
    return __atomic_load_n((int *)context, __ATOMIC_ACQUIRE) != 0;
}

/* Connections that say nothing, and others that take the reply and keep quiet, as many as it gets. */
static int crowd_of_nobody(int index, void *context)
{
    (void)index;
    crowd *c = context;
    become_nobody();
    int fds[NOBODYS];
    for (int i = 0; i < NOBODYS; i++)
        fds[i] = i < 20 ? take_the_reply() : shm_connect(b.path);
    __atomic_store_n(&c->there, 1, __ATOMIC_RELEASE);
    while (!is_set(&c->may_go)) {
        for (int i = 20; i < NOBODYS; i++) {
            close(fds[i]);
            fds[i] = shm_connect(b.path);
        }
    }
    return 0;
}

Test(shm_attach, a_crowd_of_another_user_keeps_nobody_waiting)
{
    if (geteuid() != 0)
        cr_skip_test("only root can become another user");
    crowd *c = shared_new(sizeof *c);
    processes p;
    processes_start(&p, 1, crowd_of_nobody, c);
    cr_assert(wait_until(is_set, &c->there, HARNESS_DEADLINE_MS));
    int64_t begun = clock_ms();
    cr_assert_eq(processes_run(16, attach_one, NULL, HARNESS_DEADLINE_MS), 0);
    cr_assert_lt(clock_ms() - begun, MOMENT_MS);
    __atomic_store_n(&c->may_go, 1, __ATOMIC_RELEASE);
    cr_assert_eq(processes_wait(&p, HARNESS_DEADLINE_MS), 0);
}

Test(shm_attach, more_connections_than_a_user_may_have_are_closed_at_once)
{
    int fds[100], closed = 0;
    cbm_attach_reply reply;
    for (int i = 0; i < 100; i++)
        fds[i] = shm_connect(b.path);
    for (int i = 0; i < 100; i++)
        closed += shm_receive(fds[i], &reply, NULL, i < 64 ? 0 : MOMENT_MS) == SHM_END;
    cr_assert_geq(closed, 36);
    for (int i = 0; i < 100; i++)
        close(fds[i]);
    cr_assert_eq(processes_run(1, attach_one, NULL, HARNESS_DEADLINE_MS), 0);
}

/* Listens, and accepts nothing. */
static int listen_in_vain(struct sockaddr_in *name)
{
    socklen_t size = sizeof *name;
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    *name = (struct sockaddr_in){.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    MUST(bind(fd, (struct sockaddr *)name, size) == 0 && listen(fd, 8) == 0);
    MUST(getsockname(fd, (struct sockaddr *)name, &size) == 0);
    return fd;
}

/* A descriptor whose closing waits: nobody takes what it was given to send. */
static int make_lingering(const struct sockaddr_in *name)
{
    struct linger linger = {.l_onoff = 1, .l_linger = 30};
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    static char much[65536];
    MUST(connect(fd, (const struct sockaddr *)name, sizeof *name) == 0);
    while (send(fd, much, sizeof much, MSG_DONTWAIT) > 0)
        ;
    MUST(setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof linger) == 0);
    return fd;
}

typedef struct passing {
    struct sockaddr_in name;
    int third; /* has the reply */
} passing;

/* Received with a request; not read before the connection is closed; in the place of an acknowledgement. */
static int pass_lingering(int index, void *context)
{
    (void)index;
    const passing *p = context;
    int lingering[3] = {make_lingering(&p->name), make_lingering(&p->name), make_lingering(&p->name)};
    int first = shm_connect(b.path), second = shm_connect(b.path);
    cbm_attach_request request = {.magic = CBM_ATTACH_MAGIC, .version = CBM_ATTACH_VERSION};
    MUST(shm_send(first, &request, sizeof request, &lingering[0], 1));
    MUST(shm_send(second, &request, 1, NULL, 0) && shm_send(second, &request, sizeof request, &lingering[1], 1));
    MUST(shm_send(p->third, &request, 1, &lingering[2], 1));
    return 0; /* a process that ends does not wait: the broker has the last of them */
}

Test(shm_attach, a_descriptor_that_takes_its_time_to_close_keeps_nobody_waiting)
{
    cbm_attach_reply reply;
    passing p = {.third = take_the_reply()};
    int listener = listen_in_vain(&p.name);
    cr_assert_eq(shm_receive(p.third, &reply, NULL, MOMENT_MS), SHM_REPLY);
    cr_assert_eq(kill(b.broker->pid, SIGSTOP), 0);
    cr_assert_eq(processes_run(1, pass_lingering, &p, HARNESS_DEADLINE_MS), 0);
    cr_assert_eq(kill(b.broker->pid, SIGCONT), 0);
    close(p.third);
    int64_t begun = clock_ms();
    cr_assert_eq(processes_run(1, attach_one, NULL, HARNESS_DEADLINE_MS), 0);
    cr_assert_lt(clock_ms() - begun, MOMENT_MS);
    close(listener);
}

static int pass_lingering_to_the_main_socket(int index, void *context)
{
    (void)index;
    const passing *p = context;
    int lingering = make_lingering(&p->name), fd = raw_try_connect(b.broker->address, false);
    MUST(fd >= 0);
    /* Refused, where the kernel can. */
    (void)shm_send(fd, RAW_GREETING_REQ, 8, &lingering, 1);
    return 0;
}

static bool can_refuse_descriptors(void)
{
    const int no = 0;
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    bool can = setsockopt(fd, SOL_SOCKET, 83 /* SO_PASSRIGHTS */, &no, sizeof no) == 0;
    close(fd);
    return can;
}

Test(shm_attach, nor_does_one_that_is_passed_to_the_brokers_own_socket)
{
    if (!can_refuse_descriptors())
        cr_skip_test("sockets that take no descriptors came with Linux 6.16");
    passing p = {.third = -1};
    int listener = listen_in_vain(&p.name);
    cr_assert_eq(kill(b.broker->pid, SIGSTOP), 0);
    cr_assert_eq(processes_run(1, pass_lingering_to_the_main_socket, &p, HARNESS_DEADLINE_MS), 0);
    cr_assert_eq(kill(b.broker->pid, SIGCONT), 0);
    int64_t begun = clock_ms();
    json_decref(ask(b.broker->address, "ping"));
    cr_assert_lt(clock_ms() - begun, MOMENT_MS);
    close(listener);
}

/* ---- Deaths -------------------------------------------------------------------------------------------------------- */

static int die_at(int step, void *context)
{
    (void)context;
    uint8_t id[CBM_ID_SIZE], token[CBM_ID_SIZE];
    cbm_attach_reply reply;
    int ledger = shm_good_ledger(id);
    shm_token(&b, token);
    if (step == 0)
        raise(SIGKILL);
    int fd = shm_connect(b.path);
    if (step == 1)
        raise(SIGKILL);
    MUST(shm_request(fd, token, ledger));
    if (step == 2)
        raise(SIGKILL);
    MUST(shm_receive(fd, &reply, NULL, MOMENT_MS) == SHM_REPLY);
    if (step == 3)
        raise(SIGKILL);
    MUST(shm_acknowledge(fd));
    if (step == 4)
        raise(SIGKILL);
    MUST(shm_receive(fd, &reply, NULL, MOMENT_MS) == SHM_END);
    if (step == 5)
        raise(SIGKILL);
    MUST(shm_is_attached(&b, id));
    raise(SIGKILL);
    return 1;
}

Test(shm_attach, a_process_may_die_at_any_step)
{
    for (int round = 0; round < 5; round++) {
        processes p;
        processes_start(&p, 7, die_at, NULL);
        processes_wait(&p, HARNESS_DEADLINE_MS);
        for (int i = 0; i < 7; i++)
            cr_assert_eq(p.statuses[i], 128 + SIGKILL, "step %d: %d", i, p.statuses[i]);
    }
    cr_assert(shm_broker_descriptors_settle(&b, 0), "no process of them is watched any more");
}

typedef struct heir {
    int pipe[2];
    uint8_t id[CBM_ID_SIZE];
} heir;

/* Leaves a child behind that has all that it had open. */
static int leave_a_child_with_the_socket(int index, void *context)
{
    (void)index;
    heir *h = context;
    MUST(raw_greeted(b.broker->address) >= 0);
    MUST(shm_bring_good(&b, h->id) == 0 && shm_is_attached(&b, h->id));
    pid_t child = fork();
    if (child == 0) {
        char byte;
        close(h->pipe[1]);
        (void)!read(h->pipe[0], &byte, 1);
        _exit(0);
    }
    return child < 0;
}

Test(shm_attach, a_forked_child_with_its_sockets_does_not_hide_a_death)
{
    heir *h = shared_new(sizeof *h);
    cr_assert_eq(pipe(h->pipe), 0);
    cr_assert_eq(processes_run(1, leave_a_child_with_the_socket, h, HARNESS_DEADLINE_MS), 0);
    cr_assert(shm_broker_descriptors_settle(&b, 1), "its connection is open still, its process not watched");
    close(h->pipe[1]);
    close(h->pipe[0]);
}

/* ---- Where the socket is ------------------------------------------------------------------------------------------- */

Test(shm_attach, the_socket_beside_is_open_to_the_same_users)
{
    char path[160];
    struct stat main_socket, beside;
    snprintf(path, sizeof path, "%s.shm", b.path);
    cr_assert_eq(stat(b.path, &main_socket), 0);
    cr_assert_eq(stat(path, &beside), 0);
    cr_assert(S_ISSOCK(beside.st_mode));
    cr_assert_eq(beside.st_mode, main_socket.st_mode);
    cr_assert_eq(beside.st_uid, main_socket.st_uid);
    cr_assert_eq(beside.st_gid, main_socket.st_gid);
    broker_kill(b.broker);
    cr_assert_eq(stat(path, &beside), 0, "left behind by the dead");
    broker_restart(b.broker);
    cr_assert_eq(processes_run(1, attach_one, NULL, HARNESS_DEADLINE_MS), 0);
    cr_assert_eq(broker_stop(b.broker, SIGTERM), 0);
    cr_assert_neq(stat(path, &beside), 0, "a clean exit leaves nothing");
    broker_restart(b.broker);
}

Test(shm_attach, what_is_no_socket_of_ours_is_left_alone_and_all_goes_by_message)
{
    char path[160];
    snprintf(path, sizeof path, "%s.shm", b.path);
    cr_assert_eq(broker_stop(b.broker, SIGTERM), 0);
    close(open(path, O_CREAT | O_WRONLY, 0600));
    broker_restart(b.broker);
    char *line = broker_wait_log(b.broker, (const char *const[]){"no_shared_memory", "not a socket", NULL}, MOMENT_MS);
    cr_assert_not_null(line);
    free(line);
    json_t *answer = ask(b.broker->address, "attach");
    cr_assert_str_eq(json_string_value(json_object_get(answer, "error")), "unsupported");
    json_decref(answer);
    json_decref(ask(b.broker->address, "get a"));
    cr_assert_eq(access(path, F_OK), 0);
    cr_assert_eq(broker_stop(b.broker, SIGTERM), 0);
    cr_assert_eq(access(path, F_OK), 0);
    unlink(path);
    broker_restart(b.broker);
}

static int nobody_is_hung_up_on(int index, void *context)
{
    (void)index;
    cbm_attach_reply reply;
    uint8_t token[CBM_ID_SIZE] = {0}, id[CBM_ID_SIZE];
    int ledger = shm_good_ledger(id);
    become_nobody();
    int fd = shm_connect(context);
    MUST(fd >= 0);
    (void)shm_request(fd, token, ledger);
    shm_answer answer = shm_receive(fd, &reply, NULL, MOMENT_MS);
    MUST(answer == SHM_END || answer == SHM_RESET);
    return 0;
}

Test(shm_attach_elsewhere, an_abstract_socket_has_an_abstract_one_beside_it)
{
    char address[64], name[64];
    snprintf(address, sizeof address, "abstract://cbm-e2e-shm-%d", (int)getpid());
    snprintf(name, sizeof name, "@cbm-e2e-shm-%d", (int)getpid());
    b = shm_broker_start(&(broker_options){.address = address, .arguments = {"--rate-limit", "0", "--no-store"}});
    b.path = name;
    cr_assert_eq(processes_run(1, attach_one, NULL, HARNESS_DEADLINE_MS), 0);
    if (geteuid() == 0)
        cr_assert_eq(processes_run(1, nobody_is_hung_up_on, name, HARNESS_DEADLINE_MS), 0);
    shm_broker_free(&b);
}

/* ---- Without descriptors ------------------------------------------------------------------------------------------- */

static double processor_s(void)
{
    char path[64], text[1024] = "";
    unsigned long user = 0, system = 0;
    snprintf(path, sizeof path, "/proc/%d/stat", (int)b.broker->pid);
    FILE *file = fopen(path, "r");
    MUST(file != NULL && fgets(text, sizeof text, file) != NULL);
    fclose(file);
    MUST(sscanf(strrchr(text, ')'), ") %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu", &user, &system) == 2);
    return (double)(user + system) / (double)sysconf(_SC_CLK_TCK);
}

Test(shm_attach_elsewhere, out_of_descriptors_it_says_so_does_not_spin_and_recovers)
{
    enum { MANY = 80 };
    uint8_t id[CBM_ID_SIZE], token[CBM_ID_SIZE];
    int fds[MANY], ledger = shm_good_ledger(id), beside;
    b = shm_broker_start(&(broker_options){.arguments = {"--rate-limit", "0", "--no-store", "--max-clients", "1000"},
                                           .descriptors = 64});
    shm_token(&b, token);
    for (int i = 0, unanswered = 0; i < MANY; i++) {
        char greeting[8];
        fds[i] = raw_try_connect(b.broker->address, true);
        /* When nobody greets back any more there are no descriptors left. */
        if (fds[i] >= 0 && unanswered < 2)
            unanswered += !raw_send(fds[i], RAW_GREETING_REQ, 8) || !raw_receive(fds[i], greeting, 8, 300);
    }
    beside = shm_connect(b.path);
    char *line = broker_wait_log1(b.broker, "cannot_accept", MOMENT_MS);
    cr_assert_not_null(line);
    free(line);
    double begun_s = processor_s();
    cbm_attach_reply reply;
    (void)shm_receive(beside, &reply, NULL, 700);
    cr_assert_lt(processor_s() - begun_s, 0.4);
    close(beside);
    for (int i = 0; i < MANY; i++)
        close(fds[i]);
    cr_assert(shm_broker_descriptors_settle(&b, 0));
    cr_assert_eq(shm_attach(b.path, token, ledger, NULL), 0);
    close(ledger);
    b.descriptors++;
    shm_broker_free(&b);
}
