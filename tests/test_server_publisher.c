/* Who may write the board, what it costs, and that it says when its broker is dead. */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "error.h"
#include "log.h"
#include "publisher.h"

#define SLOTS 65536

static const uint8_t incarnation[CBM_ID_SIZE] = {4, 2};
static cbm_publisher *publisher;
static const cbm_board *board; /* as a client has it */

static void set_up(void)
{
    cbm_log_set_level(CBM_LOG_ERROR);
    cr_assert_eq(cbm_publisher_new(&publisher, SLOTS, incarnation), 0);
    board = mmap(NULL, cbm_publisher_size(publisher), PROT_READ, MAP_SHARED, cbm_publisher_descriptor(publisher), 0);
    cr_assert_neq((const void *)board, MAP_FAILED);
}

static void tear_down(void)
{
    munmap((void *)(uintptr_t)board, cbm_board_size(SLOTS));
    cbm_publisher_free(publisher);
}

TestSuite(server_publisher, .init = set_up, .fini = tear_down, .timeout = 60);

Test(server_publisher, the_board_is_one_that_clients_accept)
{
    cr_assert_eq(cbm_publisher_size(publisher), cbm_board_size(SLOTS));
    cr_assert(cbm_board_valid(board, cbm_publisher_size(publisher)));
    cr_assert_eq(board->slot_count, SLOTS);
    cr_assert_eq(memcmp(board->incarnation, incarnation, sizeof incarnation), 0);
}

Test(server_publisher, what_is_put_is_seen)
{
    uint64_t word = cbm_word_make(CBM_CORE_OPEN, 0, 3, 4);
    int64_t aux;

    cr_assert_eq(cbm_publisher_put(publisher, SLOTS - 1, word, 77), 0);
    cr_assert_eq(cbm_board_read(board, SLOTS - 1, &aux), word);
    cr_assert_eq(aux, 77);
    cr_assert_eq(cbm_publisher_put(publisher, SLOTS - 1, word, 78), word, "it tells what stood there");
    cr_assert_eq(cbm_board_read(board, SLOTS - 1, &aux), word);
    cr_assert_eq(aux, 78, "another aux alone is another slot");
}

static blkcnt_t blocks(void)
{
    struct stat status;

    cr_assert_eq(fstat(cbm_publisher_descriptor(publisher), &status), 0);
    return status.st_blocks;
}

Test(server_publisher, pages_cost_only_when_they_are_written)
{
    cr_assert_leq(blocks() * 512, 4096, "the header's page");
    for (uint32_t slot = 0; slot < 4096 / sizeof(cbm_slot); slot++)
        cbm_publisher_put(publisher, slot, slot + 1, 0);
    cr_assert_leq(blocks() * 512, 2 * 4096);
}

Test(server_publisher, more_slots_than_clients_have_room_for_are_refused)
{
    cbm_publisher *other;

    cr_assert_eq(cbm_publisher_new(&other, CBM_BOARD_SLOTS_MAX + 1, incarnation), CBM_PROTO_E_UNSUPPORTED);
    cr_assert_null(other);
    cr_assert_eq(cbm_publisher_new(&other, CBM_BOARD_SLOTS_MAX, incarnation), 0);
    cbm_publisher_free(other);
    cbm_publisher_free(NULL);
}

/* ---- Nobody else writes -------------------------------------------------------------------------------------------- */

static bool can_map_writable(int fd)
{
    void *map = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

    return map != MAP_FAILED;
}

static bool can_write(int fd)
{
    return pwrite(fd, "x", 1, 0) >= 0 || write(fd, "x", 1) >= 0 || ftruncate(fd, 0) == 0 ||
           ftruncate(fd, 1 << 30) == 0 || fallocate(fd, 0, 0, 1 << 30) == 0 ||
           fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 4096) == 0 ||
           fallocate(fd, FALLOC_FL_ZERO_RANGE, 0, 4096) == 0;
}

static void refused_through(int fd)
{
    char *map;

    cr_assert_not(can_map_writable(fd));
    cr_assert_not(can_write(fd));
    cr_assert_neq(fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE), 0, "nor may anybody stop the broker's writing");
    map = mmap(NULL, 4096, PROT_READ, MAP_SHARED, fd, 0);
    cr_assert_neq((void *)map, MAP_FAILED);
    cr_assert_neq(mprotect(map, 4096, PROT_READ | PROT_WRITE), 0);
    cr_assert_neq(madvise(map, 4096, MADV_REMOVE), 0);
    munmap(map, 4096);
}

Test(server_publisher, through_the_descriptor_nothing_can_be_written)
{
    refused_through(cbm_publisher_descriptor(publisher));
    cr_assert(cbm_board_valid(board, cbm_publisher_size(publisher)));
    cbm_publisher_put(publisher, 1, 2, 3);
    cr_assert_eq(atomic_load(&board->slots[1].word), 2, "and the broker still writes");
}

Test(server_publisher, nor_through_one_that_is_opened_again)
{
    char path[64];
    int fd;

    snprintf(path, sizeof path, "/proc/self/fd/%d", cbm_publisher_descriptor(publisher));
    /* Whether it can be opened so is the mode's business: the seals are those of the memory. */
    (void)fchmod(cbm_publisher_descriptor(publisher), 0666);
    fd = open(path, O_RDWR);
    cr_assert_geq(fd, 0);
    refused_through(fd);
    close(fd);
    cr_assert_lt(open(path, O_RDWR | O_TRUNC), 0);
    cr_assert(cbm_board_valid(board, cbm_publisher_size(publisher)));
}

/* ---- Alive and dead ------------------------------------------------------------------------------------------------ */

static int64_t now_ms(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static bool comes_to_be(bool alive, int deadline_ms)
{
    int64_t end_ms = now_ms() + deadline_ms;

    while (cbm_board_alive(board) != alive && now_ms() < end_ms)
        ;
    return cbm_board_alive(board) == alive;
}

/* A process that lives on the board, and then does `further`. */
static pid_t live_in_a_child(void (*further)(void))
{
    pid_t child = fork();

    if (child == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        cbm_publisher_live(publisher);
        further();
        _exit(0);
    }
    return child;
}

static void wait_for_ever(void)
{
    for (;;)
        pause();
}

static void reap(pid_t child)
{
    cr_assert_eq(waitpid(child, NULL, 0), child);
}

Test(server_publisher, it_is_alive_from_live_to_die)
{
    cr_assert_not(cbm_board_alive(board));
    cbm_publisher_live(publisher);
    cr_assert(cbm_board_alive(board));
    cbm_publisher_die(publisher);
    cr_assert_not(cbm_board_alive(board));
    cr_assert_eq(atomic_load(&board->alive), 0);
}

Test(server_publisher, it_does_not_outlive_its_publisher)
{
    cbm_publisher_live(publisher);
    cbm_publisher_free(publisher);
    cr_assert_eq(atomic_load(&board->alive), 0);
    publisher = NULL;
}

Test(server_publisher, any_kill_is_seen)
{
    int times = getenv("CBM_SOAK") ? 200 : 50;

    for (int i = 0; i < times; i++) {
        pid_t child = live_in_a_child(wait_for_ever);

        cr_assert(comes_to_be(true, 10000));
        kill(child, SIGKILL);
        cr_assert(comes_to_be(false, 1000), "kill %d of %d", i, times);
        reap(child);
    }
}

static void abort_quietly(void)
{
    signal(SIGABRT, SIG_DFL);
    raise(SIGABRT);
}

static void run_another_program(void)
{
    execl("/bin/sleep", "sleep", "60", (char *)NULL);
}

static void end_without_a_word(void)
{
}

Test(server_publisher, every_other_end_is_seen_too)
{
    void (*const ends[])(void) = {abort_quietly, end_without_a_word};

    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++) {
        reap(live_in_a_child(ends[i]));
        cr_assert_neq(atomic_load(&board->alive), 0, "the kernel's mark: it was alive");
        cr_assert_not(cbm_board_alive(board));
    }
}

Test(server_publisher, a_broker_that_becomes_another_program_is_dead)
{
    pid_t child = live_in_a_child(run_another_program);
    siginfo_t ended = {0};

    while (atomic_load(&board->alive) == 0) /* until it has lived */
        ;
    cr_assert(comes_to_be(false, 10000));
    cr_assert_eq(waitid(P_PID, (id_t)child, &ended, WEXITED | WNOHANG | WNOWAIT), 0);
    cr_assert_eq(ended.si_pid, 0, "the process is still there");
    kill(child, SIGKILL);
    reap(child);
}

static int held[2]; /* a pipe whose writing end a grandchild holds */

static void leave_a_child_behind(void)
{
    if (fork() == 0) {
        char byte;

        close(held[1]);
        (void)!read(held[0], &byte, 1); /* until the test closes its end */
        _exit(0);
    }
    wait_for_ever();
}

Test(server_publisher, a_forked_child_of_the_broker_does_not_keep_it_alive)
{
    pid_t child;

    cr_assert_eq(pipe(held), 0);
    child = live_in_a_child(leave_a_child_behind);
    close(held[0]);
    cr_assert(comes_to_be(true, 10000));
    kill(child, SIGKILL);
    cr_assert(comes_to_be(false, 1000));
    reap(child);
    close(held[1]);
}

static void *end_at_once(void *context)
{
    return context;
}

static void end_a_thread(void)
{
    pthread_t thread;

    if (pthread_create(&thread, NULL, end_at_once, NULL) != 0 || pthread_join(thread, NULL) != 0)
        _exit(1);
    _exit(cbm_board_alive(board) ? 0 : 1);
}

Test(server_publisher, another_threads_end_is_not_the_brokers)
{
    pid_t child = live_in_a_child(end_a_thread);
    int status;

    cr_assert_eq(waitpid(child, &status, 0), child);
    cr_assert_eq(status, 0);
    cr_assert(comes_to_be(false, 1000));
}
