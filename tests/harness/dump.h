/* Captured contents of Redis, put into a real server: lines {"key","type","ttl_ms","value"}; a hash is
 * [[field,value]], a sorted set [[member,score]], a stream [[id,[[field,value]]]]; what is not UTF-8 is
 * {"b64":"..."}. What cannot be done fails the cmocka test. */
#ifndef TESTS_HARNESS_DUMP_H
#define TESTS_HARNESS_DUMP_H

#include <stddef.h>

#include "tests/harness/redis.h"

/* `file`: below tests/data/queues, "rq/queued.jsonl". Returns how many keys there are now. */
size_t dump_load(struct redis_box *r, const char *file);

#endif
