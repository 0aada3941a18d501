-- Tables as Procrastinate 3 makes them, as far as the console reads them; the time of the rows is the test's.
CREATE TYPE procrastinate_job_status AS ENUM ('todo', 'doing', 'succeeded', 'failed', 'cancelled', 'aborting', 'aborted');
CREATE TYPE procrastinate_job_event_type AS ENUM ('deferred', 'started', 'deferred_for_retry', 'failed', 'succeeded',
    'cancelled', 'abort_requested', 'aborted', 'scheduled');
CREATE TABLE procrastinate_workers (id bigserial PRIMARY KEY, last_heartbeat timestamptz NOT NULL DEFAULT now());
CREATE TABLE procrastinate_jobs (id bigserial PRIMARY KEY, queue_name varchar(128) NOT NULL,
    task_name varchar(128) NOT NULL, priority integer NOT NULL DEFAULT 0, lock text, queueing_lock text,
    args jsonb NOT NULL DEFAULT '{}', status procrastinate_job_status NOT NULL DEFAULT 'todo',
    scheduled_at timestamptz, attempts integer NOT NULL DEFAULT 0, abort_requested boolean NOT NULL DEFAULT false,
    worker_id bigint REFERENCES procrastinate_workers);
CREATE TABLE procrastinate_periodic_defers (id bigserial PRIMARY KEY, task_name varchar(128) NOT NULL,
    defer_timestamp bigint, job_id bigint REFERENCES procrastinate_jobs, periodic_id varchar(128) NOT NULL DEFAULT '');
CREATE TABLE procrastinate_events (id bigserial PRIMARY KEY, job_id bigint NOT NULL REFERENCES procrastinate_jobs,
    type procrastinate_job_event_type, at timestamptz DEFAULT now());
INSERT INTO procrastinate_workers (last_heartbeat) VALUES (now()), (now() - interval '2 min');
INSERT INTO procrastinate_jobs (queue_name, task_name, priority, args, status, scheduled_at, attempts, worker_id) VALUES
    ('reports', 'school.card', 0, '{"tenant": "al_noor", "year": 9}', 'todo', NULL, 0, NULL),
    ('reports', 'school.card', 0, '{"tenant": "al_noor"}', 'todo', NULL, 0, NULL),
    ('reports', 'school.card', 5, '{"tenant": "st_marys"}', 'todo', NULL, 0, NULL),
    ('reports', 'school.card', 0, '{}', 'todo', now() + interval '1 hour', 0, NULL),
    ('reports', 'school.card', 0, '{}', 'todo', now() + interval '1 hour', 2, NULL),
    ('reports', 'school.card', 0, '{}', 'doing', NULL, 0, 1),
    ('reports', 'school.card', 0, '{}', 'failed', NULL, 3, NULL),
    ('mail', 'school.mail', 0, '{}', 'succeeded', NULL, 1, NULL),
    ('mail', 'school.mail', 0, '{}', 'doing', NULL, 1, NULL);
INSERT INTO procrastinate_events (job_id, type, at) SELECT id, 'deferred', now() - interval '30 s' FROM procrastinate_jobs;
INSERT INTO procrastinate_events (job_id, type, at) VALUES (6, 'started', now() - interval '9 s'), (7, 'failed', now()),
    (8, 'succeeded', now());
INSERT INTO procrastinate_periodic_defers (task_name, defer_timestamp, job_id, periodic_id)
    VALUES ('school.nightly', extract(epoch FROM now())::bigint - 60, NULL, '');
