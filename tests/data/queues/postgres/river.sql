-- Tables as River 0.20 makes them, as far as the console reads them.
CREATE TYPE river_job_state AS ENUM ('available', 'cancelled', 'completed', 'discarded', 'pending', 'retryable', 'running', 'scheduled');
CREATE TABLE river_job (id bigserial PRIMARY KEY, args jsonb NOT NULL DEFAULT '{}', attempt smallint NOT NULL DEFAULT 0,
    attempted_at timestamptz, attempted_by text[], created_at timestamptz NOT NULL DEFAULT now(), errors jsonb[],
    finalized_at timestamptz, kind text NOT NULL, max_attempts smallint NOT NULL DEFAULT 25, metadata jsonb NOT NULL DEFAULT '{}',
    priority smallint NOT NULL DEFAULT 1, queue text NOT NULL DEFAULT 'default', state river_job_state NOT NULL DEFAULT 'available',
    scheduled_at timestamptz NOT NULL DEFAULT now(), tags varchar(255)[] NOT NULL DEFAULT '{}');
CREATE TABLE river_queue (name text PRIMARY KEY, created_at timestamptz NOT NULL DEFAULT now(), metadata jsonb NOT NULL DEFAULT '{}',
    paused_at timestamptz, updated_at timestamptz NOT NULL DEFAULT now());
INSERT INTO river_job (args, attempt, attempted_at, attempted_by, created_at, errors, finalized_at, kind, priority, queue, state, scheduled_at) VALUES
    ('{"tenant": "al_noor", "year": 9}', 0, NULL, NULL, now() - interval '30 s', NULL, NULL, 'card', 2, 'reports', 'available', now() - interval '30 s'),
    ('{"tenant": "al_noor"}', 0, NULL, NULL, now() - interval '50 s', NULL, NULL, 'card', 2, 'reports', 'available', now() - interval '20 s'),
    ('{"tenant": "st_marys"}', 0, NULL, NULL, now(), NULL, NULL, 'card', 1, 'reports', 'available', now()),
    ('{}', 0, NULL, NULL, now(), NULL, NULL, 'card', 1, 'reports', 'scheduled', now() + interval '1 hour'),
    ('{}', 1, now(), '{c1}', now(), '{"{\"error\": \"x\"}"}', NULL, 'card', 1, 'reports', 'retryable', now() + interval '1 hour'),
    ('{}', 1, now() - interval '9 s', '{c1}', now(), NULL, NULL, 'card', 1, 'reports', 'running', now()),
    ('{}', 3, now(), '{c1}', now(), '{"{\"error\": \"first\", \"trace\": \"\"}","{\"at\": \"t\", \"error\": \"bad year\", \"trace\": \"goroutine 1\\n main.card()\\n\\t/srv/card.go:12 +0x1\"}"}', now(), 'card', 1, 'reports', 'discarded', now()),
    ('{}', 1, now(), '{c1}', now(), NULL, now(), 'mail', 1, 'mail', 'completed', now()),
    ('{}', 1, now() - interval '2 hours', '{c2}', now() - interval '2 hours', NULL, NULL, 'mail', 1, 'mail', 'running', now() - interval '2 hours'),
    ('{}', 0, NULL, NULL, now(), NULL, NULL, 'card', 1, 'reports', 'pending', now());
INSERT INTO river_queue (name, paused_at) VALUES ('mail', now()), ('reports', NULL), ('empty', NULL);
