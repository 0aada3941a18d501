/* A ring of blocks, a block being five minutes: a host that was just met takes little memory. Values are kept
 * with eight bits of mantissa (the upper half of a float): within 0.4 %, and 20 kB an hour. */
#include "backends/hosts/history.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <talloc.h>

#define SPACING_S 5.0
/* Less than a beat early is on the beat. */
#define EARLY_S 0.5
/* A longer silence is drawn as a gap. */
#define GAP_S 30.0

enum { BLOCK_SAMPLES = 60, BLOCKS = 13 };

struct block {
    size_t count;
    double start;
    float time[BLOCK_SAMPLES]; /* seconds since the start */
    uint16_t values[BLOCK_SAMPLES][SERIES_COUNT];
};
struct history {
    struct block *blocks[BLOCKS]; /* the oldest first */
    size_t count;
    int merged; /* samples that the last one is the mean of */
};

static uint16_t packed(float value)
{
    uint32_t bits;
    if (isnan(value))
        return 0x7FC0;
    memcpy(&bits, &value, sizeof bits);
    return (uint16_t)((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16);
}

static float unpacked(uint16_t half)
{
    uint32_t bits = (uint32_t)half << 16;
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static double last_time(const struct block *block)
{
    return block->start + (double)block->time[block->count - 1];
}

struct history *history_new(const void *context)
{
    struct history *history = talloc_zero(context, struct history);
    if (!history)
        abort();
    return history;
}

static struct block *room(struct history *history)
{
    struct block *last = history->count ? history->blocks[history->count - 1] : NULL;
    if (last && last->count < BLOCK_SAMPLES)
        return last;
    struct block *fresh;
    if (history->count == BLOCKS) {
        fresh = history->blocks[0];
        memmove(history->blocks, history->blocks + 1, (BLOCKS - 1) * sizeof *history->blocks);
        history->count--;
    } else {
        fresh = talloc(history, struct block);
        if (!fresh)
            abort();
    }
    fresh->count = 0;
    history->blocks[history->count++] = fresh;
    return fresh;
}

static void merge(uint16_t *kept, const float *values, int merged)
{
    for (int s = 0; s < SERIES_COUNT; s++) {
        float mean = unpacked(kept[s]);
        if (isnan(mean))
            kept[s] = packed(values[s]);
        else if (!isnan(values[s]))
            kept[s] = packed(mean + (values[s] - mean) / (float)merged);
    }
}

void history_add(struct history *history, double time, const float *values)
{
    struct block *last = history->count ? history->blocks[history->count - 1] : NULL;
    if (last && time < last_time(last))
        return; /* our clock was set back */
    if (last && time - last_time(last) < SPACING_S - EARLY_S) {
        merge(last->values[last->count - 1], values, ++history->merged);
        return;
    }
    struct block *block = room(history);
    if (!block->count)
        block->start = time;
    block->time[block->count] = (float)(time - block->start);
    for (int s = 0; s < SERIES_COUNT; s++)
        block->values[block->count][s] = packed(values[s]);
    block->count++;
    history->merged = 1;
}

struct reading {
    const enum host_series *series;
    size_t series_count, count;
    double *times;
    float *values;
};

static void put(struct reading *reading, double time, const uint16_t *values)
{
    reading->times[reading->count] = time;
    for (size_t s = 0; s < reading->series_count; s++)
        reading->values[reading->count * reading->series_count + s] =
            values ? unpacked(values[reading->series[s]]) : NAN;
    reading->count++;
}

size_t history_read(const struct history *history, const void *context, const enum host_series *series,
                    size_t series_count, double since, double **times, float **values)
{
    /* Every sample may have a gap before it. */
    size_t most = history->count * BLOCK_SAMPLES * 2 + 1;
    struct reading reading = {.series = series,
                              .series_count = series_count,
                              .times = talloc_array(context, double, most),
                              .values = talloc_array(context, float, most *(series_count + 1))};
    double before = NAN;
    if (!reading.times || !reading.values)
        abort();
    for (size_t b = 0; b < history->count; b++)
        for (size_t i = 0; i < history->blocks[b]->count; i++) {
            double time = history->blocks[b]->start + (double)history->blocks[b]->time[i];
            if (time < since)
                continue;
            if (time - before > GAP_S)
                put(&reading, (time + before) / 2, NULL);
            put(&reading, time, history->blocks[b]->values[i]);
            before = time;
        }
    *times = reading.times;
    *values = reading.values;
    return reading.count;
}
