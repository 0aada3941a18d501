-- Tables as GoodJob 4 makes them, as far as the console reads them. Rails' datetime has no zone: UTC.
SET TimeZone = 'UTC';
CREATE TABLE good_jobs (id uuid PRIMARY KEY DEFAULT gen_random_uuid(), queue_name text, priority integer, serialized_params jsonb,
    scheduled_at timestamp(6), performed_at timestamp(6), finished_at timestamp(6), error text,
    created_at timestamp(6) NOT NULL DEFAULT now(), updated_at timestamp(6) NOT NULL DEFAULT now(), active_job_id uuid,
    concurrency_key text, cron_key text, retried_good_job_id uuid, cron_at timestamp(6), is_discrete boolean,
    executions_count integer, job_class text, error_event smallint, labels text[], locked_by_id uuid, locked_at timestamp(6));
CREATE TABLE good_job_executions (id uuid PRIMARY KEY DEFAULT gen_random_uuid(), created_at timestamp(6) NOT NULL DEFAULT now(),
    active_job_id uuid NOT NULL, job_class text, queue_name text, serialized_params jsonb, scheduled_at timestamp(6),
    finished_at timestamp(6), error text, error_event smallint, error_backtrace text[], process_id uuid, duration interval);
CREATE TABLE good_job_processes (id uuid PRIMARY KEY DEFAULT gen_random_uuid(), created_at timestamp(6) NOT NULL DEFAULT now(),
    updated_at timestamp(6) NOT NULL DEFAULT now(), state jsonb, lock_type smallint);
INSERT INTO good_job_processes (id, state) VALUES ('11111111-1111-4111-8111-111111111111',
    '{"hostname": "web1", "pid": 4711, "proctitle": "good_job worker"}');
INSERT INTO good_jobs (queue_name, priority, serialized_params, scheduled_at, performed_at, finished_at, error, active_job_id,
    executions_count, job_class, locked_by_id, cron_key, cron_at, created_at) VALUES
    ('reports', 0, '{"arguments": [{"tenant": "al_noor", "year": 9}]}', NULL, NULL, NULL, NULL, gen_random_uuid(), 0, 'CardJob', NULL, NULL, NULL, now() - interval '30 s'),
    ('reports', 0, '{"arguments": [{"tenant": "al_noor"}]}', now() - interval '5 s', NULL, NULL, NULL, gen_random_uuid(), 0, 'CardJob', NULL, NULL, NULL, now() - interval '20 s'),
    ('reports', -5, '{"arguments": [{"tenant": "st_marys"}]}', NULL, NULL, NULL, NULL, gen_random_uuid(), 0, 'CardJob', NULL, NULL, NULL, now() - interval '10 s'),
    ('reports', 0, '{"arguments": []}', now() + interval '1 hour', NULL, NULL, NULL, gen_random_uuid(), 0, 'CardJob', NULL, NULL, NULL, now()),
    ('reports', 0, '{"arguments": []}', now() + interval '1 hour', NULL, NULL, 'ArgumentError: bad: year', gen_random_uuid(), 2, 'CardJob', NULL, NULL, NULL, now()),
    ('reports', 0, '{"arguments": []}', NULL, now() - interval '9 s', NULL, NULL, gen_random_uuid(), 1, 'CardJob', '11111111-1111-4111-8111-111111111111', NULL, NULL, now()),
    ('reports', 0, '{"arguments": []}', NULL, now(), now(), 'ArgumentError: bad: year', '22222222-2222-4222-8222-222222222222', 3, 'CardJob', NULL, NULL, NULL, now()),
    ('mail', 0, '{"arguments": []}', NULL, now(), now(), NULL, gen_random_uuid(), 1, 'MailJob', NULL, 'nightly', now() - interval '60 s', now()),
    ('mail', 0, '{"arguments": []}', NULL, now(), NULL, NULL, gen_random_uuid(), 1, 'MailJob', '33333333-3333-4333-8333-333333333333', NULL, NULL, now());
INSERT INTO good_job_executions (active_job_id, error, error_backtrace)
    VALUES ('22222222-2222-4222-8222-222222222222', 'ArgumentError: bad: year', '{app/jobs/card_job.rb:12:in perform,/gems/x.rb:1}');
