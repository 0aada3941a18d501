/* Counting jobs by tenant, task, or anything: shares with an error bar when only a sample was read. */
#ifndef BACKENDS_QUEUES_TALLY_H
#define BACKENDS_QUEUES_TALLY_H

#include <stddef.h>
#include <stdint.h>

struct tally;

/* A talloc chunk under context. At most `room` names are kept apart (the rarest are then counted as
 * "others"). */
struct tally *tally_new(const void *context, size_t room);
/* `name` NULL: none ("no tenant"). Copied when new. */
void tally_add(struct tally *tally, const char *name, size_t length, int64_t count);

struct tally_line {
    const char *name; /* NULL: without a name */
    int64_t count;
    double share; /* 0 to 1, of what was counted */
    /* Half the width of the 95 % interval of the share (Wilson), as if windows of `cluster` neighbours were
     * drawn from a population of `total`; 0: all was read. */
    double error;
};
/* The `count` most frequent, most first; returns how many there are. *others: names beyond them (may be
 * NULL). */
size_t tally_top(const struct tally *tally, struct tally_line *lines, size_t count, size_t *others);
int64_t tally_total(const struct tally *tally);
size_t tally_names(const struct tally *tally);
/* What was counted is a sample of so many; 0: everything. `windows`: how many independent windows were read.
 */
void tally_set_sample(struct tally *tally, int64_t population, size_t windows);
/* "al_noor 93 % · st_marys 4 % · 118 others 3 %  (sample of 1,500, ±2 %)". Returns buffer. */
char *tally_text(const struct tally *tally, char *buffer, size_t size, size_t names);

#endif
