-- Tables as Solid Queue 1 makes them, as far as the console reads them. Rails' datetime has no zone: UTC.
SET TimeZone = 'UTC';
CREATE TABLE solid_queue_jobs (id bigserial PRIMARY KEY, queue_name varchar NOT NULL, class_name varchar NOT NULL,
    arguments text, priority integer NOT NULL DEFAULT 0, active_job_id varchar, scheduled_at timestamp(6),
    finished_at timestamp(6), concurrency_key varchar, created_at timestamp(6) NOT NULL DEFAULT now(),
    updated_at timestamp(6) NOT NULL DEFAULT now());
CREATE TABLE solid_queue_ready_executions (id bigserial PRIMARY KEY, job_id bigint NOT NULL REFERENCES solid_queue_jobs,
    queue_name varchar NOT NULL, priority integer NOT NULL DEFAULT 0, created_at timestamp(6) NOT NULL DEFAULT now());
CREATE TABLE solid_queue_scheduled_executions (id bigserial PRIMARY KEY, job_id bigint NOT NULL, queue_name varchar NOT NULL,
    priority integer NOT NULL DEFAULT 0, scheduled_at timestamp(6) NOT NULL, created_at timestamp(6) NOT NULL DEFAULT now());
CREATE TABLE solid_queue_claimed_executions (id bigserial PRIMARY KEY, job_id bigint NOT NULL, process_id bigint,
    created_at timestamp(6) NOT NULL DEFAULT now());
CREATE TABLE solid_queue_blocked_executions (id bigserial PRIMARY KEY, job_id bigint NOT NULL, queue_name varchar NOT NULL,
    priority integer NOT NULL DEFAULT 0, concurrency_key varchar NOT NULL, expires_at timestamp(6) NOT NULL,
    created_at timestamp(6) NOT NULL DEFAULT now());
CREATE TABLE solid_queue_failed_executions (id bigserial PRIMARY KEY, job_id bigint NOT NULL, error text,
    created_at timestamp(6) NOT NULL DEFAULT now());
CREATE TABLE solid_queue_pauses (id bigserial PRIMARY KEY, queue_name varchar NOT NULL,
    created_at timestamp(6) NOT NULL DEFAULT now());
CREATE TABLE solid_queue_processes (id bigserial PRIMARY KEY, kind varchar NOT NULL, last_heartbeat_at timestamp(6) NOT NULL,
    supervisor_id bigint, pid integer NOT NULL, hostname varchar, metadata text, created_at timestamp(6) NOT NULL DEFAULT now(),
    name varchar NOT NULL);
CREATE TABLE solid_queue_recurring_tasks (id bigserial PRIMARY KEY, key varchar NOT NULL, schedule varchar NOT NULL,
    command varchar(2048), class_name varchar, arguments text, queue_name varchar, priority integer DEFAULT 0,
    static boolean NOT NULL DEFAULT true, description text);
CREATE TABLE solid_queue_recurring_executions (id bigserial PRIMARY KEY, job_id bigint NOT NULL, task_key varchar NOT NULL,
    run_at timestamp(6) NOT NULL, created_at timestamp(6) NOT NULL DEFAULT now());
INSERT INTO solid_queue_jobs (queue_name, class_name, arguments, priority, active_job_id, finished_at) VALUES
    ('reports', 'CardJob', '{"job_class":"CardJob","arguments":[{"tenant":"al_noor","year":9}],"executions":0}', 0, 'a1', NULL),
    ('reports', 'CardJob', '{"job_class":"CardJob","arguments":[{"tenant":"al_noor"}],"executions":0}', 0, 'a2', NULL),
    ('reports', 'CardJob', '{"job_class":"CardJob","arguments":["x"],"tenant":"st_marys","executions":0}', -5, 'a3', NULL),
    ('reports', 'CardJob', '{"job_class":"CardJob","arguments":[],"executions":0}', 0, 'a4', NULL),
    ('reports', 'CardJob', 'not JSON', 0, 'a5', NULL),
    ('reports', 'CardJob', '{"job_class":"CardJob","arguments":["\u0000"],"executions":2}', 0, 'a6', NULL),
    ('mail', 'MailJob', NULL, 0, 'a7', now()),
    ('reports', 'CardJob', '{"arguments":[]}', 0, 'a8', NULL),
    ('mail', 'MailJob', '{"arguments":[]}', 0, 'a9', NULL);
INSERT INTO solid_queue_ready_executions (job_id, queue_name, priority, created_at)
    SELECT id, queue_name, priority, now() - interval '30 s' FROM solid_queue_jobs WHERE id <= 3;
INSERT INTO solid_queue_scheduled_executions (job_id, queue_name, scheduled_at) VALUES (4, 'reports', now() + interval '1 hour');
INSERT INTO solid_queue_claimed_executions (job_id, process_id) VALUES (5, 1), (9, 99);
INSERT INTO solid_queue_failed_executions (job_id, error) VALUES
    (6, '{"exception_class":"ArgumentError","message":"bad year, \"9\"","backtrace":["app/jobs/card_job.rb:12:in `perform''","/gems/x.rb:1"]}');
INSERT INTO solid_queue_blocked_executions (job_id, queue_name, concurrency_key, expires_at) VALUES (8, 'reports', 'k', now());
INSERT INTO solid_queue_pauses (queue_name) VALUES ('mail');
INSERT INTO solid_queue_processes (kind, last_heartbeat_at, pid, hostname, metadata, name) VALUES
    ('Worker', now(), 4711, 'web1', '{"polling_interval":0.1,"queues":"*","thread_pool_size":3}', 'worker-abc'),
    ('Scheduler', now() - interval '10 s', 4712, 'web1', '{"recurring_schedule":["nightly"]}', 'scheduler-abc'),
    ('Worker', now() - interval '10 min', 4713, 'web2', NULL, 'worker-gone');
INSERT INTO solid_queue_recurring_tasks (key, schedule, class_name, queue_name) VALUES
    ('nightly', '0 2 * * * Asia/Riyadh', 'BackupJob', 'maintenance'), ('often', 'every 5 minutes', 'TickJob', NULL);
INSERT INTO solid_queue_recurring_executions (job_id, task_key, run_at) VALUES (1, 'nightly', now() - interval '30 hours');
