/*
 * A worker of the demo: calls an HTTP upstream through the breaker that all workers share, again and again, and says on
 * stdout how it went, one line a call: "ok", "failed REASON" (each with " probe" when it was one), "open RETRY_MS",
 * "trouble MESSAGE" when the breaker itself could not be asked.
 *
 *     demo_worker ADDRESS BREAKER PORT WORKER
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#include "cbm.h"

enum { PAUSE_MS = 100, PAUSE_WHEN_OPEN_MS = 200, HTTP_TIMEOUT_S = 5 };

static void pause_ms(int milliseconds)
{
    struct timespec pause = {.tv_sec = milliseconds / 1000, .tv_nsec = (long)(milliseconds % 1000) * 1000000};
    nanosleep(&pause, NULL);
}

/* GET / of the upstream: its HTTP status, or -errno. */
static int http_get(int port, const char *worker)
{
    const struct timeval timeout = {.tv_sec = HTTP_TIMEOUT_S};
    const struct sockaddr_in upstream = {
        .sin_family = AF_INET,
        .sin_port = htons((uint16_t)port),
        .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
    };
    char text[512];
    size_t size = 0;
    int status = -EPROTO;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (fd < 0)
        return -errno;
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout));
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof(timeout));
    if (connect(fd, (const struct sockaddr *)&upstream, sizeof(upstream)) < 0)
        goto failed;

    int length = snprintf(text, sizeof(text), "GET / HTTP/1.0\r\nHost: 127.0.0.1\r\nX-Worker: %s\r\n\r\n", worker);
    if (length < 0 || (size_t)length >= sizeof(text)) {
        errno = EMSGSIZE;
        goto failed;
    }
    if (send(fd, text, (size_t)length, MSG_NOSIGNAL) != length)
        goto failed;

    /* HTTP/1.0: the answer ends with the connection. Of a longer one the beginning is enough. */
    while (size < sizeof(text) - 1) {
        ssize_t got = recv(fd, text + size, sizeof(text) - 1 - size, 0);
        if (got < 0)
            goto failed;
        if (got == 0)
            break;
        size += (size_t)got;
    }
    text[size] = '\0';
    if (sscanf(text, "HTTP/%*s %d", &status) != 1)
        status = -EPROTO;
    close(fd);
    return status;

failed:
    status = -errno;
    close(fd);
    return status;
}

static void call_upstream(cbm_breaker *breaker, int port, const char *worker)
{
    cbm_permit permit;
    cbm_report_options report = {.size = sizeof(report)};
    char error_text[64] = "";
    int error = cbm_call_begin(breaker, &permit);

    if (error == CBM_E_OPEN || error == CBM_E_HALF_OPEN_FULL) {
        printf("open %lld\n", (long long)cbm_permit_retry_after_ms(&permit));
        pause_ms(PAUSE_WHEN_OPEN_MS);
        return;
    }
    if (error != 0) {
        printf("trouble %s\n", cbm_last_message());
        return;
    }

    const char *probe = cbm_permit_probe(&permit) ? " probe" : "";
    int status = http_get(port, worker);
    if (status == 200) {
        error = cbm_call_report(&permit, CBM_SUCCESS);
        printf("ok%s\n", probe);
    } else {
        if (status < 0)
            snprintf(error_text, sizeof(error_text), "%s", strerror(-status));
        else
            snprintf(error_text, sizeof(error_text), "HTTP %d", status);
        report.error_text = error_text;
        error = cbm_call_report_with(&permit, CBM_FAILURE, &report);
        printf("failed %s%s\n", error_text, probe);
    }
    if (error != 0)
        printf("trouble %s\n", cbm_last_message());
}

int main(int argc, char **argv)
{
    /* A loaded machine may keep the broker from answering within the usual 100 ms; here every call is counted. */
    const cbm_open_options options = {
        .size = sizeof(options), .when_away = CBM_FAIL_CLOSED, .call_timeout_ms = 5000, .timeout_ms = 5000};
    cbm_client *client;
    cbm_breaker *breaker;
    int error;

    if (argc != 5) {
        fprintf(stderr, "usage: demo_worker ADDRESS BREAKER PORT WORKER\n");
        return 2;
    }
    setvbuf(stdout, NULL, _IOLBF, 0);
    error = cbm_open(&client, argv[1], &options);
    if (error == 0)
        error = cbm_get(client, argv[2], NULL, &breaker);
    if (error != 0) {
        fprintf(stderr, "demo_worker: %s: %s\n", argv[1], cbm_strerror(error));
        return 1;
    }
    for (;;) {
        call_upstream(breaker, atoi(argv[3]), argv[4]);
        if (ferror(stdout))
            break;
        pause_ms(PAUSE_MS);
    }
    cbm_close(client);
    return 1;
}
