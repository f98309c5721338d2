-- name: claim
-- Who carries a key on, and what was answered.
SELECT outcome, round, status, answer FROM foldline_control.claim_idempotency_key(%s, %s, %s, %s);

-- name: answer
-- Keeps what is answered; false where another request holds the key by now.
SELECT foldline_control.answer_idempotency_key(%s, %s, %s, %s);

-- name: release
-- Nobody carries it on any more.
UPDATE foldline_control.idempotency_keys SET held_until = clock_timestamp() WHERE key_hash = %s AND holder = %s RETURNING 1;
