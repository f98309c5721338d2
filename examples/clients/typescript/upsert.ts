// Upserts the items of a JSON file, waits until they are applied, and prints what is there then, a line of JSON each.
//
//     npm ci && npm run build
//     FOLDLINE_URL=http://127.0.0.1:8080 FOLDLINE_KEY=lehnz_sk_… node built/upsert.js items.json
//
// No library: fetch, and the types that openapi-typescript has made of the gateway's OpenAPI document (api.d.ts).
//
// 1. Every upsert has an Idempotency-Key, the same at each attempt: sent again, it is written once.
// 2. It is sent again where there is no answer, or one that says: not now; not before Retry-After, and a little later by chance.
// 3. After the deadline it is given up. What became of it is then not known.

import { randomUUID } from "node:crypto";
import { readFile } from "node:fs/promises";
import { setTimeout as pause } from "node:timers/promises";
import type { components } from "./api.d.ts";

type Schemas = components["schemas"];
type ItemUpsert = Schemas["ItemUpsert"];
type ItemState = Schemas["ItemState"];
type Operation = Schemas["Operation"];

const DEADLINE_MS = 60_000;
const TIMEOUT_MS = 40_000; // longer than the 30 s that a request may ask to wait
const NOT_NOW = new Set([408, 409, 429, 502, 503, 504]);

class Refused extends Error {
  constructor(
    readonly status: number,
    readonly refusal: Schemas["Refusal"],
  ) {
    super(`${refusal.message} (HTTP ${status})`);
  }
}

async function ask<Data>(url: string, init: RequestInit): Promise<Data> {
  const began = Date.now();
  for (let attempt = 0; ; attempt++) {
    let asked = 0;
    let failure: unknown;
    try {
      const answer = await fetch(url, { ...init, signal: AbortSignal.timeout(TIMEOUT_MS) });
      if (answer.ok) return ((await answer.json()) as { data: Data }).data;
      if (!NOT_NOW.has(answer.status)) throw new Refused(answer.status, (await answer.json()) as Schemas["Refusal"]);
      failure = new Error(`HTTP ${answer.status}: ${await answer.text()}`);
      asked = 1000 * Number(answer.headers.get("Retry-After") ?? 0) || 0;
    } catch (error) {
      if (error instanceof Refused) throw error;
      failure = error;
    }
    const wait = asked + Math.random() * Math.min(10_000, 100 * 2 ** attempt);
    if (Date.now() - began + wait > DEADLINE_MS) throw failure;
    await pause(wait);
  }
}

class Foldline {
  constructor(
    private readonly url: string,
    private readonly key: string,
  ) {}

  // One request: at most 10,000 items and 1 MiB.
  upsertItems(items: ItemUpsert[], waitSeconds = 0): Promise<Schemas["Accepted"] | Operation> {
    return ask(`${this.url}/v1/ingest/items/upsert`, {
      method: "POST",
      headers: {
        "X-API-KEY": this.key,
        "Content-Type": "application/json",
        "Idempotency-Key": randomUUID(),
        ...(waitSeconds && { Prefer: `wait=${waitSeconds}` }),
      },
      body: JSON.stringify(items),
    });
  }

  // With an operation the first page waits until it is applied, and so has what was just written.
  async *items(minOperation?: string): AsyncGenerator<ItemState> {
    const query = new URLSearchParams({ limit: "1000", ...(minOperation && { min_operation: minOperation }) });
    for (;;) {
      const headers = { "X-API-KEY": this.key };
      const page = await ask<Schemas["ItemPage"]>(`${this.url}/v1/items?${query}`, { headers });
      yield* page.items;
      if (page.next_cursor === null) return;
      query.set("cursor", page.next_cursor);
    }
  }
}

const { FOLDLINE_URL, FOLDLINE_KEY } = process.env;
const file = process.argv[2];
if (!FOLDLINE_URL || !FOLDLINE_KEY || !file) throw new Error("FOLDLINE_URL, FOLDLINE_KEY and a file are needed");
const foldline = new Foldline(FOLDLINE_URL, FOLDLINE_KEY);
try {
  const upserted = await foldline.upsertItems(JSON.parse(await readFile(file, "utf8")) as ItemUpsert[], 30);
  for (const error of "errors" in upserted ? upserted.errors : []) {
    console.error(`record ${error.index}: ${error.message} (${error.code})`);
  }
  for await (const item of foldline.items(upserted.operation_id)) console.log(JSON.stringify(item));
} catch (error) {
  if (!(error instanceof Refused)) throw error;
  const { refusal } = error;
  const lines = Array.isArray(refusal.error) ? refusal.error.map((one) => `record ${one.index}: ${one.message} (${one.code})`) : [];
  console.error([error.message, ...lines].join("\n"));
  process.exitCode = 1;
}
