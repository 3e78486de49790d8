/* What a client can do to the memory that it shares with the broker: nothing but to its own counts. */
#include "shm_broker.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "board.h"
#include "error.h"
#include "ledger.h"

#define SEALED (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL)

static shm_broker b;

static void set_up(void)
{
    b = shm_broker_start(&(broker_options){.arguments = {"--rate-limit", "0", "--no-store"}});
}

static void tear_down(void)
{
    shm_broker_free(&b);
}

TestSuite(shm_hostile, .init = set_up, .fini = tear_down, .timeout = 60);

static const uint8_t an_id[CBM_ID_SIZE] = {1, 2, 3, 4, 5, 6, 7, 8};

/* ---- What is right ------------------------------------------------------------------------------------------------ */

Test(shm_hostile, a_ledger_that_is_right_is_attached_until_it_is_detached)
{
    uint8_t id[CBM_ID_SIZE];
    cr_assert_eq(shm_bring_good(&b, id), 0);
    cr_assert(shm_is_attached(&b, id));
    cr_assert(shm_broker_descriptors_settle(&b, 1), "its process is watched");
    char command[64] = "detach ledger=";
    for (size_t i = 0; i < CBM_ID_SIZE; i++)
        sprintf(command + strlen(command), "%02x", id[i]);
    json_decref(ask(b.broker->address, command));
    cr_assert_not(shm_is_attached(&b, id));
}

static int bring_the_same_again_and_again(int index, void *context)
{
    (void)index;
    (void)context;
    uint8_t id[CBM_ID_SIZE];
    int ledger = shm_good_ledger(id);
    for (int i = 0; i < 20; i++) {
        MUST(shm_bring(&b, ledger) == 0);
        MUST(shm_is_attached(&b, id));
        MUST(shm_broker_descriptors_settle(&b, 1));
    }
    return 0;
}

Test(shm_hostile, a_ledger_that_is_brought_again_is_one_ledger)
{
    cr_assert_eq(processes_run(1, bring_the_same_again_and_again, NULL, HARNESS_DEADLINE_MS), 0);
}

/* ---- The board ---------------------------------------------------------------------------------------------------- */

static int write_the_board(int index, void *context)
{
    (void)index;
    (void)context;
    uint8_t id[CBM_ID_SIZE], token[CBM_ID_SIZE];
    int ledger = shm_good_ledger(id), board = -1;
    shm_token(&b, token);
    MUST(shm_attach(b.path, token, ledger, &board) == 0);
    MUST(board >= 0);
    struct stat status;
    MUST(fstat(board, &status) == 0);
    size_t size = (size_t)status.st_size;
    cbm_board *map = mmap(NULL, size, PROT_READ, MAP_SHARED, board, 0);
    MUST(map != MAP_FAILED && cbm_board_valid(map, size) && cbm_board_alive(map));

    char path[64];
    snprintf(path, sizeof path, "/proc/self/fd/%d", board);
    int descriptors[] = {board, open(path, O_RDWR), open(path, O_RDWR | O_TRUNC)};
    for (size_t i = 0; i < 3; i++) {
        int fd = descriptors[i];
        if (fd < 0)
            continue;
        MUST(mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0) == MAP_FAILED);
        MUST(pwrite(fd, "", 1, offsetof(cbm_board, alive)) < 0);
        MUST(ftruncate(fd, 0) != 0 && ftruncate(fd, (off_t)size * 2) != 0);
        MUST(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, (off_t)size) != 0);
        MUST(fallocate(fd, 0, 0, (off_t)size * 2) != 0);
        MUST(fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE) != 0);
    }
    MUST(mprotect(map, size, PROT_READ | PROT_WRITE) != 0);
    MUST(madvise(map, size, MADV_REMOVE) != 0);
    /* And the broker itself still writes it. */
    json_decref(ask(b.broker->address, "get seen"));
    uint64_t word = atomic_load(&map->slots[0].word);
    json_decref(ask(b.broker->address, "force_open seen"));
    MUST(cbm_word_state(word) == CBM_CORE_CLOSED);
    MUST(cbm_word_state(atomic_load(&map->slots[0].word)) == CBM_CORE_FORCED_OPEN);
    return 0;
}

Test(shm_hostile, nobody_but_the_broker_writes_the_board)
{
    cr_assert_eq(processes_run(1, write_the_board, NULL, HARNESS_DEADLINE_MS), 0);
}

/* ---- Ledgers that are none ----------------------------------------------------------------------------------------- */

static void is_no_ledger(const char *what, int fd)
{
    cr_assert_geq(fd, 0, "%s: %s", what, strerror(errno));
    cr_assert_eq(shm_bring(&b, fd), CBM_PROTO_E_INVALID, "%s", what);
    close(fd);
}

Test(shm_hostile, what_could_shrink_is_no_ledger)
{
    is_no_ledger("unsealed", shm_make_ledger(an_id, CBM_LEDGER_SIZE, 0, 0));
    is_no_ledger("may grow", shm_make_ledger(an_id, CBM_LEDGER_SIZE, F_SEAL_SHRINK | F_SEAL_SEAL, 0));
    is_no_ledger("may shrink", shm_make_ledger(an_id, CBM_LEDGER_SIZE, F_SEAL_GROW | F_SEAL_SEAL, 0));
    is_no_ledger("may get more seals", shm_make_ledger(an_id, CBM_LEDGER_SIZE, F_SEAL_SHRINK | F_SEAL_GROW, 0));
}

Test(shm_hostile, another_size_is_no_ledgers)
{
    is_no_ledger("empty", shm_make_ledger(an_id, 0, SEALED, 0));
    is_no_ledger("smaller", shm_make_ledger(an_id, CBM_LEDGER_SIZE - 4096, SEALED, 0));
    is_no_ledger("larger", shm_make_ledger(an_id, CBM_LEDGER_SIZE + 4096, SEALED, 0));
    is_no_ledger("much larger", shm_make_ledger(an_id, (size_t)1 << 40, SEALED, 0));
}

Test(shm_hostile, what_is_no_memfd_is_no_ledger)
{
    int pair[2];
    char path[160];
    snprintf(path, sizeof path, "%s/file", b.broker->directory);
    int file = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    cr_assert_eq(ftruncate(file, CBM_LEDGER_SIZE), 0);
    is_no_ledger("a file", file);
    unlink(path);
    is_no_ledger("a directory", open(b.broker->directory, O_RDONLY | O_DIRECTORY));
    is_no_ledger("a device", open("/dev/zero", O_RDWR));
    is_no_ledger("a path", open("/", O_PATH));
    cr_assert_eq(pipe(pair), 0);
    is_no_ledger("a pipe", pair[0]);
    close(pair[1]);
    cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
    is_no_ledger("a socket", pair[0]);
    close(pair[1]);
    snprintf(path, sizeof path, "/dev/shm/cbm-test-%d", (int)getpid());
    file = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (file >= 0) {
        unlink(path);
        cr_assert_eq(ftruncate(file, CBM_LEDGER_SIZE), 0);
        is_no_ledger("a file of the same file system as memfds", file);
    }
}

Test(shm_hostile, a_memfd_of_huge_pages_is_no_ledger)
{
    int fd = memfd_create("huge", MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_HUGETLB);
    if (fd < 0)
        cr_skip_test("this system has no huge pages");
    cr_assert_eq(ftruncate(fd, 2 << 20), 0);
    cr_assert_eq(fcntl(fd, F_ADD_SEALS, SEALED), 0);
    is_no_ledger("huge pages", fd);
}

Test(shm_hostile, what_cannot_be_read_is_no_ledger)
{
    char path[64];
    int fd = shm_make_ledger(an_id, CBM_LEDGER_SIZE, SEALED, 0);
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    is_no_ledger("for writing alone", open(path, O_WRONLY));
    close(fd);
}

Test(shm_hostile, another_header_is_no_ledgers)
{
    int fd = memfd_create("zeros", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    cr_assert_eq(ftruncate(fd, CBM_LEDGER_SIZE), 0);
    cr_assert_eq(fcntl(fd, F_ADD_SEALS, SEALED), 0);
    is_no_ledger("zeros", fd);
    char *line =
        broker_wait_log(b.broker, (const char *const[]){"attach_refused", "bad_request", "header", NULL}, 5000);
    cr_assert_not_null(line, "and the log says so");
    free(line);
}

/* ---- Somebody else's ----------------------------------------------------------------------------------------------- */

typedef struct other {
    uint8_t id[CBM_ID_SIZE], token[CBM_ID_SIZE];
    int done, may_go;
} other;

static bool has_gone_on(void *context)
{
    return __atomic_load_n((int *)context, __ATOMIC_ACQUIRE) != 0;
}

static int another_process(int index, void *context)
{
    (void)index;
    other *o = context;
    MUST(shm_bring_good(&b, o->id) == 0);
    shm_token(&b, o->token);
    __atomic_store_n(&o->done, 1, __ATOMIC_RELEASE);
    MUST(wait_until(has_gone_on, &o->may_go, HARNESS_DEADLINE_MS));
    MUST(shm_is_attached(&b, o->id));
    return 0;
}

static other *start_another(processes *p)
{
    other *o = shared_new(sizeof *o);
    processes_start(p, 1, another_process, o);
    cr_assert(wait_until(has_gone_on, &o->done, HARNESS_DEADLINE_MS));
    return o;
}

static void end_another(processes *p, other *o)
{
    __atomic_store_n(&o->may_go, 1, __ATOMIC_RELEASE);
    cr_assert_eq(processes_wait(p, HARNESS_DEADLINE_MS), 0);
}

Test(shm_hostile, a_ledger_with_the_id_of_anothers_is_refused_and_the_other_undisturbed)
{
    processes p;
    other *o = start_another(&p);
    int fd = shm_make_ledger(o->id, CBM_LEDGER_SIZE, SEALED, 0);
    cr_assert_eq(shm_bring(&b, fd), CBM_PROTO_E_DENIED);
    close(fd);
    cr_assert_not(shm_is_attached(&b, o->id), "nor can it be named");
    end_another(&p, o);
}

Test(shm_hostile, anothers_token_is_refused)
{
    processes p;
    other *o = start_another(&p);
    uint8_t id[CBM_ID_SIZE];
    int fd = shm_good_ledger(id);
    cr_assert_eq(shm_attach(b.path, o->token, fd, NULL), CBM_PROTO_E_DENIED);
    close(fd);
    end_another(&p, o);
}

Test(shm_hostile, a_token_is_good_once)
{
    uint8_t id[CBM_ID_SIZE], token[CBM_ID_SIZE];
    int fd = shm_good_ledger(id);
    shm_token(&b, token);
    cr_assert_eq(shm_attach(b.path, token, fd, NULL), 0);
    cr_assert_eq(shm_attach(b.path, token, fd, NULL), CBM_PROTO_E_DENIED);
    shm_token(&b, token);
    int none = open("/dev/null", O_RDWR);
    cr_assert_eq(shm_attach(b.path, token, none, NULL), CBM_PROTO_E_INVALID);
    cr_assert_eq(shm_attach(b.path, token, fd, NULL), CBM_PROTO_E_DENIED, "used up by what was refused, too");
    cr_assert_eq(shm_attach(b.path, an_id, fd, NULL), CBM_PROTO_E_DENIED, "it was never given");
    close(none);
    close(fd);
    char command[64] = "detach ledger=";
    for (size_t i = 0; i < CBM_ID_SIZE; i++)
        sprintf(command + strlen(command), "%02x", id[i]);
    json_decref(ask(b.broker->address, command));
}

/* ---- Messages that are none ---------------------------------------------------------------------------------------- */

static void hangs_up_on(const char *what, const void *bytes, size_t size, const int *descriptors, size_t count)
{
    int fd = shm_connect(b.path);
    cbm_attach_reply reply;
    cr_assert(shm_send(fd, bytes, size, descriptors, count), "%s", what);
    shm_answer answer = shm_receive(fd, &reply, NULL, HARNESS_DEADLINE_MS);
    cr_assert(answer == SHM_END || answer == SHM_RESET, "%s", what);
    close(fd);
}

Test(shm_hostile, whoever_says_something_else_is_hung_up_on)
{
    uint8_t bytes[65536] = {0};
    cbm_attach_request request = {.magic = CBM_ATTACH_MAGIC, .version = CBM_ATTACH_VERSION};
    uint8_t id[CBM_ID_SIZE];
    int ledger = shm_good_ledger(id);

    hangs_up_on("zeros", bytes, sizeof request, &ledger, 1);
    shm_token(&b, request.token);
    memcpy(bytes, &request, sizeof request);
    hangs_up_on("one byte more", bytes, sizeof request + 1, &ledger, 1);
    hangs_up_on("much more", bytes, sizeof bytes, &ledger, 1);
    hangs_up_on("one byte less", bytes, sizeof request - 1, &ledger, 1);
    hangs_up_on("one byte", bytes, 1, NULL, 0);
    cr_assert_eq(shm_attach(b.path, request.token, ledger, NULL), 0, "the token was not even looked at");
    request.version++;
    int fd = shm_connect(b.path);
    cbm_attach_reply reply;
    cr_assert(shm_send(fd, &request, sizeof request, &ledger, 1));
    cr_assert_eq(shm_receive(fd, &reply, NULL, HARNESS_DEADLINE_MS), SHM_REPLY);
    cr_assert_eq(reply.result, CBM_PROTO_E_UNSUPPORTED);
    close(fd);
    close(ledger);
    char command[64] = "detach ledger=";
    for (size_t i = 0; i < CBM_ID_SIZE; i++)
        sprintf(command + strlen(command), "%02x", id[i]);
    json_decref(ask(b.broker->address, command));
}

Test(shm_hostile, there_is_one_descriptor_or_it_is_no_request)
{
    cbm_attach_request request = {.magic = CBM_ATTACH_MAGIC, .version = CBM_ATTACH_VERSION};
    int descriptors[16];
    const size_t counts[] = {0, 2, 3, 16};

    for (size_t i = 0; i < 16; i++)
        descriptors[i] = shm_make_ledger(an_id, CBM_LEDGER_SIZE, SEALED, 0);
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++) {
        shm_token(&b, request.token);
        hangs_up_on("another number", &request, sizeof request, descriptors, counts[i]);
    }
    for (size_t i = 0; i < 16; i++)
        close(descriptors[i]);
}

static void is_no_acknowledgement(const char *what, const void *bytes, size_t size, const int *descriptors,
                                  size_t count)
{
    uint8_t id[CBM_ID_SIZE], token[CBM_ID_SIZE];
    int ledger = shm_good_ledger(id), fd = shm_connect(b.path);
    cbm_attach_reply reply;
    shm_token(&b, token);
    cr_assert(shm_request(fd, token, ledger));
    cr_assert_eq(shm_receive(fd, &reply, NULL, HARNESS_DEADLINE_MS), SHM_REPLY, "%s", what);
    cr_assert_eq(reply.result, 0, "%s", what);
    cr_assert(shm_send(fd, bytes, size, descriptors, count), "%s", what);
    cr_assert_neq(shm_receive(fd, &reply, NULL, HARNESS_DEADLINE_MS), SHM_REPLY, "%s", what);
    close(fd);
    close(ledger);
    cr_assert_not(shm_is_attached(&b, id), "%s", what);
}

Test(shm_hostile, without_its_acknowledgement_a_ledger_is_not_attached)
{
    const uint8_t right = CBM_ATTACH_ACKNOWLEDGE, wrong = 0, more[2] = {CBM_ATTACH_ACKNOWLEDGE};
    int some[2] = {open("/dev/null", O_RDWR), open("/dev/null", O_RDWR)};
    is_no_acknowledgement("another byte", &wrong, 1, NULL, 0);
    is_no_acknowledgement("two bytes", more, 2, NULL, 0);
    is_no_acknowledgement("with descriptors", &right, 1, some, 2);
    close(some[0]);
    close(some[1]);
}

/* ---- A ledger that is misused afterwards --------------------------------------------------------------------------- */

static int misuse_the_ledger(int index, void *context)
{
    (void)index;
    (void)context;
    uint8_t id[CBM_ID_SIZE];
    int fd = shm_good_ledger(id);
    MUST(shm_bring(&b, fd) == 0 && shm_is_attached(&b, id));
    MUST(ftruncate(fd, 0) != 0 && ftruncate(fd, 4096) != 0);
    cbm_ledger *ledger = mmap(NULL, CBM_LEDGER_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    MUST(ledger != MAP_FAILED);
    /* Counts, no memory behind it, and counts again: pulled each time. */
    for (int i = 0; i < 3; i++) {
        memset(ledger, i == 2 ? 0xff : 1, CBM_LEDGER_SIZE);
        json_decref(ask(b.broker->address, "states held"));
        MUST(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, CBM_LEDGER_SIZE) == 0);
        json_decref(ask(b.broker->address, "states held"));
    }
    return 0;
}

Test(shm_hostile, a_ledger_that_is_scribbled_over_or_emptied_harms_nobody)
{
    cr_assert_eq(processes_run(4, misuse_the_ledger, NULL, HARNESS_DEADLINE_MS), 0);
    cr_assert(state_is(b.broker->address, "held", "CLOSED"));
}
