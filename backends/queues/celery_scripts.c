/* The Lua of the acts on Celery's lists. The first line lets them run when memory is full: none of them makes
 * more of it, and that is when they are needed. */
#include "backends/queues/celery_scripts.h"

#include <openssl/sha.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ALLOW_OOM "#!lua flags=allow-oom\n"
#define CALL "local call = redis.call\n"

/* How a job that went back is known again: the delivery tag stands near the end. */
#define MARK "local function mark(v) return #v .. ':' .. redis.sha1hex(string.sub(v, -1024)) end\n"

/* What may not be done later must fail now, while nothing has moved. */
#define REHEARSE                                                                                             \
    "local function rehearse(...)\n"                                                                         \
    "  local answer = redis.pcall(...)\n"                                                                    \
    "  if type(answer) == 'table' and answer.err and not string.find(answer.err, 'no such key', 1, true)\n"  \
    "    then return answer end\n"                                                                           \
    "end\n"

/* When the last list of a group is gone, so is its note. */
#define FORGET                                                                                               \
    "local function forget(note, first, last)\n"                                                             \
    "  for i = first, last do if call('EXISTS', KEYS[i]) == 1 then return end end\n"                         \
    "  call('DEL', note)\n"                                                                                  \
    "end\n"

/*
 * The oldest jobs go where the mask says in the same call, so that workers find what they would have found:
 * their places are known from a look right before, and each is compared by its SHA-1. What workers took in
 * between is passed over.
 */
static const char hold[] = ALLOW_OOM CALL MARK FORGET REHEARSE
    "local live, hold, note, scratch, beside = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]\n"
    "local level, mask, digests = ARGV[1], ARGV[2], ARGV[3]\n"
    "local length = call('LLEN', live)\n"
    "if length == 0 then return {'empty', 0, 0, 0} end\n"
    "if call('EXISTS', hold) == 1 then return {'exists', 0, 0, 0} end\n"
    "call('LMOVE', hold, live, 'RIGHT', 'LEFT')\n"
    "call('LMOVE', hold, scratch, 'LEFT', 'RIGHT')\n"
    "for i = 6, 9 do call('LMOVE', hold, KEYS[i], 'RIGHT', 'LEFT') end\n"
    "call('LINDEX', hold, 0)\n"
    "call('LRANGE', hold, 0, 0)\n"
    "call('HGET', note, 'owner')\n"
    "call('DEL', scratch)\n"
    "local no = rehearse('LSET', hold, 0, '') or rehearse('RENAMENX', hold, scratch)\n"
    "if no then return no end\n"
    "local words = tonumber(ARGV[4])\n"
    "for i = 5, words + 3, 2 do call('HSET', note, ARGV[i], ARGV[i + 1]) end\n"
    "for i = words + 5, #ARGV - 1, 2 do call('HSET', beside, ARGV[i], ARGV[i + 1]) end\n"
    "call('RENAMENX', live, hold)\n"
    "local function digest(i) return string.sub(digests, i * 40 - 39, i * 40) end\n"
    "local first, passed, back = redis.sha1hex(call('LINDEX', hold, -1)), 0, 0\n"
    "while passed < #mask and digest(passed + 1) ~= first do passed = passed + 1 end\n"
    "local at = passed\n"
    "while at < #mask do\n"
    "  local v, c = call('LINDEX', hold, -1), string.byte(mask, at + 1)\n"
    "  if not v or redis.sha1hex(v) ~= digest(at + 1) then break end\n"
    "  if c == 48 then back = back + 1 end\n"
    "  call('LMOVE', hold, c == 48 and live or KEYS[c - 43], 'RIGHT', 'LEFT')\n"
    "  at = at + 1\n"
    "end\n"
    "if back > 0 then call('HSET', note, 'last' .. level, mark(call('LINDEX', live, 0))) end\n"
    "if at - passed == length then forget(note, 10, #KEYS); forget(beside, 6, 9) end\n"
    "return {'held', length - at + passed, passed, at}\n";

static const char take[] =
    ALLOW_OOM CALL "call('HSET', KEYS[1], 'owner', ARGV[1])\n"
                   "for i = 2, #ARGV - 1, 2 do call('HSET', KEYS[1], ARGV[i], ARGV[i + 1]) end\n"
                   "return 1\n";

/*
 * The queue's left end is where producers push, and where the oldest held job goes next. Jobs that came in
 * since the last call lie left of the one that went back last (its mark is in the note): they are taken into
 * the hold list, behind all that are held, so that the order stays as if nothing had been moved.
 */
static const char walk[] = ALLOW_OOM CALL MARK FORGET
    "local live, hold, note, scratch = KEYS[1], KEYS[2], KEYS[3], KEYS[4]\n"
    "if call('HGET', note, 'owner') ~= ARGV[1] then return {'taken'} end\n"
    "local length = call('LLEN', hold)\n"
    "if length ~= tonumber(ARGV[2]) then return {'changed', length} end\n"
    "local mask, field = ARGV[4], 'last' .. ARGV[3]\n"
    "local last = call('HGET', note, field)\n"
    "local fresh, bytes, known = 0, 0, false\n"
    "while fresh < 200 and bytes < 500000 do\n"
    "  local v = call('LINDEX', live, fresh)\n"
    "  if not v or (last and mark(v) == last) then known = true; break end\n"
    "  bytes, fresh = bytes + #v, fresh + 1\n"
    "end\n"
    "if not known then fresh = 0 end\n"
    "for i = 1, fresh do call('LMOVE', live, scratch, 'LEFT', 'RIGHT') end\n"
    "local back, replaced, at, where = 0, 0, 5, {string.byte(mask, 1, #mask)}\n"
    "for i = 1, #mask do\n"
    "  local c = where[i]\n"
    "  if c == 48 then\n"
    "    call('LMOVE', hold, live, 'RIGHT', 'LEFT')\n"
    "    back = back + 1\n"
    "  elseif c == 120 then\n"
    "    call('LMOVE', hold, live, 'RIGHT', 'LEFT')\n"
    "    if redis.sha1hex(call('LINDEX', live, 0)) == ARGV[at] then\n"
    "      call('LSET', live, 0, ARGV[at + 1])\n"
    "      replaced = replaced + 1\n"
    "    end\n"
    "    at, back = at + 2, back + 1\n"
    "  else\n"
    "    call('LMOVE', hold, KEYS[c - 44], 'RIGHT', 'LEFT')\n"
    "  end\n"
    "end\n"
    "if back > 0 then call('HSET', note, field, mark(call('LINDEX', live, 0))) end\n"
    "local left = call('LLEN', hold)\n"
    "local behind = left == 0 and live or hold\n"
    "for i = 1, fresh do call('LMOVE', scratch, behind, 'RIGHT', 'LEFT') end\n"
    "if left == 0 then forget(note, 10, #KEYS); forget(KEYS[9], 5, 8) else left = left + fresh end\n"
    "return {'moved', left, fresh, replaced}\n";

static const char go_back[] = ALLOW_OOM CALL FORGET "local from, live, note = KEYS[1], KEYS[2], KEYS[3]\n"
                                                    "local held, moved = call('LLEN', from), 0\n"
                                                    "if call('LLEN', live) == 0 and held > 0 then\n"
                                                    "  call('RENAMENX', from, live)\n"
                                                    "  moved = held\n"
                                                    "else\n"
                                                    "  while moved < held and moved < tonumber(ARGV[1]) do\n"
                                                    "    call('LMOVE', from, live, 'RIGHT', 'LEFT')\n"
                                                    "    moved = moved + 1\n"
                                                    "  end\n"
                                                    "end\n"
                                                    "forget(note, 4, #KEYS)\n"
                                                    "return {moved, held - moved}\n";

static const char go_back_first[] = ALLOW_OOM CALL REHEARSE FORGET
    "local from, live, note, most = KEYS[1], KEYS[2], KEYS[3], tonumber(ARGV[1])\n"
    "local held, waiting = call('LLEN', from), call('LLEN', live)\n"
    "local over = 1\n"
    "if held == 0 then over = 1\n"
    "elseif held <= most and waiting > 0 then\n"
    "  for i = 1, held do call('LMOVE', from, live, 'LEFT', 'RIGHT') end\n"
    "else\n"
    "  local no = rehearse('RENAMENX', note .. ':', live)\n"
    "  if no then return no end\n"
    "  if waiting > most then\n"
    "    call('HSET', note, 'returning', '1')\n"
    "    over = 0\n"
    "  end\n"
    "  for i = 1, math.min(waiting, most) do call('LMOVE', live, from, 'RIGHT', 'LEFT') end\n"
    "  if over == 1 then call('RENAMENX', from, live) end\n"
    "end\n"
    "forget(note, 4, #KEYS)\n"
    "return {over, call('LLEN', from)}\n";

static const char purge[] =
    ALLOW_OOM CALL REHEARSE "local lengths, any = {}, false\n"
                            "for i = 2, #KEYS, 2 do\n"
                            "  local length = call('LLEN', KEYS[i])\n"
                            "  if call('EXISTS', KEYS[i + 1]) == 1 then\n"
                            "    return redis.error_reply('ERR there is trash of that name')\n"
                            "  end\n"
                            "  local no = rehearse('RENAMENX', KEYS[i + 1], KEYS[i])\n"
                            "  if no then return no end\n"
                            "  any = any or length > 0\n"
                            "  lengths[#lengths + 1] = length\n"
                            "end\n"
                            "if not any then return lengths end\n"
                            "for i = 1, #ARGV - 1, 2 do call('HSET', KEYS[1], ARGV[i], ARGV[i + 1]) end\n"
                            "for i = 2, #KEYS, 2 do\n"
                            "  if lengths[i / 2] > 0 then call('RENAMENX', KEYS[i], KEYS[i + 1]) end\n"
                            "end\n"
                            "return lengths\n";

static const char empty[] =
    ALLOW_OOM CALL "if call('HEXISTS', KEYS[1], 'returning') == 1 then return {-1} end\n"
                   "local lengths = {}\n"
                   "for i = 2, #KEYS do lengths[#lengths + 1] = call('LLEN', KEYS[i]) end\n"
                   "for i = 2, #KEYS do call('UNLINK', KEYS[i]) end\n"
                   "call('UNLINK', KEYS[1])\n"
                   "return lengths\n";

/* Only the ends of a list move: what was at an index is there, or further from that end. */
static const char replace[] =
    ALLOW_OOM CALL "local list, span, shift, answer = KEYS[1], tonumber(ARGV[1]), 0, {0}\n"
                   "for i = 2, #ARGV, 3 do\n"
                   "  local at, found = tonumber(ARGV[i]), 0\n"
                   "  if at < 0 then at = at + call('LLEN', list) end\n"
                   "  at = math.max(at + shift, 0)\n"
                   "  local near = call('LRANGE', list, at, at + span)\n"
                   "  for d = 1, #near do\n"
                   "    if redis.sha1hex(near[d]) == ARGV[i + 1] then\n"
                   "      call('LSET', list, at + d - 1, ARGV[i + 2])\n"
                   "      shift, found = shift + d - 1, 1\n"
                   "      break\n"
                   "    end\n"
                   "  end\n"
                   "  answer[#answer + 1] = found\n"
                   "end\n"
                   "answer[1] = shift\n"
                   "return answer\n";

static const char pick[] = ALLOW_OOM CALL
    "local list, target, note, message = KEYS[1], KEYS[2], KEYS[3], ARGV[3]\n"
    "if not call('LPOS', list, message, 'RANK', ARGV[1], 'MAXLEN', ARGV[2]) then return 0 end\n"
    "for i = 5, #ARGV - 1, 2 do call('HSET', note, ARGV[i], ARGV[i + 1]) end\n"
    "local push, pop = 'LPUSH', 'LPOP'\n"
    "if ARGV[4] == 'RIGHT' then push, pop = 'RPUSH', 'RPOP' end\n"
    "call(push, target, message)\n"
    "local removed = redis.pcall('LREM', list, ARGV[1], message)\n"
    "if removed ~= 1 then call(pop, target) end\n"
    "return removed\n";

static const char requeue[] = ALLOW_OOM CALL "local value = call('HGET', KEYS[1], ARGV[1])\n"
                                             "if not value then return 0 end\n"
                                             "if redis.sha1hex(value) ~= ARGV[2] then return -1 end\n"
                                             "call('ZREM', KEYS[2], '')\n"
                                             "call('HDEL', KEYS[1], '')\n"
                                             "call('RPUSH', KEYS[3], ARGV[3])\n"
                                             "call('ZREM', KEYS[2], ARGV[1])\n"
                                             "call('HDEL', KEYS[1], ARGV[1])\n"
                                             "return 1\n";

static const char send[] = CALL "local value = call('GET', KEYS[1])\n"
                                "if not value then return 0 end\n"
                                "if redis.sha1hex(value) ~= ARGV[1] then return -1 end\n"
                                "call('LPUSH', KEYS[2], ARGV[2])\n"
                                "return 1\n";

static const struct {
    const char *name, *text;
} scripts[CELERY_SCRIPTS] = {
    [SCRIPT_HOLD] = {"signalbox-hold", hold},
    [SCRIPT_TAKE] = {"signalbox-take", take},
    [SCRIPT_WALK] = {"signalbox-walk", walk},
    [SCRIPT_RETURN] = {"signalbox-return", go_back},
    [SCRIPT_RETURN_FIRST] = {"signalbox-return-first", go_back_first},
    [SCRIPT_PURGE] = {"signalbox-purge", purge},
    [SCRIPT_EMPTY] = {"signalbox-empty", empty},
    [SCRIPT_REPLACE] = {"signalbox-replace", replace},
    [SCRIPT_PICK] = {"signalbox-pick", pick},
    [SCRIPT_REQUEUE] = {"signalbox-requeue", requeue},
    [SCRIPT_SEND] = {"signalbox-send", send},
};

const char *celery_script_name(enum celery_script script)
{
    return scripts[script].name;
}

/* The first line is known from Redis 7 on. */
const char *celery_script_text(enum celery_script script, const char *version)
{
    const char *text = scripts[script].text;
    bool old = version && strtol(version, NULL, 10) < 7;
    return old && *text == '#' ? text + strlen(ALLOW_OOM) : text;
}

char *celery_digest(const void *bytes, size_t length, char buffer[41])
{
    unsigned char digest[SHA_DIGEST_LENGTH];
    SHA1(bytes, length, digest);
    for (int i = 0; i < SHA_DIGEST_LENGTH; i++)
        snprintf(buffer + (size_t)i * 2, 3, "%02x", digest[i]);
    return buffer;
}
