-- The table as django-tasks makes it, as far as the console reads it.
CREATE TABLE django_tasks_database_dbtaskresult (id uuid PRIMARY KEY DEFAULT gen_random_uuid(), status varchar(10) NOT NULL,
    enqueued_at timestamptz NOT NULL DEFAULT now(), started_at timestamptz, finished_at timestamptz, args_kwargs jsonb NOT NULL,
    priority smallint NOT NULL DEFAULT 0, task_path text NOT NULL, queue_name text NOT NULL DEFAULT 'default',
    backend_name text NOT NULL DEFAULT 'default', run_after timestamptz, return_value jsonb, exception_class_path text,
    traceback text, worker_ids jsonb NOT NULL DEFAULT '[]', metadata jsonb);
INSERT INTO django_tasks_database_dbtaskresult (status, enqueued_at, started_at, finished_at, args_kwargs, priority, task_path,
    queue_name, run_after, exception_class_path, traceback, worker_ids) VALUES
    ('READY', now() - interval '30 s', NULL, NULL, '{"args": [], "kwargs": {"tenant": "al_noor", "year": 9}}', 0, 'school.card', 'reports', NULL, '', '', '[]'),
    ('READY', now() - interval '20 s', NULL, NULL, '{"args": [], "kwargs": {"tenant": "al_noor"}}', 0, 'school.card', 'reports', '9999-12-31', '', '', '[]'),
    ('READY', now() - interval '10 s', NULL, NULL, '{"args": [], "kwargs": {"tenant": "st_marys"}}', 5, 'school.card', 'reports', NULL, '', '', '[]'),
    ('READY', now(), NULL, NULL, '{"args": [], "kwargs": {}}', 0, 'school.card', 'reports', now() + interval '1 hour', '', '', '[]'),
    ('RUNNING', now(), now() - interval '9 s', NULL, '{"args": [], "kwargs": {}}', 0, 'school.card', 'reports', NULL, '', '', '["w0", "w1"]'),
    ('FAILED', now(), now(), now(), '{"args": [], "kwargs": {}}', 0, 'school.card', 'reports', NULL, 'builtins.ValueError', E'Traceback (most recent call last):\n  File "/srv/tasks.py", line 12, in card\n    raise\nValueError: bad year\n', '["w1"]'),
    ('SUCCESSFUL', now(), now(), now(), '{"args": [], "kwargs": {}}', 0, 'school.mail', 'mail', NULL, '', '', '["w1"]');
