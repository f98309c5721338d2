#!/bin/sh
# Upserts the items of a JSON file, waits until they are applied, and prints what is there then.
#
#     FOLDLINE_URL=http://127.0.0.1:8080 FOLDLINE_KEY=lehnz_sk_… sh examples/clients/upsert.sh items.json
#
# 1. The Idempotency-Key makes it safe to send the request again, which curl does where it gets no answer, or one that says:
#    not now. It waits as long as Retry-After says.
# 2. A request that is still under way (409) is asked for again by hand: curl takes it for final.
# 3. What is refused is printed, and nothing of it was queued: exit code 1.
set -eu

answer=$(mktemp)
trap 'rm -f "$answer"' EXIT

# Prints the status of the answer, whose body is in $answer.
ask() {
    curl --silent --show-error --retry 10 --retry-all-errors --retry-max-time 120 --max-time 60 \
        --header "X-API-KEY: $FOLDLINE_KEY" --output "$answer" --write-out '%{http_code}' "$@"
}

key=$(cat /proc/sys/kernel/random/uuid)
while :; do
    status=$(ask "$FOLDLINE_URL/v1/ingest/items/upsert" \
        --header "Idempotency-Key: $key" --header 'Content-Type: application/json' --header 'Prefer: wait=30' \
        --data-binary "@$1")
    [ "$status" = 409 ] || break
    sleep 1
done
if [ "$status" != 200 ] && [ "$status" != 202 ]; then
    cat "$answer" >&2
    exit 1
fi

# A read that names the operation waits until it is applied, and so finds what was just written.
operation=$(sed -n 's/.*"operation_id":"\([A-Za-z0-9_-]*\)".*/\1/p' "$answer")
status=$(ask --get "$FOLDLINE_URL/v1/items" --data-urlencode "min_operation=$operation" --data 'limit=1000')
cat "$answer"
[ "$status" = 200 ]
