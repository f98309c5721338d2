-- name: create
-- A new import, or the next part of one; where the log of items ended is the first part's.
INSERT INTO foldline_control.imports (import_id, request_id, org_id, kind, series_id, part, file_name, created_by, log_ends)
SELECT %(import_id)s, %(request_id)s, %(org_id)s, %(kind)s, coalesce(first.import_id, %(import_id)s),
    coalesce((SELECT max(part) FROM foldline_control.imports WHERE series_id = first.import_id), 0) + 1,
    %(file_name)s, %(created_by)s, coalesce(first.log_ends, %(log_ends)s)
FROM (SELECT 1) AS one LEFT JOIN foldline_control.imports first ON first.import_id = %(series_id)s;

-- name: job
-- One import of an organisation.
SELECT {columns} FROM foldline_control.imports WHERE import_id = %(import_id)s AND org_id = %(org_id)s;

-- name: lock_job
-- The same, and nobody else changes it meanwhile.
SELECT {columns} FROM foldline_control.imports WHERE import_id = %(import_id)s AND org_id = %(org_id)s FOR UPDATE;

-- name: jobs
-- Imports of an organisation before a moment, newest first, without their reports.
SELECT {listed} FROM foldline_control.imports
WHERE org_id = %(org_id)s AND (%(before)s::timestamptz IS NULL OR created_at < %(before)s)
ORDER BY created_at DESC, import_id LIMIT %(limit)s;

-- name: series
-- The parts of an import, in order.
SELECT {columns} FROM foldline_control.imports WHERE series_id = %(series_id)s AND org_id = %(org_id)s ORDER BY part;

-- name: write_block
-- A piece of a file.
INSERT INTO foldline_control.import_files (import_id, name, block, bytes) VALUES (%(import_id)s, %(name)s, %(block)s, %(bytes)s);

-- name: block
-- A piece of a file, or none after the last.
SELECT bytes FROM foldline_control.import_files WHERE import_id = %(import_id)s AND name = %(name)s AND block = %(block)s;

-- name: delete_files
-- Ends what is kept of some files.
DELETE FROM foldline_control.import_files WHERE import_id = %(import_id)s AND name = ANY(%(names)s::text[]);

-- name: abandon
-- An upload that broke off.
DELETE FROM foldline_control.imports WHERE import_id = %(import_id)s AND status = 'uploading';

-- name: uploaded
-- The whole file is here.
UPDATE foldline_control.imports SET status = 'uploaded', file_bytes = %(file_bytes)s, uploaded_at = now()
WHERE import_id = %(import_id)s AND status = 'uploading' RETURNING import_id;

-- name: checked_elsewhere
-- The whole file is here, and whoever sent it has validated it and wants it to be imported.
UPDATE foldline_control.imports SET status = 'queueing', file_bytes = %(file_bytes)s, rows = %(rows)s, rows_read = %(rows)s,
    warnings = %(warnings)s, report = %(report)s, uploaded_at = now(), validating_at = now(), validated_at = now(), queueing_at = now()
WHERE import_id = %(import_id)s AND status = 'uploading' RETURNING import_id;

-- name: retype
-- Columns have other types now: the file is validated anew.
UPDATE foldline_control.imports SET status = 'uploaded', types = %(types)s, attempts = 0, report = NULL
WHERE import_id = %(import_id)s AND org_id = %(org_id)s AND status IN ('ready', 'rejected') AND has_file RETURNING import_id;

-- name: submit
-- The rows may go into the log.
UPDATE foldline_control.imports SET status = 'queueing', queueing_at = now(), only_good = %(only_good)s, whole = %(whole)s,
    last_part = %(last_part)s
WHERE import_id = %(import_id)s RETURNING import_id;

-- name: cancel
-- Ends an import that waits for somebody, and asks a running one to end.
UPDATE foldline_control.imports SET
    cancelling = status IN ('validating', 'queueing'),
    status = CASE WHEN status IN ('validating', 'queueing') THEN status ELSE 'cancelled' END,
    ended_at = CASE WHEN status IN ('validating', 'queueing') THEN NULL ELSE now() END
WHERE import_id = %(import_id)s AND org_id = %(org_id)s
    AND status IN ('uploading', 'uploaded', 'validating', 'rejected', 'ready', 'queueing')
RETURNING status;

-- name: waiting
-- Imports that somebody has to carry on, oldest first.
SELECT import_id, org_id FROM foldline_control.imports
WHERE status IN ('uploaded', 'validating', 'queueing') ORDER BY created_at, import_id;

-- name: claim
-- Whether this connection may carry an import on: it has it to itself until it lets go or ends.
SELECT pg_try_advisory_lock(hashtextextended(%(import_id)s, 4));

-- name: release
-- Lets go of an import.
SELECT pg_advisory_unlock(hashtextextended(%(import_id)s, 4));

-- name: validating
-- Validation begins, with nothing of an earlier one left.
WITH gone AS (DELETE FROM foldline_control.import_problems WHERE import_id = %(import_id)s),
    gone_rows AS (DELETE FROM foldline_control.import_files WHERE import_id = %(import_id)s AND name = 'failed')
UPDATE foldline_control.imports SET status = 'validating', validating_at = coalesce(validating_at, now()), attempts = attempts + 1,
    bytes_read = 0, rows_read = 0, rows = 0, wrong_rows = 0, errors = 0, warnings = 0, scrubbed_at = NULL
WHERE import_id = %(import_id)s AND status IN ('uploaded', 'validating') RETURNING attempts;

-- name: validated_so_far
-- How far validation is. No row where it is to end.
UPDATE foldline_control.imports
SET bytes_read = %(bytes_read)s, rows_read = %(rows_read)s, rows = %(rows)s, wrong_rows = %(wrong_rows)s,
    errors = %(errors)s, warnings = %(warnings)s
WHERE import_id = %(import_id)s AND status = 'validating' AND NOT cancelling RETURNING import_id;

-- name: validated
-- What validation found.
UPDATE foldline_control.imports
SET status = %(status)s, bytes_read = file_bytes, rows_read = %(rows)s, rows = %(rows)s, wrong_rows = %(wrong_rows)s,
    errors = %(errors)s, warnings = %(warnings)s, report = %(report)s, wrong_ids = %(wrong_ids)s,
    wrong_without_id = %(wrong_without_id)s, validated_at = now()
WHERE import_id = %(import_id)s AND status = 'validating' AND NOT cancelling RETURNING import_id;

-- name: write_problems
-- A block of what validation found.
INSERT INTO foldline_control.import_problems (import_id, severity, code, block, problems)
VALUES (%(import_id)s, %(severity)s, %(code)s, %(block)s, %(problems)s);

-- name: problems
-- A block of what validation found.
SELECT problems FROM foldline_control.import_problems
WHERE import_id = %(import_id)s AND severity = %(severity)s AND code = %(code)s AND block = %(block)s;

-- name: queueing_began
-- Where the log ended before the first row was appended.
UPDATE foldline_control.imports SET run_began = %(run_began)s WHERE import_id = %(import_id)s AND run_began IS NULL;

-- name: in_flight
-- A stretch of rows may be in the log from now on. No row where the import is to end.
UPDATE foldline_control.imports SET in_flight_at = now()
WHERE import_id = %(import_id)s AND status = 'queueing' AND NOT cancelling RETURNING import_id;

-- name: seconds_in_flight
-- How long a stretch has been on its way; NULL where none is.
SELECT extract(epoch FROM now() - in_flight_at)::float8 FROM foldline_control.imports WHERE import_id = %(import_id)s;

-- name: queued_so_far
-- What is in the log for certain.
UPDATE foldline_control.imports SET next_row = %(next_row)s, queued = %(queued)s, deleted = %(deleted)s, topic_id = %(topic_id)s,
    appended = %(appended)s, in_flight_at = NULL
WHERE import_id = %(import_id)s AND status = 'queueing';

-- name: done
-- All of it is in the log.
UPDATE foldline_control.imports SET status = 'done', has_file = false, done_at = now()
WHERE import_id = %(import_id)s AND status = 'queueing';

-- name: live
-- All of it is folded; so many were refused.
UPDATE foldline_control.imports SET status = 'live', refused = %(refused)s, live_at = now()
WHERE import_id = %(import_id)s AND status = 'done' RETURNING org_id;

-- name: not_live
-- Imports that are in the log, and not known to be folded.
SELECT {columns} FROM foldline_control.imports WHERE status = 'done' ORDER BY done_at;

-- name: end
-- It goes no further.
UPDATE foldline_control.imports SET status = %(status)s, failure = %(failure)s, has_file = false, ended_at = now()
WHERE import_id = %(import_id)s AND status NOT IN ('done', 'live', 'failed', 'cancelled');

-- name: make_ids
-- Which ids a file has.
CREATE TEMPORARY TABLE IF NOT EXISTS file_ids (id text COLLATE "C");
TRUNCATE pg_temp.file_ids;

-- name: copy_ids
-- Some of them.
COPY pg_temp.file_ids (id) FROM STDIN;

-- name: count_absent
-- How many items the file and the parts before it lack, of how many; and the first of them.
WITH live AS (
    SELECT item_id, attributes, "offset" < (%(log_ends)s::bigint[])[partition + 1] AS unchanged
    FROM foldline.known_items WHERE org_id = %(org_id)s AND status <> 'deleted'
), absent AS (
    SELECT item_id, attributes FROM live WHERE unchanged AND NOT EXISTS (SELECT 1 FROM pg_temp.file_ids WHERE id = item_id)
)
SELECT (SELECT count(*) FROM absent), (SELECT count(*) FROM live),
    (SELECT coalesce(json_agg(json_build_object('item_id', item_id, 'name', coalesce(attributes->>'name', attributes->>'title'))), '[]')::text
     FROM (SELECT * FROM absent ORDER BY item_id LIMIT 10) AS first);

-- name: add_present
-- What is in an import's files without having changed an item: wrong rows, and what the fold refused.
INSERT INTO pg_temp.file_ids
SELECT unnest(wrong_ids) FROM foldline_control.imports WHERE series_id = %(series_id)s
UNION ALL
SELECT d.entity_id FROM foldline_control.dead_letters d JOIN foldline_control.imports i USING (request_id)
WHERE i.series_id = %(series_id)s AND d.org_id = i.org_id AND d.entity_id IS NOT NULL;

-- name: absent
-- The next items that are not there, and that nobody changed since the import's first part came: what a part has, it has changed.
SELECT item_id FROM foldline.known_items
WHERE org_id = %(org_id)s AND status <> 'deleted' AND item_id > %(after)s
    AND "offset" < (%(log_ends)s::bigint[])[partition + 1]
    AND NOT EXISTS (SELECT 1 FROM pg_temp.file_ids WHERE id = item_id)
ORDER BY item_id LIMIT %(limit)s;

-- name: expired
-- Imports that nobody carried on for too long, and uploads that broke off with their gateway.
SELECT import_id FROM foldline_control.imports
WHERE (status IN ('rejected', 'ready') AND validated_at < now() - %(retention)s * interval '1 second')
    OR (status = 'uploading' AND created_at < now() - interval '1 hour');

-- name: sweep_files
-- Ends what is kept of files: at once where the import is over, and the wrong rows of any after a time.
DELETE FROM foldline_control.import_files f USING foldline_control.imports i
WHERE i.import_id = f.import_id AND (
    (f.name = 'file' AND i.status IN ('done', 'live', 'failed', 'cancelled'))
    OR i.created_at < now() - %(retention)s * interval '1 second' AND i.status IN ('done', 'live', 'failed', 'cancelled'));
