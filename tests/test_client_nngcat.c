/* libnng's own REP answers the client, by nngcat: both speak SP. */
#include <criterion/criterion.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "client_fixture.h"
#include "codec.h"
#include "fake_broker.h"

TestSuite(client_nngcat, .timeout = 60);

static char directory[] = "/tmp/cbm-nngcat-XXXXXX";
static char answer_path[64], address[64];
static pid_t pid;

static void write_answer(const cbm_reply *reply)
{
    cbm_buffer body;
    FILE *file = fopen(answer_path, "w");

    cbm_buffer_init(&body, 4096);
    cr_assert_eq(cbm_reply_encode(reply, &body), 0);
    cr_assert_not_null(file);
    cr_assert_eq(fwrite(body.data, 1, body.size, file), body.size);
    fclose(file);
    cbm_buffer_deinit(&body);
}

/* It gives that answer to whatever is asked. */
static void start_nngcat(const cbm_reply *reply)
{
    cr_assert_not_null(mkdtemp(directory));
    snprintf(answer_path, sizeof(answer_path), "%s/answer", directory);
    snprintf(address, sizeof(address), "ipc://%s/rep.sock", directory);
    write_answer(reply);
    pid = fork();
    cr_assert_geq(pid, 0);
    if (pid == 0) {
        execlp("nngcat", "nngcat", "--rep", "--listen", address, "--file", answer_path, "--silent", (char *)NULL);
        _exit(127);
    }
}

static void stop_nngcat(void)
{
    char path[64];

    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
    snprintf(path, sizeof(path), "%s/rep.sock", directory);
    unlink(path);
    unlink(answer_path);
    rmdir(directory);
}

Test(client_nngcat, a_client_asks_an_nng_rep)
{
    cbm_reply pong = {.kind = CBM_REPLY_PONG};
    cbm_client *client;

    if (system("command -v nngcat > /dev/null"))
        cr_skip_test("nngcat is not installed");
    start_nngcat(&pong);
    client = open_client(address, CBM_FAIL_OPEN);
    cr_assert(await_broker(client));
    for (int i = 0; i < 100; i++)
        cr_assert_eq(cbm_ping(client), 0, "%s", cbm_last_message());
    cr_assert_eq(cbm_connected(client), 1);
    cbm_close(client);
    stop_nngcat();
}

Test(client_nngcat, what_an_nng_rep_refuses_is_refused)
{
    cbm_reply refusal = {0};
    cbm_client *client;
    cbm_breaker *breaker;

    if (system("command -v nngcat > /dev/null"))
        cr_skip_test("nngcat is not installed");
    cbm_reply_fail(&refusal, CBM_E_FULL, "no room");
    start_nngcat(&refusal);
    client = open_client(address, CBM_FAIL_OPEN);
    while (!cbm_connected(client) && cbm_ping(client) != CBM_E_FULL)
        sleep_ms(5);
    cr_assert_eq(cbm_get(client, "ha_api", NULL, &breaker), CBM_E_FULL);
    cr_assert_str_eq(cbm_last_message(), "no room");
    cbm_close(client);
    stop_nngcat();
}
