/* One broker an address, whatever the last one left behind. */
#include <criterion/criterion.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lock.h"

static char directory[64];
static cbm_address address;
static char message[512];

static void make_directory(void)
{
    char text[128];
    const char *why;

    snprintf(directory, sizeof directory, "/tmp/cbm-test-XXXXXX");
    cr_assert_not_null(mkdtemp(directory));
    snprintf(text, sizeof text, "ipc://%s/s", directory);
    cr_assert(cbm_address_parse(&address, text, &why));
}

static void remove_directory(void)
{
    unlink(address.path);
    rmdir(directory);
}

TestSuite(server_lock, .init = make_directory, .fini = remove_directory, .timeout = 30);

static int bind_socket(bool listening)
{
    struct sockaddr_un name = {.sun_family = AF_UNIX};
    int descriptor = socket(AF_UNIX, SOCK_STREAM, 0);

    strcpy(name.sun_path, address.path);
    cr_assert_eq(bind(descriptor, (struct sockaddr *)&name, sizeof name), 0);
    if (listening)
        cr_assert_eq(listen(descriptor, 1), 0);
    return descriptor;
}

static bool exists(const char *path)
{
    return access(path, F_OK) == 0;
}

Test(server_lock, the_second_is_refused_and_the_first_undisturbed)
{
    cbm_lock first, second;

    cr_assert(cbm_lock_acquire(&first, &address, message, sizeof message));
    cr_assert_not(cbm_lock_acquire(&second, &address, message, sizeof message));
    cr_assert_not_null(strstr(message, "another cbmd"), "%s", message);
    cr_assert_not_null(strstr(message, address.url), "%s", message);
    cr_assert(exists(first.path));
    cbm_lock_release(&first);
    cr_assert(cbm_lock_acquire(&second, &address, message, sizeof message));
    cbm_lock_release(&second);
}

Test(server_lock, releasing_leaves_nothing_behind)
{
    cbm_lock lock;

    cr_assert(cbm_lock_acquire(&lock, &address, message, sizeof message));
    cbm_lock_release(&lock);
    cr_assert_not(exists(lock.path));
}

Test(server_lock, a_lock_file_left_behind_by_a_killed_broker_holds_nobody_up)
{
    cbm_lock lock;
    char path[160];

    snprintf(path, sizeof path, "%s.lock", address.path);
    close(open(path, O_CREAT | O_WRONLY, 0600));
    cr_assert(cbm_lock_acquire(&lock, &address, message, sizeof message));
    cbm_lock_release(&lock);
}

Test(server_lock, a_stale_socket_is_removed)
{
    cbm_lock lock;

    close(bind_socket(true));
    cr_assert(exists(address.path));
    cr_assert(cbm_lock_acquire(&lock, &address, message, sizeof message));
    cr_assert_not(exists(address.path));
    cbm_lock_release(&lock);
}

Test(server_lock, a_socket_that_somebody_else_serves_is_left_alone)
{
    cbm_lock lock;
    int other = bind_socket(true);

    cr_assert_not(cbm_lock_acquire(&lock, &address, message, sizeof message));
    cr_assert_not_null(strstr(message, "another program"), "%s", message);
    cr_assert(exists(address.path));
    close(other);
}

Test(server_lock, a_file_that_is_no_socket_is_left_alone)
{
    cbm_lock lock;

    close(open(address.path, O_CREAT | O_WRONLY, 0600));
    cr_assert_not(cbm_lock_acquire(&lock, &address, message, sizeof message));
    cr_assert_not_null(strstr(message, "not a socket"), "%s", message);
    cr_assert(exists(address.path));
    cr_assert_not(exists(lock.path), "nor does the lock stay");
}

Test(server_lock, a_directory_that_is_not_there_is_named)
{
    cbm_lock lock;
    cbm_address nowhere;
    const char *why;

    cr_assert(cbm_address_parse(&nowhere, "ipc:///tmp/cbm-test-nowhere/s", &why));
    cr_assert_not(cbm_lock_acquire(&lock, &nowhere, message, sizeof message));
    cr_assert_not_null(strstr(message, "/tmp/cbm-test-nowhere/s.lock: No such file"), "%s", message);
}

/* Takes and gives back the lock many times; in between it must be alone. Exit status 1: it was not. */
static void take_turns(void)
{
    char owner[160];

    snprintf(owner, sizeof owner, "%s.owner", address.path);
    for (int turns = 0; turns < 300;) {
        cbm_lock lock;
        int alone;

        if (!cbm_lock_acquire(&lock, &address, message, sizeof message))
            continue;
        alone = open(owner, O_CREAT | O_EXCL | O_WRONLY, 0600);
        if (alone < 0)
            _exit(1);
        close(alone);
        unlink(owner);
        cbm_lock_release(&lock);
        turns++;
    }
    _exit(0);
}

Test(server_lock, processes_that_come_and_go_never_hold_it_together)
{
    pid_t children[4];

    for (int i = 0; i < 4; i++) {
        children[i] = fork();
        if (children[i] == 0)
            take_turns();
    }
    for (int i = 0; i < 4; i++) {
        int status;

        cr_assert_eq(waitpid(children[i], &status, 0), children[i]);
        cr_assert_eq(status, 0, "two held it at once");
    }
}
