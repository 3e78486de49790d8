#include <hiredis/hiredis.h>
#include <stdlib.h>

#include "peers.h"

struct bench_redis {
    redisContext *context;
};

bench_redis *bench_redis_connect(const char *path)
{
    bench_redis *redis = calloc(1, sizeof(*redis));

    if (!redis)
        return NULL;
    redis->context = redisConnectUnix(path);
    if (!redis->context || redis->context->err) {
        bench_redis_close(redis);
        return NULL;
    }
    freeReplyObject(
        redisCommand(redis->context, "SET bench %s", "{\"state\": \"CLOSED\", \"failures\": 0, \"epoch\": 1234567}"));
    return redis;
}

bool bench_redis_get(bench_redis *redis)
{
    redisReply *reply = redisCommand(redis->context, "GET bench");
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
