-- Requests with an Idempotency-Key: who carries one on, and what was answered. Of a key and of a body only a keyed hash is kept.

CREATE TABLE foldline_control.idempotency_keys (
    key_hash bytea PRIMARY KEY,  -- of the organisation and the key
    body_hash bytea NOT NULL,  -- of the kind of records and the body
    round integer NOT NULL DEFAULT 0,  -- how often the key has been used anew; goes into the ids of its events
    began_at timestamptz NOT NULL,  -- of the first request of the round
    holder text NOT NULL,  -- the request that carries it on
    held_until timestamptz NOT NULL,  -- a lease: who died holding it does not hold it for ever
    status integer,  -- of the first answer; NULL until there is one
    answer text,
    CHECK ((status IS NULL) = (answer IS NULL))
) WITH (fillfactor = 50);
CREATE INDEX ON foldline_control.idempotency_keys (began_at);

-- Claims a key for a request. `claimed`: carry it on, in this round. `answered`: give this answer. `in_flight`: another request
-- carries it on. `other_body`: it was used for something else. A key is known for a day; its row is kept for three, so that its
-- round is counted for as long as the ids of its events count (25 h after the last of a day). Of older ones each call removes two,
-- which is more than it can add.
CREATE FUNCTION foldline_control.claim_idempotency_key(
    of_key bytea, of_body bytea, of_request text, seconds double precision
) RETURNS TABLE (outcome text, round integer, status integer, answer text) LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
    moment timestamptz := clock_timestamp();
BEGIN
    DELETE FROM foldline_control.idempotency_keys o WHERE o.key_hash IN (
        SELECT k.key_hash FROM foldline_control.idempotency_keys k WHERE k.began_at < moment - interval '3 days'
        ORDER BY k.began_at LIMIT 2 FOR UPDATE SKIP LOCKED
    );
    RETURN QUERY INSERT INTO foldline_control.idempotency_keys AS k (key_hash, body_hash, began_at, holder, held_until)
    VALUES (of_key, of_body, moment, of_request, moment + seconds * interval '1 second')
    ON CONFLICT (key_hash) DO UPDATE SET
        body_hash = excluded.body_hash,
        round = CASE WHEN k.began_at <= moment - interval '1 day' THEN k.round + 1 ELSE k.round END,
        began_at = CASE WHEN k.began_at <= moment - interval '1 day' THEN moment ELSE k.began_at END,
        holder = excluded.holder, held_until = excluded.held_until, status = NULL, answer = NULL
    WHERE (k.status IS NOT NULL OR k.held_until <= moment OR k.holder = of_request)
        AND (k.began_at <= moment - interval '1 day' OR (k.status IS NULL AND k.body_hash = of_body))
    RETURNING 'claimed', k.round, NULL::integer, NULL::text;
    IF NOT FOUND THEN
        RETURN QUERY SELECT CASE WHEN k.body_hash <> of_body AND k.began_at > moment - interval '1 day' THEN 'other_body'
            WHEN k.status IS NULL THEN 'in_flight' ELSE 'answered' END, k.round, k.status, k.answer
        FROM foldline_control.idempotency_keys k WHERE k.key_hash = of_key;
    END IF;
END
$$;

-- Keeps the answer of the request that holds a key, durably once the caller has committed. False where another one holds it.
CREATE FUNCTION foldline_control.answer_idempotency_key(of_key bytea, of_request text, of_status integer, of_answer text)
RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
    PERFORM set_config('synchronous_commit', 'on', true);
    UPDATE foldline_control.idempotency_keys k SET status = of_status, answer = of_answer
    WHERE k.key_hash = of_key AND k.holder = of_request;
    RETURN FOUND;
END
$$;

-- The idempotency ids that records have folded lately, each with its time.
DO $$
DECLARE
    of_generation integer;
BEGIN
    FOR of_generation IN SELECT generation FROM foldline_control.generations LOOP
        EXECUTE format('ALTER TABLE gen_%s.items ADD COLUMN ids bytea NOT NULL DEFAULT ''''', of_generation);
        EXECUTE format('ALTER TABLE gen_%s.users ADD COLUMN ids bytea NOT NULL DEFAULT ''''', of_generation);
    END LOOP;
END
$$;
