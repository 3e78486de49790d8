#include "harness.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

pid_t process_fork(void)
{
    pid_t parent = getpid();
    fflush(NULL);
    pid_t pid = fork();
    if (pid < 0)
        harness_fail("fork: %s", strerror(errno));
    if (pid == 0) {
        /* The parent may have died before the wish was uttered. */
        if (prctl(PR_SET_PDEATHSIG, SIGKILL) != 0 || getppid() != parent)
            _exit(127);
        /* A test runner's handlers and masks are not the child's. */
        sigset_t none;
        sigemptyset(&none);
        sigprocmask(SIG_SETMASK, &none, NULL);
        signal(SIGABRT, SIG_DFL);
        signal(SIGTERM, SIG_DFL);
        signal(SIGINT, SIG_DFL);
    }
    return pid;
}

int process_wait(pid_t pid, int deadline_ms)
{
    bool late = false;
    int fd = pidfd_open(pid, 0);
    if (fd < 0)
        harness_fail("pidfd_open: %s", strerror(errno));
    int64_t end = clock_ms() + deadline_ms;
    struct pollfd event = {fd, POLLIN, 0};
    for (int64_t left = deadline_ms; poll(&event, 1, (int)left) <= 0; left = end - clock_ms()) {
        if (clock_ms() >= end) {
            late = true;
            kill(pid, SIGKILL);
            break;
        }
    }
    close(fd);
    int status;
    while (waitpid(pid, &status, 0) < 0) {
        if (errno != EINTR)
            harness_fail("waitpid: %s", strerror(errno));
    }
    if (late)
        return -1;
    return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

bool process_running(pid_t pid)
{
    siginfo_t info = {0};
    return waitid(P_PID, (id_t)pid, &info, WEXITED | WNOHANG | WNOWAIT) == 0 && info.si_pid == 0;
}

void processes_start(processes *p, int count, process_function *function, void *context)
{
    MUST(count <= PROCESSES_MAX);
    memset(p, 0, sizeof *p);
    p->count = count;
    for (int i = 0; i < count; i++) {
        p->pids[i] = process_fork();
        if (p->pids[i] == 0) {
            int status = function(i, context);
            fflush(NULL);
            _exit(status);
        }
    }
}

int processes_wait(processes *p, int deadline_ms)
{
    int64_t end = clock_ms() + deadline_ms;
    int failed = 0;
    for (int i = 0; i < p->count; i++) {
        if (p->pids[i] != 0) {
            int64_t left = end - clock_ms();
            p->statuses[i] = process_wait(p->pids[i], left > 0 ? (int)left : 0);
            p->pids[i] = 0;
            if (p->statuses[i] != 0)
                fprintf(stderr, "process %d ended with status %d\n", i, p->statuses[i]);
        }
        failed += p->statuses[i] != 0;
    }
    return failed;
}

int processes_run(int count, process_function *function, void *context, int deadline_ms)
{
    processes p;
    processes_start(&p, count, function, context);
    return processes_wait(&p, deadline_ms);
}

/* What is read from one pipe. */
typedef struct collected {
    int fd;
    char *text;
    size_t size, capacity;
} collected;

static void collect(collected *c)
{
    if (c->size + 4096 + 1 > c->capacity) {
        c->capacity = c->capacity * 2 + 8192;
        c->text = realloc(c->text, c->capacity);
        MUST(c->text != NULL);
    }
    ssize_t got = read(c->fd, c->text + c->size, 4096);
    if (got <= 0) {
        close(c->fd);
        c->fd = -1;
        return;
    }
    c->size += (size_t)got;
}

static void feed(int *fd, const char **input)
{
    /* What poll() promises room for: a longer write would wait for a reader that may be waiting for us. */
    ssize_t sent = write(*fd, *input, strnlen(*input, PIPE_BUF));
    if (sent > 0)
        *input += sent;
    if (sent < 0 || **input == '\0') {
        close(*fd);
        *fd = -1;
    }
}

static void finish_text(collected *c)
{
    c->text = realloc(c->text, c->size + 1);
    MUST(c->text != NULL);
    c->text[c->size] = '\0';
    if (c->fd >= 0)
        close(c->fd);
}

static void become_program(const char *const *argv, int in, int out, int err)
{
    if (dup2(in, 0) < 0 || dup2(out, 1) < 0 || dup2(err, 2) < 0)
        _exit(126);
    close_range(3, ~0U, 0);
    signal(SIGPIPE, SIG_DFL);
    execvp(argv[0], (char *const *)argv);
    fprintf(stderr, "%s: %s\n", argv[0], strerror(errno));
    _exit(127);
}

void program_run(program_result *result, const char *const *argv, const char *input, int deadline_ms)
{
    int in[2], out[2], err[2];
    if (pipe2(in, O_CLOEXEC) != 0 || pipe2(out, O_CLOEXEC) != 0 || pipe2(err, O_CLOEXEC) != 0)
        harness_fail("pipe: %s", strerror(errno));
    void (*previous)(int) = signal(SIGPIPE, SIG_IGN);
    pid_t pid = process_fork();
    if (pid == 0)
        become_program(argv, in[0], out[1], err[1]);
    close(in[0]);
    close(out[1]);
    close(err[1]);
    collected texts[2] = {{.fd = out[0]}, {.fd = err[0]}};
    const char *rest = input != NULL ? input : "";
    if (*rest == '\0') {
        close(in[1]);
        in[1] = -1;
    }
    int64_t end = clock_ms() + deadline_ms;
    /* A grandchild may keep a pipe open: then the deadline ends the collecting, and status tells how the program itself went. */
    while (texts[0].fd >= 0 || texts[1].fd >= 0) {
        struct pollfd events[3] = {{texts[0].fd, POLLIN, 0}, {texts[1].fd, POLLIN, 0}, {in[1], POLLOUT, 0}};
        int64_t left = end - clock_ms();
        if (left <= 0 || (poll(events, 3, (int)left) < 0 && errno != EINTR))
            break;
        for (int i = 0; i < 2; i++) {
            if (events[i].revents != 0)
                collect(&texts[i]);
        }
        if (events[2].revents != 0)
            feed(&in[1], &rest);
    }
    if (in[1] >= 0)
        close(in[1]);
    int64_t left = end - clock_ms();
    result->status = process_wait(pid, left > 0 ? (int)left : 0);
    signal(SIGPIPE, previous);
    finish_text(&texts[0]);
    finish_text(&texts[1]);
    result->out = texts[0].text;
    result->out_size = texts[0].size;
    result->err = texts[1].text;
}

void program_result_deinit(program_result *result)
{
    free(result->out);
    free(result->err);
}

char *nngcat_request(const char *address, const char *text)
{
    program_result result;
    const char *argv[] = {"nngcat", "--req",          "--dial", address,          "--data", text,
                          "--raw",  "--recv-timeout", "10",     "--send-timeout", "10",     NULL};
    program_run(&result, argv, NULL, HARNESS_DEADLINE_MS);
    if (result.status != 0)
        harness_fail("nngcat '%s' ended with status %d: %s", text, result.status, result.err);
    free(result.err);
    return result.out;
}
