/*
 * A breaker that all processes share as one would write it for Redis: its counts and its state in a hash, each step a script,
 * so that nobody comes in between. The rule is the one that cbm has by default: five failures in a row open for a minute.
 */
#include <hiredis/hiredis.h>
#include <stdlib.h>
#include <string.h>

#include "peers.h"

#define KEY "breaker:{bench}"
#define THRESHOLD "5"
#define TIMEOUT_MS "60000"
#define SHA_SIZE 40

/* KEYS[1]: the breaker; ARGV[1]: how long it stays open. Answers {permitted, epoch, ms to wait}. */
static const char begin_script[] =
    "local b = redis.call('HMGET', KEYS[1], 'state', 'epoch', 'opened_ms', 'probe')\n"
    "local state, epoch = b[1] or 'CLOSED', tonumber(b[2] or 0)\n"
    "if state == 'CLOSED' then return {1, epoch, 0} end\n"
    "local t = redis.call('TIME')\n"
    "local now = t[1] * 1000 + math.floor(t[2] / 1000)\n"
    "local left = tonumber(b[3]) + tonumber(ARGV[1]) - now\n"
    "if state == 'OPEN' and left > 0 then return {0, epoch, left} end\n"
    "if state == 'HALF_OPEN' and b[4] and now - tonumber(b[4]) < tonumber(ARGV[1]) then return {0, epoch, 0} end\n"
    "redis.call('HSET', KEYS[1], 'state', 'HALF_OPEN', 'epoch', epoch + 1, 'probe', now)\n"
    "return {1, epoch + 1, 0}\n";

/* ARGV: threshold, epoch of the permit, 1 for a success. Answers the state. */
static const char report_script[] =
    "local b = redis.call('HMGET', KEYS[1], 'state', 'epoch', 'failures')\n"
    "local state, epoch, failures = b[1] or 'CLOSED', tonumber(b[2] or 0), tonumber(b[3] or 0)\n"
    "redis.call('HINCRBY', KEYS[1], ARGV[3] == '1' and 'successful_calls' or 'failed_calls', 1)\n"
    "if epoch ~= tonumber(ARGV[2]) then return state end\n"
    "if ARGV[3] == '1' then\n"
    "    if state == 'HALF_OPEN' then\n"
    "        redis.call('HSET', KEYS[1], 'state', 'CLOSED', 'epoch', epoch + 1, 'failures', 0)\n"
    "        return 'CLOSED'\n"
    "    end\n"
    "    if failures > 0 then redis.call('HSET', KEYS[1], 'failures', 0) end\n"
    "    return state\n"
    "end\n"
    "failures = failures + 1\n"
    "if state == 'HALF_OPEN' or failures >= tonumber(ARGV[1]) then\n"
    "    local t = redis.call('TIME')\n"
    "    redis.call('HSET', KEYS[1], 'state', 'OPEN', 'epoch', epoch + 1, 'failures', failures,\n"
    "               'opened_ms', t[1] * 1000 + math.floor(t[2] / 1000))\n"
    "    return 'OPEN'\n"
    "end\n"
    "redis.call('HSET', KEYS[1], 'failures', failures)\n"
    "return state\n";

struct bench_redis {
    redisContext *context;
    char begin_sha[SHA_SIZE + 1];
    char report_sha[SHA_SIZE + 1];
    long long epoch; /* of the permit */
};

static bool load(redisContext *context, const char *script, char sha[SHA_SIZE + 1])
{
    redisReply *reply = redisCommand(context, "SCRIPT LOAD %s", script);
    bool good = reply && reply->type == REDIS_REPLY_STRING && strlen(reply->str) == SHA_SIZE;

    if (good)
        strcpy(sha, reply->str);
    freeReplyObject(reply);
    return good;
}

bench_redis *bench_redis_connect(const char *path)
{
    bench_redis *redis = calloc(1, sizeof(*redis));

    if (!redis)
        return NULL;
    redis->context = redisConnectUnix(path);
    if (redis->context && !redis->context->err && load(redis->context, begin_script, redis->begin_sha) &&
        load(redis->context, report_script, redis->report_sha))
        return redis;
    bench_redis_close(redis);
    return NULL;
}

bool bench_redis_begin(bench_redis *redis)
{
    redisReply *reply = redisCommand(redis->context, "EVALSHA %s 1 " KEY " " TIMEOUT_MS, redis->begin_sha);
    bool good = reply && reply->type == REDIS_REPLY_ARRAY && reply->elements == 3 && reply->element[0]->integer == 1;

    if (good)
        redis->epoch = reply->element[1]->integer;
    freeReplyObject(reply);
    return good;
}

bool bench_redis_report(bench_redis *redis, bool success)
{
    redisReply *reply = redisCommand(redis->context, "EVALSHA %s 1 " KEY " " THRESHOLD " %lld %d", redis->report_sha,
                                     redis->epoch, (int)success);
    bool good = reply && reply->type == REDIS_REPLY_STRING;

    freeReplyObject(reply);
    return good;
}

void bench_redis_close(bench_redis *redis)
{
    if (!redis)
        return;
    if (redis->context)
        redisFree(redis->context);
    free(redis);
}
