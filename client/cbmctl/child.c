#include "child.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define NS_PER_MS INT64_C(1000000)

typedef struct child_process {
    pid_t pid;
    pid_t target; /* of signals: the process, or its group */
    bool own_group;
    int64_t begun_ns;
    int64_t term_at_ns; /* 0: never */
    int64_t kill_at_ns;
} child_process;

static int64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 * NS_PER_MS + now.tv_nsec;
}

static bool has_terminal(void)
{
    int fd = open("/dev/tty", O_RDWR | O_CLOEXEC | O_NOCTTY);
    if (fd >= 0)
        close(fd);
    return fd >= 0;
}

static _Noreturn void become_command(const child_options *options, const held_signals *signals, bool own_group,
                                     int report_fd)
{
    if (own_group)
        setpgid(0, 0);
    signals_restore(signals);
    execvp(options->argv[0], options->argv);
    int error = errno;
    ssize_t written = write(report_fd, &error, sizeof(error));
    (void)written;
    _exit(127);
}

/* The pipe closes at exec; what comes before is the errno of one that failed. */
static int read_exec_error(int fd)
{
    int error = 0;
    ssize_t size;
    do {
        size = read(fd, &error, sizeof(error));
    } while (size < 0 && errno == EINTR);
    return size == (ssize_t)sizeof(error) ? error : 0;
}

static bool start(const child_options *options, const held_signals *signals, child_process *child, child_result *result)
{
    int report[2];
    if (pipe2(report, O_CLOEXEC) != 0) {
        result->fork_error = errno;
        return false;
    }
    child->own_group = options->timeout_ms > 0 && !has_terminal();
    child->begun_ns = now_ns();
    child->pid = fork();
    if (child->pid == 0)
        become_command(options, signals, child->own_group, report[1]);
    int fork_error = errno;
    close(report[1]);
    if (child->pid > 0)
        result->exec_error = read_exec_error(report[0]);
    else
        result->fork_error = fork_error;
    close(report[0]);
    if (child->pid < 0)
        return false;
    child->target = child->own_group ? -child->pid : child->pid;
    if (options->timeout_ms > 0)
        child->term_at_ns = child->begun_ns + (int64_t)options->timeout_ms * NS_PER_MS;
    return true;
}

/* A stopped process gets its SIGTERM when it goes on, and must. */
static void end_in_time(const child_options *options, child_process *child, child_result *result)
{
    int64_t now = now_ns();
    if (child->kill_at_ns > 0 && now >= child->kill_at_ns) {
        kill(child->target, SIGKILL);
        child->kill_at_ns = 0;
    } else if (child->term_at_ns > 0 && now >= child->term_at_ns) {
        kill(child->target, SIGTERM);
        kill(child->target, SIGCONT);
        child->term_at_ns = 0;
        child->kill_at_ns = now + (int64_t)options->kill_after_ms * NS_PER_MS;
        result->timed_out = true;
    }
}

static int64_t time_left_ms(const child_process *child)
{
    int64_t deadline = child->term_at_ns > 0 ? child->term_at_ns : child->kill_at_ns;
    if (deadline == 0)
        return -1;
    int64_t left = deadline - now_ns();
    return left > 0 ? (left + NS_PER_MS - 1) / NS_PER_MS : 0;
}

static bool has_ended(const child_process *child, child_result *result)
{
    pid_t pid;
    do {
        pid = waitpid(child->pid, &result->status, WNOHANG);
    } while (pid < 0 && errno == EINTR);
    return pid == child->pid;
}

void child_run(const child_options *options, held_signals *signals, child_result *result)
{
    child_process child = {0};
    *result = (child_result){0};
    if (!start(options, signals, &child, result))
        return;
    while (!has_ended(&child, result)) {
        siginfo_t info;
        int number = signals_wait(signals, time_left_ms(&child), &info);
        if (number == 0)
            end_in_time(options, &child, result);
        else if (number != SIGCHLD)
            signals_forward(&info, child.pid, child.target, !child.own_group);
        if (number == SIGTSTP)
            signals_stop_self();
    }
    result->duration_ns = now_ns() - child.begun_ns;
    signals_drain(signals); /* a Ctrl-C that ended the command may have come behind its end */
}
