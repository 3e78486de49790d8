#include "admins.h"

#include <errno.h>
#include <grp.h>
#include <pthread.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "engine.h"
#include "error.h"
#include "log.h"
#include "options.h"

#define BUFFER_FIRST 4096
#define BUFFER_MAX (16 * 1024 * 1024) /* a group of some hundred thousand members */

struct cbm_admins {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    cbm_access *access; /* NULL: the broker is going */
    uint64_t asked, answered;
    unsigned users; /* the broker, and each lookup under way */
};

typedef struct lookup {
    cbm_admins *admins;
    uint64_t number;
    char group[CBM_GROUP_MAX + 1];
    uint64_t gid;
    uint64_t *uids;
    size_t count;
    cbm_access_user *users; /* of the rules of access */
    size_t user_count;
} lookup;

int cbm_admins_new(cbm_admins **admins, cbm_access *access)
{
    pthread_condattr_t attributes;

    *admins = calloc(1, sizeof **admins);
    if (!*admins)
        return CBM_PROTO_E_NOMEM;
    pthread_mutex_init(&(*admins)->lock, NULL);
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&(*admins)->changed, &attributes);
    pthread_condattr_destroy(&attributes);
    (*admins)->access = access;
    (*admins)->users = 1;
    return 0;
}

/* Called with the lock, which it gives back. */
static void leave(cbm_admins *admins)
{
    bool last = --admins->users == 0;

    pthread_mutex_unlock(&admins->lock);
    if (!last)
        return;
    pthread_cond_destroy(&admins->changed);
    pthread_mutex_destroy(&admins->lock);
    free(admins);
}

void cbm_admins_free(cbm_admins *admins)
{
    if (!admins)
        return;
    pthread_mutex_lock(&admins->lock);
    admins->access = NULL;
    leave(admins);
}

/* ---- The lookup ------------------------------------------------------------------------------------------------- */

/* 0, ENOENT: there is no such user, or what kept it from being found. */
static int find_uid(const char *name, uint64_t *uid)
{
    struct passwd user, *result = NULL;
    size_t size = BUFFER_FIRST;
    char *buffer = malloc(size);
    int error = ENOMEM;

    while (buffer && (error = getpwnam_r(name, &user, buffer, size, &result)) == ERANGE && size < BUFFER_MAX) {
        free(buffer);
        size *= 2;
        buffer = malloc(size);
    }
    if (!buffer)
        return ENOMEM;
    if (result)
        *uid = user.pw_uid;
    free(buffer);
    if (result)
        return 0;
    return error ? error : ENOENT;
}

static const char *why_not(int error)
{
    return error == ENOENT ? "there is no such user" : strerror(error);
}

static void add_member(lookup *found, const char *name)
{
    uint64_t uid = 0, *more = NULL;
    int error = find_uid(name, &uid);

    if (!error) {
        more = realloc(found->uids, (found->count + 1) * sizeof *more);
        error = more ? 0 : ENOMEM;
    }
    if (error) {
        cbm_log_message(CBM_LOG_WARN, "admin_group", "its member %s is left out: %s", name, why_not(error));
        return;
    }
    found->uids = more;
    more[found->count++] = uid;
}

/* Who cannot be asked for now stays as it was. */
static void find_users(lookup *found)
{
    size_t kept = 0;

    for (size_t i = 0; i < found->user_count; i++) {
        cbm_access_user user = found->users[i];
        int error;

        user.uid = CBM_ACCESS_UNKNOWN;
        error = find_uid(user.name, &user.uid);
        if (error)
            cbm_log_message(CBM_LOG_WARN, "access", "the user %s of an [access] section: %s", user.name,
                            why_not(error));
        if (!error || error == ENOENT)
            found->users[kept++] = user;
    }
    found->user_count = kept;
}

static bool is_number(const char *text)
{
    return text[strspn(text, "0123456789")] == '\0';
}

static bool find_group(const char *text, struct group *group, char *buffer, size_t size, int *error)
{
    struct group *result = NULL;

    if (!is_number(text))
        *error = getgrnam_r(text, group, buffer, size, &result);
    else
        *error = getgrgid_r((gid_t)strtoul(text, NULL, 10), group, buffer, size, &result);
    return result != NULL;
}

static void look_up(lookup *found)
{
    size_t size = BUFFER_FIRST;
    char *buffer = malloc(size);
    struct group group;
    int error = 0;
    bool is_there = false;

    while (buffer && !(is_there = find_group(found->group, &group, buffer, size, &error)) && error == ERANGE &&
           size < BUFFER_MAX) {
        free(buffer);
        size *= 2;
        buffer = malloc(size);
    }
    if (buffer && is_there) {
        found->gid = group.gr_gid;
        for (char **name = group.gr_mem; *name; name++)
            add_member(found, *name);
        cbm_log_message(CBM_LOG_INFO, "admin_group", "%s has %zu members beside those whose own group it is",
                        found->group, found->count);
    } else if (is_number(found->group)) { /* nobody has given it a name */
        found->gid = strtoul(found->group, NULL, 10);
    } else {
        cbm_log_message(CBM_LOG_WARN, "admin_group",
                        "there is no group %s: root and the broker's own user alone are administrators", found->group);
    }
    free(buffer);
}

static void *run(void *argument)
{
    lookup *found = argument;
    cbm_admins *admins = found->admins;

    if (found->group[0])
        look_up(found);
    find_users(found);
    pthread_mutex_lock(&admins->lock);
    if (admins->access && found->number > admins->answered) {
        cbm_access_set_admins(admins->access, found->gid, found->uids, found->count);
        cbm_access_set_users(admins->access, found->users, found->user_count);
        found->uids = NULL;
        admins->answered = found->number;
        pthread_cond_broadcast(&admins->changed);
    }
    leave(admins);
    free(found->uids);
    free(found->users);
    free(found);
    return NULL;
}

void cbm_admins_look_up(cbm_admins *admins, const char *group, cbm_access_user *users, size_t count)
{
    lookup *begun = calloc(1, sizeof *begun);
    pthread_attr_t attributes;
    pthread_t thread;
    int error = begun ? 0 : ENOMEM;

    if (begun) {
        begun->admins = admins;
        begun->gid = UINT64_MAX;
        begun->users = users;
        begun->user_count = count;
        memcpy(begun->group, group, strlen(group) + 1);
        pthread_mutex_lock(&admins->lock);
        begun->number = ++admins->asked;
        admins->users++;
        pthread_mutex_unlock(&admins->lock);
        pthread_attr_init(&attributes);
        pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
        error = pthread_create(&thread, &attributes, run, begun);
        pthread_attr_destroy(&attributes);
    }
    if (!error)
        return;
    cbm_log_message(CBM_LOG_ERROR, "admin_group", "its members, and users by name, cannot be looked up: %s",
                    strerror(error));
    if (begun) {
        pthread_mutex_lock(&admins->lock);
        leave(admins);
    }
    free(users);
    free(begun);
}

bool cbm_admins_wait(cbm_admins *admins, int timeout_ms)
{
    int64_t end_ns = cbm_clock_ns() + timeout_ms * CBM_CORE_NS_PER_MS;
    struct timespec end = {.tv_sec = end_ns / CBM_CORE_NS_PER_S, .tv_nsec = end_ns % CBM_CORE_NS_PER_S};
    bool done;

    pthread_mutex_lock(&admins->lock);
    while (admins->answered < admins->asked && pthread_cond_timedwait(&admins->changed, &admins->lock, &end) == 0)
        continue;
    done = admins->answered == admins->asked;
    pthread_mutex_unlock(&admins->lock);
    return done;
}
