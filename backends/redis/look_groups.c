/* Keys grouped by how they begin: what fills a Redis, from a sample of its keys. */
#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#define uthash_fatal(message) abort()
#include <uthash.h>

#include "backends/redis/look_internal.h"

enum {
    PREFIX_SIZE = 96,
    PREFIX_PARTS = 4,
    GROUPS_MAX = 2000, /* beyond them all others are one */
    RANDOM_LENGTH = 12 /* letters and digits mixed in a run of at least this length are taken for an id */
};

/* ---- how a key begins ---- */

static bool is_hex(const char *text, size_t length)
{
    for (size_t i = 0; i < length; i++)
        if (!isxdigit((unsigned char)text[i]))
            return false;
    return true;
}

/* Numbers, hashes, tokens: what differs from key to key. */
static bool is_variable(const char *run, size_t length)
{
    size_t digits = 0, upper = 0, lower = 0;
    for (size_t i = 0; i < length; i++) {
        digits += isdigit((unsigned char)run[i]) != 0;
        upper += isupper((unsigned char)run[i]) != 0;
        lower += islower((unsigned char)run[i]) != 0;
    }
    if (digits == length)
        return true;
    if (length >= 8 && digits && is_hex(run, length))
        return true;
    return length >= RANDOM_LENGTH && digits >= 2 && upper + lower >= 2;
}

/* Digits at the end of a word: user4711. Not those of v2 or db0. */
static size_t final_digits(const char *run, size_t length)
{
    size_t digits = 0;
    while (digits < length && isdigit((unsigned char)run[length - 1 - digits]))
        digits++;
    return digits < length && (digits >= 2 || length >= 5) ? digits : 0;
}

/* 8-4-4-4-12 */
static bool is_uuid(const char *text, size_t length)
{
    static const size_t dashes[] = {8, 13, 18, 23};
    if (length < 36)
        return false;
    for (size_t i = 0, dash = 0; i < 36; i++) {
        bool here = dash < 4 && i == dashes[dash];
        if (here ? text[i] != '-' : !isxdigit((unsigned char)text[i]))
            return false;
        dash += here;
    }
    return true;
}

static size_t put(char *buffer, size_t size, size_t at, const char *text, size_t length)
{
    for (size_t i = 0; i < length && at + 1 < size; i++)
        buffer[at++] = text[i];
    return at;
}

/* Two stars side by side are one. */
static size_t put_star(char *buffer, size_t size, size_t at)
{
    return at && buffer[at - 1] == '*' ? at : put(buffer, size, at, "*", 1);
}

char *key_prefix(char *buffer, size_t size, const char *key, size_t length)
{
    size_t at = 0, parts = 1;
    for (size_t i = 0; i < length && at + 1 < size;) {
        if (is_uuid(key + i, length - i)) {
            at = put_star(buffer, size, at);
            i += 36;
            continue;
        }
        size_t run = 0;
        while (i + run < length &&
               (isalnum((unsigned char)key[i + run]) || (unsigned char)key[i + run] >= 128))
            run++;
        if (run) {
            size_t digits = final_digits(key + i, run);
            if (is_variable(key + i, run)) {
                at = put_star(buffer, size, at);
            } else {
                at = put(buffer, size, at, key + i, run - digits);
                at = digits ? put_star(buffer, size, at) : at;
            }
            i += run;
            continue;
        }
        char c = key[i++];
        if (c == ':' && ++parts > PREFIX_PARTS) {
            at = put(buffer, size, at, ":", 1);
            at = put_star(buffer, size, at);
            break;
        }
        at = put(buffer, size, at, (unsigned char)c < ' ' || c == 127 ? "?" : &c, 1);
    }
    buffer[at] = '\0';
    return buffer;
}

/* What stands before the first colon, as it is; "" when there is none. */
static void first_part(char *buffer, size_t size, const char *key, size_t length)
{
    const char *colon = memchr(key, ':', length);
    size_t at = 0;
    for (size_t i = 0; colon && i < (size_t)(colon - key) && at + 1 < size; i++)
        buffer[at++] = (unsigned char)key[i] < ' ' || key[i] == 127 ? '?' : key[i];
    buffer[at] = '\0';
}

enum redis_use key_use(const char *prefix, const char *type)
{
    static const struct {
        const char *part;
        enum redis_use use;
    } parts[] = {
        {"celery-task-meta", USE_RESULT},
        {"celery-taskset-meta", USE_RESULT},
        {"rq:results:", USE_RESULT},
        {"session", USE_SESSION},
        {"sess:", USE_SESSION},
        {"lock", USE_LOCK},
        {"mutex", USE_LOCK},
        {"_kombu", USE_QUEUE},
        {"unacked", USE_QUEUE},
        {"rq:", USE_QUEUE},
        {"queue:", USE_QUEUE},
        {"bull:", USE_QUEUE},
        {"celery", USE_QUEUE},
        {":1:", USE_CACHE},
        {"cache", USE_CACHE},
        {"views.decorators", USE_CACHE},
    };
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
        if (strcasestr(prefix, parts[i].part))
            return parts[i].use;
    return type && (strcmp(type, "list") == 0 || strcmp(type, "stream") == 0) ? USE_QUEUE : USE_OTHER;
}

const char *redis_use_name(enum redis_use use)
{
    static const char *const names[] = {"", "sessions", "results", "queue", "locks", "cache"};
    return names[use];
}

/* ---- groups ---- */

enum { TYPES = 7 };
static const char *const type_names[TYPES] = {"string", "list", "set", "zset", "hash", "stream", "other"};

struct group {
    char name[PREFIX_SIZE + 16]; /* "DATABASE prefix" */
    int database;
    int64_t sampled, weighed, forever, expiring;
    double bytes, largest, expires_sum;
    int64_t types[TYPES];
    UT_hash_handle hh;
};

struct key_groups {
    struct group *prefixes, *firsts;
};

static int groups_free(struct key_groups *groups)
{
    HASH_CLEAR(hh, groups->prefixes);
    HASH_CLEAR(hh, groups->firsts);
    return 0;
}

struct key_groups *key_groups_new(const void *context)
{
    struct key_groups *groups = look_must(talloc_zero(context, struct key_groups));
    talloc_set_destructor(groups, groups_free);
    return groups;
}

static int type_index(const char *type)
{
    int i = 0;
    while (i < TYPES - 1 && (!type || strcmp(type, type_names[i]) != 0))
        i++;
    return i;
}

static void add_to(struct key_groups *groups, struct group **table, int database, const char *prefix,
                   const struct key_seen *seen)
{
    char name[PREFIX_SIZE + 16];
    struct group *group;
    snprintf(name, sizeof name, "%d %s", database, prefix);
    HASH_FIND_STR(*table, name, group);
    if (!group && HASH_COUNT(*table) >= GROUPS_MAX) {
        snprintf(name, sizeof name, "%d (others)", database);
        HASH_FIND_STR(*table, name, group);
    }
    if (!group) {
        group = look_must(talloc_zero(groups, struct group));
        snprintf(group->name, sizeof group->name, "%s", name);
        group->database = database;
        HASH_ADD_STR(*table, name, group);
    }
    group->sampled++;
    group->types[type_index(seen->type)]++;
    if (seen->bytes >= 0) {
        group->weighed++;
        group->bytes += (double)seen->bytes;
        group->largest = fmax(group->largest, (double)seen->bytes);
    }
    if (isinf(seen->expires_s)) {
        group->forever++;
    } else if (!isnan(seen->expires_s)) {
        group->expiring++;
        group->expires_sum += seen->expires_s;
    }
}

void key_groups_add(struct key_groups *groups, int database, const struct key_seen *seen)
{
    char prefix[PREFIX_SIZE];
    key_prefix(prefix, sizeof prefix, seen->key, seen->length);
    add_to(groups, &groups->prefixes, database, prefix, seen);
    first_part(prefix, sizeof prefix, seen->key, seen->length);
    add_to(groups, &groups->firsts, database, *prefix ? prefix : "(none)", seen);
}

static const char *types_text(const void *context, const struct group *group)
{
    char *text = look_must(talloc_strdup(context, ""));
    for (int i = 0; i < TYPES; i++)
        if (group->types[i])
            text = look_must(talloc_asprintf_append(text, "%s%s", *text ? ", " : "", type_names[i]));
    return text;
}

/* Sessions and results without an end pile up for ever. */
static void judge(struct redis_prefix *p)
{
    bool should = p->use == USE_SESSION || p->use == USE_RESULT || p->use == USE_LOCK;
    if (should && p->without_expiry >= 1 && p->without_expiry >= 0.01 * p->keys) {
        p->severity =
            p->without_expiry >= 0.5 * p->keys && p->keys >= 100 ? SEVERITY_CRITICAL : SEVERITY_WARNING;
        p->why = p->use == USE_RESULT    ? "results that never expire: set result_expires, or a TTL"
                 : p->use == USE_SESSION ? "sessions that never expire: set a TTL"
                                         : "locks that never expire: a holder that dies keeps them";
    } else if (p->share >= 0.5 && p->use == USE_RESULT) {
        p->severity = SEVERITY_WARNING;
        p->why = "results take most of the memory: keep them for a shorter time, or ignore them";
    }
}

static int by_bytes(const void *a, const void *b)
{
    const struct redis_prefix *x = a, *y = b;
    if (x->bytes != y->bytes)
        return x->bytes > y->bytes ? -1 : 1;
    if (x->keys != y->keys)
        return x->keys > y->keys ? -1 : 1;
    return strcmp(x->prefix, y->prefix);
}

static struct redis_prefix *read_groups(struct redis_keyspace *keyspace, struct group *table,
                                        const double *factors, int databases, size_t *count)
{
    double all = 0;
    size_t at = 0;
    *count = HASH_COUNT(table);
    struct redis_prefix *prefixes = look_must(talloc_zero_array(keyspace, struct redis_prefix, *count + 1));
    struct group *group, *next;
    HASH_ITER(hh, table, group, next)
    {
        double factor = group->database < databases ? factors[group->database] : 1;
        struct redis_prefix *p = &prefixes[at++];
        p->prefix = look_must(talloc_strdup(prefixes, strchr(group->name, ' ') + 1));
        p->database = group->database;
        p->types = types_text(prefixes, group);
        p->keys = factor * (double)group->sampled;
        p->bytes =
            group->weighed ? factor * group->bytes / (double)group->weighed * (double)group->sampled : NAN;
        p->largest_bytes = group->weighed ? group->largest : NAN;
        p->without_expiry = factor * (double)group->forever;
        p->expires_s = group->expiring ? group->expires_sum / (double)group->expiring : NAN;
        p->sampled = group->sampled;
        p->use = key_use(p->prefix, p->types);
        if (!isnan(p->bytes))
            all += p->bytes;
    }
    for (size_t i = 0; i < *count; i++) {
        prefixes[i].share = all > 0 ? prefixes[i].bytes / all : NAN;
        judge(&prefixes[i]);
    }
    qsort(prefixes, *count, sizeof *prefixes, by_bytes);
    return prefixes;
}

void key_groups_read(const struct key_groups *groups, struct redis_keyspace *keyspace, const double *factors,
                     int databases)
{
    keyspace->prefixes = read_groups(keyspace, groups->prefixes, factors, databases, &keyspace->prefix_count);
    keyspace->firsts = read_groups(keyspace, groups->firsts, factors, databases, &keyspace->first_count);
    for (size_t i = 0; i < keyspace->first_count; i++) {
        keyspace->firsts[i].severity = SEVERITY_NONE;
        keyspace->firsts[i].why = NULL;
        keyspace->firsts[i].use = USE_OTHER;
    }
}
