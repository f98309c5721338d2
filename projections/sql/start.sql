-- name: progress
-- How far an organisation has come: the hint of a secret key in use, whether any key was ever used, an item and a user of its
-- own, and the import that is live, or else the last one.
SELECT
    (SELECT hint FROM foldline_control.api_keys
        WHERE org_id = %(org_id)s AND role = 'secret' AND revoked_at IS NULL AND coalesce(expires_at > now(), true)
        ORDER BY created_at DESC LIMIT 1),
    EXISTS (SELECT FROM foldline_control.api_keys WHERE org_id = %(org_id)s AND last_used_at IS NOT NULL),
    (SELECT item_id FROM foldline.known_items WHERE org_id = %(org_id)s ORDER BY item_id LIMIT 1),
    (SELECT user_id FROM foldline.known_users WHERE org_id = %(org_id)s ORDER BY user_id LIMIT 1),
    import_id, status
FROM (VALUES (1)) AS one
LEFT JOIN LATERAL (
    SELECT import_id, status FROM foldline_control.imports WHERE org_id = %(org_id)s
    ORDER BY status = 'live' DESC, created_at DESC LIMIT 1
) AS nearest ON true;
