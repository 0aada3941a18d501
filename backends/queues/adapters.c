/* The list of all job systems that are known. Adding one is a line here. */
#include "backends/queues/system.h"

extern const struct queue_adapter celery_adapter;
extern const struct queue_adapter rq_adapter;
extern const struct queue_adapter sidekiq_adapter;
extern const struct queue_adapter bullmq_adapter;
extern const struct queue_adapter streams_adapter;
extern const struct queue_adapter pgboss_adapter;
extern const struct queue_adapter django_celery_adapter;
extern const struct queue_adapter procrastinate_adapter;
extern const struct queue_adapter solid_queue_adapter;
extern const struct queue_adapter good_job_adapter;
extern const struct queue_adapter river_adapter;
extern const struct queue_adapter django_tasks_adapter;
extern const struct queue_adapter rabbitmq_adapter;

const struct queue_adapter *const queue_adapters[] = {
    &celery_adapter,      &rq_adapter,       &sidekiq_adapter,       &bullmq_adapter,
    &streams_adapter,     &pgboss_adapter,   &django_celery_adapter, &procrastinate_adapter,
    &solid_queue_adapter, &good_job_adapter, &river_adapter,         &django_tasks_adapter,
    &rabbitmq_adapter,
};
const size_t queue_adapter_count = sizeof queue_adapters / sizeof *queue_adapters;
