/* The socket on which ledgers are handed over: where it is, and who may reach it. */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "attach_socket.h"

static char directory[64], beside[160], message[512];
static cbm_address address;
static cbm_attach_socket opened;

static int bind_at(const char *path, int type)
{
    struct sockaddr_un name = {.sun_family = AF_UNIX};
    int descriptor = socket(AF_UNIX, type, 0);

    strcpy(name.sun_path, path);
    cr_assert_eq(bind(descriptor, (struct sockaddr *)&name, sizeof name), 0);
    cr_assert_eq(listen(descriptor, 1), 0);
    return descriptor;
}

static void set_up(void)
{
    char text[128];
    const char *why;

    snprintf(directory, sizeof directory, "/tmp/cbm-test-XXXXXX");
    cr_assert_not_null(mkdtemp(directory));
    snprintf(text, sizeof text, "ipc://%s/s", directory);
    cr_assert(cbm_address_parse(&address, text, &why));
    snprintf(beside, sizeof beside, "%s.shm", address.path);
    close(bind_at(address.path, SOCK_STREAM));
}

static void tear_down(void)
{
    unlink(address.path);
    unlink(beside);
    rmdir(directory);
}

TestSuite(server_attach, .init = set_up, .fini = tear_down, .timeout = 30);

static mode_t mode_beside(void)
{
    struct stat file;

    cr_assert_eq(stat(beside, &file), 0);
    cr_assert(S_ISSOCK(file.st_mode));
    return file.st_mode & 07777;
}

Test(server_attach, it_has_the_mode_of_the_brokers_socket_whatever_the_umask)
{
    const mode_t modes[] = {0600, 0660, 0666}, masks[] = {0, 022, 0777};

    for (size_t i = 0; i < 9; i++) {
        cr_assert_eq(chmod(address.path, modes[i / 3]), 0);
        umask(masks[i % 3]);
        cr_assert(cbm_attach_socket_open(&opened, &address, message, sizeof message), "%s", message);
        cr_assert_eq(mode_beside(), modes[i / 3]);
        cbm_attach_socket_close(&opened);
        cr_assert_eq(access(beside, F_OK), -1, "it goes with it");
        umask(022);
    }
}

Test(server_attach, it_has_owner_and_group_of_the_brokers_socket)
{
    struct stat file;

    if (geteuid() != 0)
        cr_skip_test("only root can give files away");
    cr_assert_eq(chown(address.path, 1234, 5678), 0);
    cr_assert(cbm_attach_socket_open(&opened, &address, message, sizeof message), "%s", message);
    cr_assert_eq(stat(beside, &file), 0);
    cr_assert_eq(file.st_uid, 1234);
    cr_assert_eq(file.st_gid, 5678);
    cbm_attach_socket_close(&opened);
}

Test(server_attach, without_the_brokers_socket_it_is_not_opened_and_leaves_nothing)
{
    unlink(address.path);
    cr_assert_not(cbm_attach_socket_open(&opened, &address, message, sizeof message));
    cr_assert_not_null(strstr(message, "No such file"), "%s", message);
    cr_assert_eq(access(beside, F_OK), -1);
}

Test(server_attach, what_a_dead_broker_left_is_removed)
{
    close(bind_at(beside, SOCK_SEQPACKET));
    cr_assert(cbm_attach_socket_open(&opened, &address, message, sizeof message), "%s", message);
    cbm_attach_socket_close(&opened);
}

Test(server_attach, what_another_program_serves_is_left_alone)
{
    const int types[] = {SOCK_SEQPACKET, SOCK_STREAM};

    for (size_t i = 0; i < 2; i++) {
        int other = bind_at(beside, types[i]);

        cr_assert_not(cbm_attach_socket_open(&opened, &address, message, sizeof message));
        cr_assert_not_null(strstr(message, "another program"), "%s", message);
        cr_assert_eq(access(beside, F_OK), 0);
        close(other);
        unlink(beside);
    }
}

Test(server_attach, a_file_that_is_no_socket_is_left_alone)
{
    close(open(beside, O_CREAT | O_WRONLY, 0600));
    cr_assert_not(cbm_attach_socket_open(&opened, &address, message, sizeof message));
    cr_assert_not_null(strstr(message, "not a socket"), "%s", message);
    cr_assert_eq(access(beside, F_OK), 0);
}

Test(server_attach, a_path_that_leaves_no_room_for_the_suffix_is_named)
{
    char text[160];
    const char *why;
    cbm_address at_the_end;

    for (int size = 100; size <= 107; size++) {
        snprintf(text, sizeof text, "ipc://%s/%0*d", directory, size - (int)strlen(directory) - 1, 0);
        cr_assert(cbm_address_parse(&at_the_end, text, &why));
        close(bind_at(at_the_end.path, SOCK_STREAM));
        cr_assert_eq(cbm_attach_socket_open(&opened, &at_the_end, message, sizeof message), size <= 103, "%d", size);
        if (size > 103)
            cr_assert_not_null(strstr(message, "longer"), "%s", message);
        else
            cbm_attach_socket_close(&opened);
        unlink(at_the_end.path);
    }
}

Test(server_attach, an_abstract_name_is_decoded_and_gets_the_suffix)
{
    struct sockaddr_un name = {.sun_family = AF_UNIX};
    cbm_address abstract;
    const char *why;
    char text[128], expected[64];
    size_t size;
    int descriptor = socket(AF_UNIX, SOCK_SEQPACKET, 0);

    snprintf(text, sizeof text, "abstract://cbm%%2Dtest%%00-%d", (int)getpid());
    cr_assert(cbm_address_parse(&abstract, text, &why));
    cr_assert(cbm_attach_socket_open(&opened, &abstract, message, sizeof message), "%s", message);
    size = (size_t)snprintf(expected, sizeof expected, "cbm-test?-%d.shm", (int)getpid());
    expected[8] = '\0';
    memcpy(name.sun_path + 1, expected, size);
    cr_assert_eq(
        connect(descriptor, (struct sockaddr *)&name, (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + size)),
        0, "%s", strerror(errno));
    close(descriptor);
    cbm_attach_socket_close(&opened);
}
