/* Addresses, and whom the client talks to. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "client_fixture.h"
#include "endpoint.h"
#include "fake_broker.h"

TestSuite(endpoint, .timeout = 30);

/* ---- Addresses -------------------------------------------------------------------------------------------------------- */

static void is_path(const char *text, const char *path)
{
    cbm_endpoint endpoint;

    cr_assert_eq(cbm_endpoint_parse(&endpoint, text), 0, "%s", text);
    cr_assert_eq(endpoint.kind, CBM_ENDPOINT_PATH);
    cr_assert_str_eq(endpoint.socket.sun_path, path);
    cr_assert_str_eq(endpoint.text, text);
}

Test(endpoint, a_path_may_be_given_in_three_ways)
{
    is_path("ipc:///run/cbm/cbm.sock", "/run/cbm/cbm.sock");
    is_path("unix:///run/cbm/cbm.sock", "/run/cbm/cbm.sock");
    is_path("/run/cbm/cbm.sock", "/run/cbm/cbm.sock");
}

static void is_abstract(const char *text, const char *name, size_t size)
{
    cbm_endpoint endpoint;

    cr_assert_eq(cbm_endpoint_parse(&endpoint, text), 0, "%s", text);
    cr_assert_eq(endpoint.kind, CBM_ENDPOINT_ABSTRACT);
    cr_assert_eq(endpoint.socket.sun_path[0], 0);
    cr_assert_eq(memcmp(endpoint.socket.sun_path + 1, name, size), 0);
    cr_assert_eq(endpoint.socket_size, offsetof(struct sockaddr_un, sun_path) + 1 + size);
}

Test(endpoint, an_abstract_name_is_percent_decoded_as_nng_does)
{
    is_abstract("abstract://cbm", "cbm", 3);
    is_abstract("abstract://c%62m%20%00x", "cbm \0x", 6);
}

Test(endpoint, everything_else_is_no_address)
{
    char long_path[200] = "/", long_name[200] = "abstract://", very_long[2000];
    const char *wrong[] = {
        "",        "cbm.sock", "./cbm.sock",  "ipc://cbm.sock", "unix:/run/cbm.sock", "tcp://127.0.0.1:80",
        "local",   "local:x",  "abstract://", "abstract://a%2", "abstract://%zz",     long_path,
        long_name, very_long,
    };
    cbm_client *client;

    memset(long_path + 1, 'p', 107);
    memset(long_name + strlen(long_name), 'n', 108);
    memset(very_long, '/', sizeof(very_long) - 1);
    very_long[sizeof(very_long) - 1] = '\0';
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        cr_assert_eq(cbm_open(&client, wrong[i], NULL), CBM_E_ADDRESS, "%.100s", wrong[i]);
        cr_assert_null(client);
        cr_assert_neq(cbm_last_message()[0], '\0');
    }
    long_path[107] = '\0';
    cr_assert_eq(cbm_open(&client, long_path, NULL), 0, "a path of 106 bytes");
    cbm_close(client);
}

/* ---- Where to look when nobody says ------------------------------------------------------------------------------------ */

Test(endpoint, the_environment_is_asked_first)
{
    fake_broker *broker = fake_broker_start(fake_serve_well, NULL);
    cbm_client *client;

    setenv("CBM_ADDRESS", fake_broker_address(broker), 1);
    cr_assert_eq(cbm_open(&client, NULL, NULL), 0);
    cr_assert_str_eq(cbm_address(client), fake_broker_address(broker));
    cr_assert_eq(cbm_connected(client), 1);
    cbm_close(client);
    setenv("CBM_ADDRESS", "garbage", 1);
    cr_assert_eq(cbm_open(&client, NULL, NULL), CBM_E_ADDRESS);
    fake_broker_stop(broker);
}

static cbm_endpoint defaults[CBM_ENDPOINT_DEFAULTS];

static size_t find_defaults(void)
{
    size_t count;

    cr_assert_eq(cbm_endpoint_defaults(defaults, &count), 0);
    return count;
}

Test(endpoint, then_the_users_socket_and_then_the_hosts)
{
    unsetenv("CBM_ADDRESS");
    setenv("XDG_RUNTIME_DIR", "/run/user/7", 1);
    cr_assert_eq(find_defaults(), 2);
    cr_assert_str_eq(defaults[0].socket.sun_path, "/run/user/7/cbm/cbm.sock");
    cr_assert_str_eq(defaults[1].socket.sun_path, "/run/cbm/cbm.sock");
    setenv("XDG_RUNTIME_DIR", "relative", 1);
    cr_assert_eq(find_defaults(), 1);
    unsetenv("XDG_RUNTIME_DIR");
    cr_assert_eq(find_defaults(), 1);
    cr_assert_str_eq(defaults[0].text, "/run/cbm/cbm.sock");
}

/* ---- Trust ------------------------------------------------------------------------------------------------------------- */

#define STRANGER 65534 /* nobody */

/* A process of that user that listens at `path` until it is killed, and greets as a broker does. */
static pid_t start_listener(const struct sockaddr_un *address, socklen_t size, uid_t uid)
{
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    int ready[2];
    pid_t pid;
    char byte;

    cr_assert_eq(pipe(ready), 0);
    pid = fork();
    cr_assert_geq(pid, 0);
    if (pid == 0) {
        if (setgid(uid) || setuid(uid) || bind(fd, (const struct sockaddr *)address, size) || listen(fd, 8) ||
            write(ready[1], "", 1) != 1)
            _exit(1);
        for (;;) {
            int peer = accept(fd, NULL, NULL);

            if (peer >= 0 && write(peer, "\0SP\0\0\x31\0\0", 8) != 8)
                close(peer);
        }
    }
    close(fd);
    close(ready[1]);
    cr_assert_eq(read(ready[0], &byte, 1), 1, "the listener did not start");
    close(ready[0]);
    return pid;
}

static void stop_listener(pid_t pid)
{
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
}

/* What cbm_open says of a stranger who listens in a directory of that owner and mode. */
static int open_in(uid_t owner, mode_t mode, cbm_when_away when_away)
{
    char directory[] = "/tmp/cbm-trust-XXXXXX";
    cbm_open_options options = CBM_OPEN_OPTIONS_INIT;
    char path[64];
    cbm_endpoint endpoint;
    cbm_client *client;
    pid_t pid;
    int error;

    cr_assert_not_null(mkdtemp(directory));
    snprintf(path, sizeof(path), "%s/cbm.sock", directory);
    cr_assert_eq(cbm_endpoint_parse(&endpoint, path), 0);
    chmod(directory, 0777);
    pid = start_listener(&endpoint.socket, endpoint.socket_size, STRANGER);
    cr_assert_eq(chown(directory, owner, owner), 0);
    cr_assert_eq(chmod(directory, mode), 0);
    options.when_away = when_away;
    options.timeout_ms = TIMEOUT_MS;
    error = cbm_open(&client, path, &options);
    if (error)
        cr_assert_null(client);
    cbm_close(client);
    stop_listener(pid);
    unlink(path);
    rmdir(directory);
    return error;
}

static void needs_root(void)
{
    if (geteuid())
        cr_skip_test("only root can be another user");
}

Test(endpoint, a_stranger_is_not_trusted_in_any_mode)
{
    needs_root();
    cr_assert_eq(open_in(0, 0777, CBM_FAIL_OPEN), CBM_E_UNTRUSTED);
    cr_assert_eq(open_in(0, 01777, CBM_LOCAL), CBM_E_UNTRUSTED);
    cr_assert_eq(open_in(0, 0755, CBM_FAIL_CLOSED), CBM_E_UNTRUSTED);
}

Test(endpoint, the_owner_of_the_directory_is_trusted_if_nobody_else_may_write_there)
{
    needs_root();
    cr_assert_eq(open_in(STRANGER, 0755, CBM_FAIL_OPEN), 0);
    cr_assert_eq(open_in(STRANGER, 0700, CBM_FAIL_OPEN), 0);
    cr_assert_eq(open_in(STRANGER, 0775, CBM_FAIL_OPEN), CBM_E_UNTRUSTED);
    cr_assert_eq(open_in(STRANGER, 0757, CBM_FAIL_OPEN), CBM_E_UNTRUSTED);
    cr_assert_eq(open_in(1, 0755, CBM_FAIL_OPEN), CBM_E_UNTRUSTED);
}

static int open_abstract(uid_t uid)
{
    cbm_open_options options = CBM_OPEN_OPTIONS_INIT;
    char address[64];
    cbm_endpoint endpoint;
    cbm_client *client;
    pid_t pid;
    int error;

    snprintf(address, sizeof(address), "abstract://cbm-test-%d-%d", (int)getpid(), (int)uid);
    cr_assert_eq(cbm_endpoint_parse(&endpoint, address), 0);
    pid = start_listener(&endpoint.socket, endpoint.socket_size, uid);
    options.timeout_ms = TIMEOUT_MS;
    error = cbm_open(&client, address, &options);
    cbm_close(client);
    stop_listener(pid);
    return error;
}

Test(endpoint, an_abstract_socket_is_trusted_of_root_and_the_own_user_alone)
{
    cr_assert_eq(open_abstract(geteuid()), 0);
    needs_root();
    cr_assert_eq(open_abstract(STRANGER), CBM_E_UNTRUSTED);
}

Test(endpoint, a_stranger_who_takes_the_place_of_a_broker_is_refused_when_the_client_connects_again)
{
    fake_broker *broker = fake_broker_start(fake_serve_well, NULL);
    cbm_client *client = open_client(fake_broker_address(broker), CBM_FAIL_OPEN);
    cbm_breaker *breaker = get_breaker(client, "ha_api", NULL);
    cbm_endpoint endpoint;
    cbm_permit permit;
    char directory[sizeof(endpoint.socket.sun_path)];
    pid_t pid;

    needs_root();
    cr_assert_eq(cbm_endpoint_parse(&endpoint, fake_broker_address(broker)), 0);
    strcpy(directory, endpoint.socket.sun_path);
    *strrchr(directory, '/') = '\0';
    fake_broker_go_away(broker);
    cr_assert_eq(chmod(directory, 0777), 0);
    pid = start_listener(&endpoint.socket, endpoint.socket_size, STRANGER);
    cr_assert_eq(cbm_call_begin(breaker, &permit), CBM_E_UNTRUSTED, "fail-open does not hide it");
    cr_assert_eq(cbm_call_begin(breaker, &permit), CBM_E_UNTRUSTED, "nor does the time that it counts as away");
    cr_assert_eq(cbm_connected(client), 0);
    stop_listener(pid);
    cbm_close(client);
    fake_broker_stop(broker);
}
