/* What a host may answer: any bytes as an answer of each tier (the first line names it), taken twice, with a
 * snapshot in between and after. And as what comes over the channel, cut anywhere. */
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <talloc.h>

#include "backends/hosts/collector.h"
#include "backends/hosts/record.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define NOW 1795262500.0

static void look(struct host_record *record, double now)
{
    struct host_standing standing = {.now = now};
    struct host_snapshot *s = host_record_publish(record, &standing);
    if (s->process_count > 40 || s->containers_running > 64 || (s->mount_count && !s->worst_mount))
        abort();
    for (size_t i = 0; i < s->mount_count; i++)
        if (s->mounts[i].used_percent < 0 || s->mounts[i].used_percent > 100 || s->mounts[i].full_in_s < 0)
            abort();
    for (size_t i = 0; i < s->process_count; i++)
        if (s->process[i].pid <= 0 || s->process[i].cpu_percent < 0)
            abort();
    if (s->cpu_percent < 0 || s->cpu_percent > 100.1F || s->memory_percent < 0 || s->memory_percent > 100)
        abort();
    for (size_t i = 0; i < s->problem_count; i++)
        if (!s->problems[i].text[0] || s->problems[i].severity == SEVERITY_NONE)
            abort();
    snapshot_release(s);
}

static void take(struct host_record *record, enum host_tier tier, const char *text, size_t length, double at)
{
    struct error error;
    struct host_answer answer = {.tier = tier,
                                 .mark = "MARK",
                                 .text = text,
                                 .length = length,
                                 .asked = at,
                                 .first = at,
                                 .answered = at};
    host_record_take(record, &answer, &error);
    look(record, at);
}

struct count {
    unsigned answers, readies;
};

static void on_answer(void *data, struct collector_stream *stream, unsigned number, const char *text,
                      size_t length)
{
    (void)stream, (void)number;
    if (!length || text[length - 1] != '\n')
        abort();
    ((struct count *)data)->answers++;
}

static void on_ready(void *data, const char *user)
{
    if (strchr(user, ',') || strchr(user, ' '))
        abort();
    ((struct count *)data)->readies++;
}

static struct count hear(const char *text, size_t length, size_t piece)
{
    struct count count = {0, 0};
    struct collector_stream stream = {.mark = "MARK", .answer = on_answer, .ready = on_ready, .data = &count};
    for (size_t at = 0; at < length; at += piece)
        if (!collector_stream_feed(&stream, text + at, length - at < piece ? length - at : piece))
            break;
    collector_stream_clear(&stream);
    return count;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char letters[] = "fmsd";
    if (size < 2)
        return 0;
    const char *letter = strchr(letters, data[0] ? data[0] : 'f');
    enum host_tier tier = letter ? (enum host_tier)(letter - letters) : HOST_MEDIUM;
    const char *text = memchr(data, '\n', size);
    text = text ? text + 1 : (const char *)data;
    size_t length = size - (size_t)(text - (const char *)data);
    /* Its own block: what is read behind its end is found. */
    char *own = malloc(length + !length);
    if (!own)
        abort();
    memcpy(own, text, length);
    struct host_record *record = host_record_new(NULL, "web1", NULL);
    host_record_set_user(record, "ops");
    take(record, tier, own, length, NOW);
    take(record, tier, own, length / 2, NOW + 20);
    take(record, tier, own, length, NOW + 400);
    char *request = host_record_detail_request(NULL, record);
    talloc_free(request);
    talloc_free(record);
    struct count whole = hear(own, length, length + !length), pieces = hear(own, length, 7);
    if (whole.answers != pieces.answers || whole.readies != pieces.readies)
        abort();
    free(own);
    return 0;
}
