/* Counts by name, with a bounded number of names, and what they say of a whole that was only sampled. */
#include "backends/queues/tally.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <talloc.h>
#include <uthash.h>

#include "core/units.h"

struct count {
    UT_hash_handle hh;
    int64_t count;
    size_t length;
    char name[];
};

struct tally {
    struct count *counts; /* by name */
    size_t room;
    int64_t nameless, total, others; /* others: of names that were given up */
    size_t given_up;
    int64_t population;
    size_t windows;
};

static int tally_destroy(struct tally *tally)
{
    HASH_CLEAR(hh, tally->counts);
    return 0;
}

struct tally *tally_new(const void *context, size_t room)
{
    struct tally *tally = talloc_zero(context, struct tally);
    if (!tally)
        abort();
    tally->room = room > 0 ? room : 1;
    talloc_set_destructor(tally, tally_destroy);
    return tally;
}

static int rarest_first(struct count *a, struct count *b)
{
    if (a->count != b->count)
        return a->count < b->count ? -1 : 1;
    return strcmp(b->name, a->name);
}

/* Gives up the rarer half of the names, so that the cost of sorting is shared by many. */
static void make_room(struct tally *tally)
{
    size_t left = HASH_COUNT(tally->counts) - tally->room / 2;
    HASH_SORT(tally->counts, rarest_first);
    struct count *each, *next;
    HASH_ITER(hh, tally->counts, each, next)
    {
        if (left-- == 0)
            break;
        HASH_DEL(tally->counts, each);
        tally->others += each->count;
        tally->given_up++;
        talloc_free(each);
    }
}

void tally_add(struct tally *tally, const char *name, size_t length, int64_t count)
{
    tally->total += count;
    if (!name) {
        tally->nameless += count;
        return;
    }
    struct count *found;
    HASH_FIND(hh, tally->counts, name, length, found);
    if (found) {
        found->count += count;
        return;
    }
    if (HASH_COUNT(tally->counts) >= tally->room)
        make_room(tally);
    found = talloc_zero_size(tally, sizeof *found + length + 1);
    if (!found)
        abort();
    found->count = count;
    found->length = length;
    memcpy(found->name, name, length);
    HASH_ADD(hh, tally->counts, name, length, found);
}

/* Half of Wilson's 95 % interval. Neighbours in a queue are alike (one tenant sends many at once), so that a
 * window may tell no more than one of its jobs would: the sample counts as so many jobs as there were
 * windows. */
static double half_width(const struct tally *tally, double share)
{
    double seen = (double)tally->total, all = (double)tally->population;
    if (all <= 0 || seen >= all || seen <= 0)
        return 0;
    double worth = tally->windows > 0 ? (double)tally->windows : seen;
    const double z = 1.96;
    double width = z * sqrt(share * (1 - share) / worth + z * z / (4 * worth * worth)) / (1 + z * z / worth);
    return width * sqrt(1 - seen / all); /* of a finite population */
}

static int most_first(const void *a, const void *b)
{
    const struct tally_line *one = a, *other = b;
    if (one->count != other->count)
        return one->count > other->count ? -1 : 1;
    if (!one->name || !other->name)
        return one->name ? -1 : other->name != NULL;
    return strcmp(one->name, other->name);
}

size_t tally_top(const struct tally *tally, struct tally_line *lines, size_t count, size_t *others)
{
    size_t names = HASH_COUNT(tally->counts), at = 0;
    struct tally_line *all = malloc((names + 1) * sizeof *all);
    if (!all)
        abort();
    for (const struct count *each = tally->counts; each; each = each->hh.next)
        all[at++] = (struct tally_line){.name = each->name, .count = each->count};
    if (tally->nameless > 0)
        all[at++] = (struct tally_line){.count = tally->nameless};
    qsort(all, at, sizeof *all, most_first);
    size_t shown = at < count ? at : count;
    for (size_t i = 0; i < shown; i++) {
        lines[i] = all[i];
        lines[i].share = (double)all[i].count / (double)tally->total;
        lines[i].error = half_width(tally, lines[i].share);
    }
    if (others)
        *others = at - shown + tally->given_up;
    free(all);
    return shown;
}

int64_t tally_total(const struct tally *tally)
{
    return tally->total;
}

size_t tally_names(const struct tally *tally)
{
    return HASH_COUNT(tally->counts) + tally->given_up;
}

void tally_set_sample(struct tally *tally, int64_t population, size_t windows)
{
    tally->population = population;
    tally->windows = windows;
}

static size_t put(char *buffer, size_t size, size_t used, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

static size_t put(char *buffer, size_t size, size_t used, const char *format, ...)
{
    if (used >= size)
        return used;
    va_list arguments;
    va_start(arguments, format);
    used += (size_t)vsnprintf(buffer + used, size - used, format, arguments);
    va_end(arguments);
    return used;
}

char *tally_text(const struct tally *tally, char *buffer, size_t size, size_t names)
{
    struct tally_line lines[16];
    size_t others, used = 0;
    char number[32];
    if (size > 0)
        buffer[0] = '\0';
    if (tally->total == 0)
        return buffer;
    size_t count = tally_top(tally, lines, names < 16 ? names : 16, &others);
    double error = 0;
    int64_t rest = tally->total;
    for (size_t i = 0; i < count; i++) {
        used = put(buffer, size, used, "%s%s %s", i > 0 ? " · " : "",
                   lines[i].name ? lines[i].name : "no tenant",
                   format_percent(number, sizeof number, 100 * lines[i].share));
        rest -= lines[i].count;
        error = lines[i].error > error ? lines[i].error : error;
    }
    if (others > 0)
        used = put(buffer, size, used, " · %zu other%s %s", others, others > 1 ? "s" : "",
                   format_percent(number, sizeof number, 100 * (double)rest / (double)tally->total));
    if (error > 0) {
        used = put(buffer, size, used, "  (sample of %s",
                   format_count(number, sizeof number, (double)tally->total));
        put(buffer, size, used, ", ±%s)", format_percent(number, sizeof number, 100 * error));
    }
    return buffer;
}
