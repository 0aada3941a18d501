/* Processes: one line each from the script's awk, I/O of those that may be read, CPU since the last sample.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <talloc.h>

#include "backends/hosts/record_internal.h"

#define TICKS_PER_S 100.0 /* USER_HZ: the same on every Linux */
#define HOST_MAX_SAMPLED 8192

struct sampled_process *sampled_find(const struct process_sample *sample, int pid)
{
    size_t low = 0, high = sample ? sample->count : 0;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (sample->items[middle].pid == pid)
            return &sample->items[middle];
        if (sample->items[middle].pid < pid)
            low = middle + 1;
        else
            high = middle;
    }
    return NULL;
}

static int by_pid(const void *a, const void *b)
{
    const struct sampled_process *x = a, *y = b;
    return (x->pid > y->pid) - (x->pid < y->pid);
}

/* "815 811 app R 120 5209 24 13 gunicorn": pid parent user state ticks pages start threads command. */
static bool read_process(struct span line, double page, struct sampled_process *process)
{
    struct span word;
    uint64_t ticks, pages, start;
    *process = (struct sampled_process){
        .read = NAN, .written = NAN, .cpu_percent = NAN, .read_rate = NAN, .write_rate = NAN};
    if (!span_word(&line, &word) || !span_integer(word, 1 << 30, &process->pid) || !span_word(&line, &word) ||
        !span_integer(word, 1 << 30, &process->parent) || !span_word(&line, &process->user) ||
        !span_word(&line, &word) || word.length != 1)
        return false;
    process->state = word.at[0];
    if (!span_next_counter(&line, &ticks) || !span_next_counter(&line, &pages) ||
        !span_next_counter(&line, &start) || !span_word(&line, &word) ||
        !span_integer(word, 1 << 24, &process->threads))
        return false;
    process->ticks = (uint32_t)ticks;
    process->start = (uint32_t)start;
    process->rss_bytes = (double)pages * page;
    process->comm = span_trim(line);
    return process->pid > 0;
}

static void read_arguments(struct process_sample *sample, struct span line)
{
    struct span word;
    int pid;
    span_skip(&line, "a ");
    if (!span_word(&line, &word) || !span_integer(word, 1 << 30, &pid))
        return;
    struct sampled_process *process = sampled_find(sample, pid);
    if (process && !process->arguments.length)
        process->arguments = span_trim(line);
}

struct process_sample *parse_processes(const void *context, struct span body)
{
    struct span line, word;
    struct process_sample *sample = talloc_zero(context, struct process_sample);
    if (!sample)
        abort();
    if (!span_line(&body, &line) || !span_skip(&line, "uptime ") || !span_word(&line, &word) ||
        !span_real(word, false, &sample->uptime) || !span_word(&line, &word) ||
        !span_real(word, false, &sample->page)) {
        talloc_free(sample);
        return NULL;
    }
    struct span again = body;
    while (span_line(&body, &line)) {
        struct sampled_process process, *slot;
        if (!span_starts(line, "a ") && read_process(line, sample->page, &process) &&
            (slot = ARRAY_ADD(sample, sample->items, sample->count, HOST_MAX_SAMPLED)))
            *slot = process;
    }
    if (sample->count)
        qsort(sample->items, sample->count, sizeof *sample->items, by_pid);
    while (span_line(&again, &line))
        if (span_starts(line, "a "))
            read_arguments(sample, line);
    return sample;
}

/* "/proc/815/io:read_bytes: 4096" */
static struct sampled_process *process_of_path(const struct process_sample *sample, struct span *line)
{
    int pid;
    if (!span_skip(line, "/proc/") || !span_integer(span_until(line, '/'), 1 << 30, &pid))
        return NULL;
    return sampled_find(sample, pid);
}

void parse_process_io(struct process_sample *sample, struct span body)
{
    struct span line;
    uint64_t bytes;
    while (span_line(&body, &line)) {
        struct sampled_process *process = process_of_path(sample, &line);
        if (!process)
            continue;
        bool read = span_skip(&line, "io:read_bytes:");
        if (!read && !span_skip(&line, "io:write_bytes:"))
            continue;
        if (!span_next_counter(&line, &bytes))
            continue;
        *(read ? &process->read : &process->written) = (float)bytes;
        /* What is 0 is not printed. */
        if (isnan(read ? process->written : process->read))
            *(read ? &process->written : &process->read) = 0;
    }
}

/* Lines of `ls -l /proc/PID/exe` that end in " (deleted)". */
void parse_deleted(struct process_sample *sample, struct span body)
{
    struct span line;
    while (span_line(&body, &line)) {
        size_t at = span_find(line, " /proc/");
        if (at == line.length || span_find(line, " -> /memfd:") != line.length)
            continue;
        line = (struct span){line.at + at + 1, line.length - at - 1};
        struct sampled_process *process = process_of_path(sample, &line);
        if (process)
            process->deleted = true;
    }
}

/* ---- since the last sample ---- */

static const struct raw_process *counted_before(const struct host_record *record,
                                                const struct sampled_process *process)
{
    size_t low = 0, high = record->process_count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        const struct raw_process *raw = &record->processes[middle];
        if (raw->pid == process->pid) /* the pid may be another process's now */
            return raw->start == process->start ? raw : NULL;
        if (raw->pid < process->pid)
            low = middle + 1;
        else
            high = middle;
    }
    return NULL;
}

static float io_rate(float before, float after, double seconds)
{
    return after >= before ? (float)((after - before) / seconds) : NAN;
}

static void compare_processes(struct host_record *record, struct process_sample *sample)
{
    double seconds = sample->uptime - record->process_uptime;
    if (record->process_uptime <= 0 || seconds < 0.5 || seconds > 900)
        seconds = NAN;
    for (size_t i = 0; i < sample->count; i++) {
        struct sampled_process *process = &sample->items[i];
        double age = sample->uptime - process->start / TICKS_PER_S;
        const struct raw_process *before = isnan(seconds) ? NULL : counted_before(record, process);
        if (before) {
            process->cpu_percent =
                process->ticks >= before->ticks
                    ? (float)((process->ticks - before->ticks) / TICKS_PER_S / seconds * 100)
                    : NAN;
            process->read_rate = io_rate(before->read, process->read, seconds);
            process->write_rate = io_rate(before->written, process->written, seconds);
        } else if (age > 0.5 && age < seconds) {
            /* Younger than the last sample: all of its time is since then. */
            process->cpu_percent = (float)(process->ticks / TICKS_PER_S / seconds * 100);
            process->read_rate = io_rate(0, process->read, seconds);
            process->write_rate = io_rate(0, process->written, seconds);
        }
    }
}

static void remember_processes(struct host_record *record, const struct process_sample *sample)
{
    talloc_free(record->processes);
    record->processes = NULL;
    record->process_count = 0;
    record->process_uptime = sample->uptime;
    /* When there are too many, those that never did much are forgotten. */
    uint32_t least = 0;
    size_t left = sample->count;
    while (left > HOST_MAX_COUNTED) {
        least = least ? least * 2 : 1;
        left = 0;
        for (size_t i = 0; i < sample->count; i++)
            left += sample->items[i].ticks >= least;
        if (!least)
            break;
    }
    record->processes = talloc_array(record, struct raw_process, left + 1);
    if (!record->processes)
        abort();
    for (size_t i = 0; i < sample->count && record->process_count < left; i++) {
        const struct sampled_process *p = &sample->items[i];
        if (p->ticks >= least)
            record->processes[record->process_count++] = (struct raw_process){
                .pid = p->pid, .start = p->start, .ticks = p->ticks, .read = p->read, .written = p->written};
    }
}

/* ---- those that weigh ---- */

static double weight(const struct sampled_process *process, int by)
{
    double io = (isnan(process->read_rate) ? 0 : process->read_rate) +
                (isnan(process->write_rate) ? 0 : process->write_rate);
    double cpu = isnan(process->cpu_percent) ? 0 : process->cpu_percent;
    return by == 0 ? cpu : by == 1 ? process->rss_bytes : by == 2 ? io : process->ticks;
}

/* The heaviest `count` by one measure are marked in `chosen`. */
static void choose(const struct process_sample *sample, int by, size_t count, bool *chosen)
{
    const struct sampled_process *top[HOST_MAX_PROCESSES];
    size_t kept = 0;
    for (size_t i = 0; i < sample->count; i++) {
        const struct sampled_process *process = &sample->items[i];
        double own = weight(process, by);
        if (own <= 0 || (kept == count && own <= weight(top[kept - 1], by)))
            continue;
        size_t at = kept < count ? kept++ : kept - 1;
        for (; at && weight(top[at - 1], by) < own; at--)
            top[at] = top[at - 1];
        top[at] = process;
    }
    for (size_t i = 0; i < kept; i++)
        chosen[top[i] - sample->items] = true;
}

static int weighs_more(const void *a, const void *b)
{
    const struct host_process *x = a, *y = b;
    float p = isnan(x->cpu_percent) ? -1 : x->cpu_percent, q = isnan(y->cpu_percent) ? -1 : y->cpu_percent;
    if (p != q)
        return (p < q) - (p > q);
    if (x->cpu_s != y->cpu_s)
        return (x->cpu_s < y->cpu_s) - (x->cpu_s > y->cpu_s);
    return (x->pid > y->pid) - (x->pid < y->pid);
}

static void keep_process(struct host_process *kept, struct host_part *part,
                         const struct process_sample *sample, const struct sampled_process *process)
{
    *kept = (struct host_process){.pid = process->pid,
                                  .parent = process->parent,
                                  .user = part_text(part, process->user, 32),
                                  .state = part_text(part, (struct span){&process->state, 1}, 1),
                                  .command = part_text(part, process->comm, 64),
                                  .cpu_percent = process->cpu_percent,
                                  .rss_bytes = process->rss_bytes,
                                  .cpu_s = process->ticks / TICKS_PER_S,
                                  .age_s = fmax(0, sample->uptime - process->start / TICKS_PER_S),
                                  .read_bytes_per_s = process->read_rate,
                                  .write_bytes_per_s = process->write_rate};
}

void finish_processes(struct host_record *record, struct host_part *part, struct process_sample *sample)
{
    struct host_snapshot *now = &record->now;
    struct host_process *kept = NULL;
    size_t count = 0;
    record->zombies = record->uninterruptible = 0;
    now->process = NULL;
    now->process_count = 0;
    if (!sample || !sample->count)
        return;
    compare_processes(record, sample);
    remember_processes(record, sample);
    bool *chosen = talloc_zero_array(sample, bool, sample->count);
    if (!chosen)
        abort();
    choose(sample, 0, 16, chosen);
    choose(sample, 1, 12, chosen);
    choose(sample, 2, 8, chosen);
    choose(sample, 3, 4, chosen);
    for (size_t i = 0; i < sample->count; i++) {
        record->zombies += sample->items[i].state == 'Z';
        record->uninterruptible += sample->items[i].state == 'D';
        struct host_process *slot = chosen[i] ? ARRAY_ADD(part, kept, count, HOST_MAX_PROCESSES) : NULL;
        if (slot)
            keep_process(slot, part, sample, &sample->items[i]);
    }
    if (count) {
        qsort(kept, count, sizeof *kept, weighs_more);
        kept = talloc_realloc(part, kept, struct host_process, count);
        if (!kept)
            abort();
    }
    now->process = kept;
    now->process_count = count;
}
