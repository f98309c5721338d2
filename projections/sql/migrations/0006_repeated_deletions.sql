-- Begins the deletion of users by a request: their keys are retired, and each of the request's delete events is noted to end
-- them, and keys of the request's own, with which it seals what comes before a deletion. Returns the users that another
-- request is deleting now; where there are any, nothing has begun. A request may begin twice: where a connection ends before
-- the answer has come, it asks again, and the first time may have been committed.
CREATE OR REPLACE FUNCTION foldline_control.begin_deletions(
    of_org text, of_request text, seconds double precision, users text[], events text[],
    own_users text[], own_keys bytea[], own_wrapped bytea[], own_events text[]
) RETURNS TABLE (user_id text) LANGUAGE plpgsql AS $$
#variable_conflict use_column
BEGIN
    PERFORM set_config('synchronous_commit', 'on', true);
    PERFORM foldline_control.check_wrapped(own_wrapped);
    PERFORM pg_advisory_xact_lock(b) FROM unnest(foldline_control.deletion_locks(of_org, users)) b;
    INSERT INTO foldline_control.deletions AS d (org_id, user_id, request_id, until)
    SELECT of_org, x.user_id, of_request, clock_timestamp() + seconds * interval '1 second'
    FROM (SELECT DISTINCT unnest(users) AS user_id ORDER BY 1) x
    ON CONFLICT (org_id, user_id) DO UPDATE SET request_id = excluded.request_id, until = excluded.until
    WHERE d.until <= clock_timestamp() OR d.request_id = excluded.request_id;
    RETURN QUERY SELECT d.user_id FROM foldline_control.deletions d
    WHERE d.org_id = of_org AND d.user_id = ANY (users) AND d.request_id <> of_request;
    IF FOUND THEN
        DELETE FROM foldline_control.deletions d
        WHERE d.org_id = of_org AND d.user_id = ANY (users) AND d.request_id = of_request;
        RETURN;
    END IF;
    INSERT INTO foldline_control.user_keys (key_id, org_id, user_id, wrapped, retired_at)
    SELECT x.key_id, of_org, x.user_id, x.wrapped, clock_timestamp()
    FROM unnest(own_users, own_keys, own_wrapped) AS x (user_id, key_id, wrapped)
    ON CONFLICT DO NOTHING;
    PERFORM FROM foldline_control.user_keys k
    WHERE k.org_id = of_org AND k.user_id = ANY (users) AND k.retired_at IS NULL ORDER BY k.user_id FOR UPDATE;
    UPDATE foldline_control.user_keys k SET retired_at = clock_timestamp()
    WHERE k.org_id = of_org AND k.user_id = ANY (users) AND k.retired_at IS NULL;
    INSERT INTO foldline_control.key_ends (event_id, key_id)
    SELECT x.event_id, k.key_id FROM unnest(users, events) AS x (user_id, event_id)
    JOIN foldline_control.user_keys k ON k.org_id = of_org AND k.user_id = x.user_id
    WHERE k.destroyed_at IS NULL AND k.key_id <> ALL (own_keys)
    UNION ALL SELECT x.event_id, x.key_id FROM unnest(own_events, own_keys) AS x (event_id, key_id)
    ON CONFLICT DO NOTHING;
END
$$;
