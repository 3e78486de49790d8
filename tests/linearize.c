#include "linearize.h"

#include "plain_rules.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* A place that the search has been to. */
typedef struct place {
    uint64_t done; /* bit i: event i */
    plain_breaker breaker;
} place;

typedef struct search {
    const history *h;
    linearize_result *result;
    place *places; /* a hash table with open addressing; done 0: empty */
    size_t capacity, count;
    int depth;
    int order[LINEARIZE_MAX];
} search;

/* ---- Where it has been ---- */

static uint64_t hash_of(const place *p)
{
    uint64_t words[sizeof(place) / sizeof(uint64_t)];
    uint64_t hash = UINT64_C(0x9e3779b97f4a7c15);

    memcpy(words, p, sizeof(words));
    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
        hash = (hash ^ words[i]) * UINT64_C(0xbf58476d1ce4e5b9);
        hash ^= hash >> 29;
    }
    return hash;
}
_Static_assert(sizeof(place) % sizeof(uint64_t) == 0, "hashed by words");

static void *must_have(void *memory)
{
    if (memory == NULL) {
        abort();
    }
    return memory;
}

static bool insert(place *places, size_t capacity, const place *p)
{
    size_t at = hash_of(p) & (capacity - 1);

    while (places[at].done != 0) {
        if (memcmp(&places[at], p, sizeof(*p)) == 0) {
            return false;
        }
        at = (at + 1) & (capacity - 1);
    }
    places[at] = *p;
    return true;
}

/* Whether it is new. */
static bool remember(search *s, const place *p)
{
    if (!insert(s->places, s->capacity, p)) {
        return false;
    }
    if (++s->count * 2 > s->capacity) {
        size_t capacity = s->capacity * 4;
        place *places = must_have(calloc(capacity, sizeof(*places)));

        for (size_t i = 0; i < s->capacity; i++) {
            if (s->places[i].done != 0) {
                (void)insert(places, capacity, &s->places[i]);
            }
        }
        free(s->places);
        s->places = places;
        s->capacity = capacity;
    }
    return true;
}

/* ---- One operation ---- */

static int count_done(const history *h, uint64_t done, event_kind kind, cbm_core_outcome outcome)
{
    int count = 0;

    for (int i = 0; i < h->count; i++) {
        const event *e = &h->events[i];

        if ((done >> i & 1) != 0 && e->kind == kind) {
            count += kind == EVENT_BEGIN ? e->error != 0 : e->outcome == outcome;
        }
    }
    return count;
}

static bool sees(const history *h, const place *p, const event_reading *r)
{
    int failed = count_done(h, p->done, EVENT_REPORT, CBM_CORE_FAILURE);

    return (int)r->state == p->breaker.state && r->failures == plain_failures(&p->breaker, &h->policy) &&
           r->late_reports == p->breaker.late && r->state_transitions == p->breaker.transitions &&
           r->successful_calls == count_done(h, p->done, EVENT_REPORT, CBM_CORE_SUCCESS) &&
           r->failed_calls == failed + count_done(h, p->done, EVENT_REPORT, CBM_CORE_TIMEOUT) &&
           r->ignored_calls == count_done(h, p->done, EVENT_REPORT, CBM_CORE_IGNORED) &&
           r->rejected_calls == count_done(h, p->done, EVENT_BEGIN, 0);
}

static bool apply(const history *h, place *p, const event *e, int64_t from_ns, int64_t second)
{
    plain_breaker *b = &p->breaker;

    switch (e->kind) {
    case EVENT_BEGIN: return plain_begin(b, &h->policy, from_ns, e->end_ns, e->error, e->probe, e->permit);
    case EVENT_REPORT:
        return plain_report(b, &h->policy, from_ns, e->end_ns, e->permit, e->outcome, e->slow, e->open_for_ms, second);
    case EVENT_RESET: return plain_reset(b, from_ns, e->end_ns);
    case EVENT_READ: return plain_read(b, &h->policy, from_ns, e->end_ns, second) && sees(h, p, &e->reading);
    }
    return false;
}

static bool dated_back(const event *e)
{
    return e->kind == EVENT_REPORT && e->outcome == CBM_CORE_SUCCESS;
}

/* The seconds in which an operation may take effect, as far as that makes a difference. */
static void seconds_of(const history *h, const event *e, int64_t *first, int64_t *last)
{
    int64_t start_ns = e->start_ns - (dated_back(e) ? h->dated_back_ns : 0);

    *first = *last = 0;
    if (h->policy.rule == CBM_CORE_RULE_TIME_WINDOW && (e->kind == EVENT_REPORT || e->kind == EVENT_READ)) {
        *first = start_ns / CBM_CORE_NS_PER_S;
        *last = e->end_ns / CBM_CORE_NS_PER_S;
    }
}

/* ---- The search ---- */

/* Whether everything that ended before this one began is done. */
static bool may_be_next(const history *h, uint64_t done, int index)
{
    for (int i = 0; i < h->count; i++) {
        if ((done >> i & 1) == 0 && i != index && h->events[i].end_ns < h->events[index].start_ns) {
            return false;
        }
    }
    return true;
}

static bool go_on(search *s, const place *from);

static bool try_event(search *s, const place *from, int index)
{
    const history *h = s->h;
    const event *e = &h->events[index];
    int64_t first;
    int64_t last;

    seconds_of(h, e, &first, &last);
    for (int64_t second = first; second <= last; second++) {
        place next = *from;
        int64_t second_ns = second * CBM_CORE_NS_PER_S;

        if (second != 0 && (second < from->breaker.second ||
                            (!dated_back(e) && second_ns + CBM_CORE_NS_PER_S <= from->breaker.now_ns))) {
            continue; /* time goes on only */
        }
        if (apply(h, &next, e, second_ns > e->start_ns ? second_ns : e->start_ns, second)) {
            next.done |= UINT64_C(1) << index;
            s->order[s->depth++] = index;
            if (go_on(s, &next)) {
                return true;
            }
            s->depth--;
        }
    }
    return false;
}

static bool go_on(search *s, const place *from)
{
    const history *h = s->h;

    if (s->depth > s->result->longest) {
        s->result->longest = s->depth;
        memcpy(s->result->order, s->order, sizeof(s->order));
    }
    if (s->depth == h->count) {
        return true;
    }
    if (s->depth > 0 && !remember(s, from)) {
        return false;
    }
    for (int i = 0; i < h->count; i++) {
        if ((from->done >> i & 1) == 0 && may_be_next(h, from->done, i) && try_event(s, from, i)) {
            return true;
        }
    }
    return false;
}

void linearize(const history *h, linearize_result *result)
{
    search s = {.h = h, .result = result, .capacity = 1024};
    place start;
    int64_t first_ns = INT64_MAX;

    memset(result, 0, sizeof(*result));
    memset(&start, 0, sizeof(start));
    for (int i = 0; i < h->count; i++) {
        first_ns = h->events[i].start_ns < first_ns ? h->events[i].start_ns : first_ns;
    }
    plain_init(&start.breaker, first_ns);
    s.places = must_have(calloc(s.capacity, sizeof(*s.places)));
    result->linearizable = go_on(&s, &start);
    result->states = s.count;
    free(s.places);
}

/* ---- For people ---- */

static void print_event(const history *h, int index, int64_t base_ns, FILE *to)
{
    static const char *const kinds[] = {"begin", "report", "reset", "read"};
    const event *e = &h->events[index];

    fprintf(to, "%3d  process %d  %9.1f to %9.1f us  %s", index, e->process, (double)(e->start_ns - base_ns) / 1000,
            (double)(e->end_ns - base_ns) / 1000, kinds[e->kind]);
    if (e->kind == EVENT_BEGIN) {
        fprintf(to, e->error == 0 ? ": %spermit %d" : ": refused, %s%d", e->probe ? "probe, " : "",
                e->error == 0 ? e->permit : e->error);
    } else if (e->kind == EVENT_REPORT) {
        fprintf(to, " of permit %d: %s%s", e->permit, e->slow ? "slow " : "", cbm_core_outcome_name(e->outcome));
        if (e->open_for_ms > 0) {
            fprintf(to, ", open for %d ms", e->open_for_ms);
        }
    } else if (e->kind == EVENT_READ) {
        const event_reading *r = &e->reading;
        fprintf(to, ": %s, %d failures; %d successful, %d failed, %d ignored, %d late, %d rejected; %d transitions",
                cbm_core_state_name(r->state), r->failures, r->successful_calls, r->failed_calls, r->ignored_calls,
                r->late_reports, r->rejected_calls, r->state_transitions);
    }
    fputc('\n', to);
}

void history_print(const history *h, const linearize_result *result, FILE *to)
{
    int64_t base_ns = INT64_MAX;

    for (int i = 0; i < CBM_CORE_POLICY_FIELDS; i++) {
        fprintf(to, "%s=%" PRIu32 " ", cbm_core_policy_table()[i].name, cbm_core_policy_value(&h->policy, i));
    }
    fputc('\n', to);
    for (int i = 0; i < h->count; i++) {
        base_ns = h->events[i].start_ns < base_ns ? h->events[i].start_ns : base_ns;
    }
    fprintf(to, "it begins %.1f us after a second\n", (double)(base_ns % CBM_CORE_NS_PER_S) / 1000);
    for (int i = 0; i < h->count; i++) {
        print_event(h, i, base_ns, to);
    }
    if (result != NULL) {
        fprintf(to, "%d of %d can be put in order:", result->longest, h->count);
        for (int i = 0; i < result->longest; i++) {
            fprintf(to, " %d", result->order[i]);
        }
        fprintf(to, "; %" PRIu64 " states\n", result->states);
    }
}
