#include "backends/queues/celery_rates.h"

#include <math.h>
#include <string.h>

struct list_move list_move(int64_t length_before, int64_t depth_before, int64_t length_now, int64_t depth_now)
{
    double grown = (double)(length_now - length_before);
    struct list_move move = {0};
    if (depth_before > 0 && depth_now > 0) {
        move.exact = true;
        move.popped = depth_now < depth_before ? (double)(depth_before - depth_now) : 0;
        move.inserted = depth_now > depth_before ? (double)(depth_now - depth_before) : 0;
    } else {
        /* All up to the element is gone; when the list is empty, all that was in it. */
        move.popped = length_now == 0 ? (double)length_before : (double)depth_before;
    }
    move.pushed = fmax(grown + move.popped - move.inserted, 0);
    return move;
}

int64_t list_next_depth(int64_t length, int64_t depth_before, const struct list_move *move)
{
    int64_t depth = RATES_DEPTH_MOST;
    if (move && move->exact)
        depth = (int64_t)(3 * move->popped) + 50;
    else if (move && depth_before > 0)
        depth = depth_before * 4;
    if (depth > RATES_DEPTH_MOST)
        depth = RATES_DEPTH_MOST;
    return depth < length ? depth : length;
}

void rate_skip(struct rate *rate, double seconds, double memory_s)
{
    double kept = exp(-seconds / memory_s);
    rate->sum *= kept;
    rate->weight *= kept;
}

void rate_add(struct rate *rate, double per_second, double seconds, double memory_s)
{
    double fresh = 1 - exp(-seconds / memory_s);
    rate_skip(rate, seconds, memory_s);
    rate->sum += per_second * fresh;
    rate->weight += fresh;
}

double rate_value(const struct rate *rate)
{
    return rate->weight > 0.005 ? rate->sum / rate->weight : NAN;
}

void arrivals_begin(struct arrivals *arrivals, double now)
{
    *arrivals = (struct arrivals){.at = {now}, .count = 1};
}

void arrivals_add(struct arrivals *arrivals, double now, double pushed)
{
    arrivals->pushed += pushed;
    if (arrivals->count == ARRIVALS) { /* every second one but the last goes: the past gets coarser */
        int kept = 1;
        for (int i = 2; i < ARRIVALS; i += 2, kept++) {
            arrivals->at[kept] = arrivals->at[i];
            arrivals->number[kept] = arrivals->number[i];
        }
        arrivals->count = kept;
    }
    arrivals->at[arrivals->count] = now;
    arrivals->number[arrivals->count++] = arrivals->pushed;
}

bool arrivals_head(const struct arrivals *arrivals, int64_t length, double *at)
{
    double number = arrivals->pushed - (double)length + 1;
    *at = arrivals->count ? arrivals->at[0] : 0;
    if (arrivals->count < 2 || number < 1)
        return false;
    for (int i = 1; i < arrivals->count; i++) {
        double before = arrivals->number[i - 1], after = arrivals->number[i];
        if (number > after)
            continue;
        double share = after > before ? (number - before) / (after - before) : 1;
        *at = arrivals->at[i - 1] + share * (arrivals->at[i] - arrivals->at[i - 1]);
        return true;
    }
    *at = arrivals->at[arrivals->count - 1];
    return true;
}

double list_drain(int64_t ready, double in_per_s, double out_per_s)
{
    if (ready <= 0)
        return ready == 0 ? 0 : NAN;
    if (isnan(in_per_s) || isnan(out_per_s))
        return NAN;
    double shrinks = out_per_s - in_per_s;
    /* In balance: what is there is served within seconds, whatever comes after it. */
    if (fabs(shrinks) <= 0.05 * out_per_s && (double)ready <= 10 * out_per_s)
        return (double)ready / out_per_s;
    return shrinks > 0 ? (double)ready / shrinks : INFINITY;
}
