// Is never run: what the compiler finds nothing wrong with is the test.

import * as made from "../src/index.js";
import type * as said from "../types/index.js";

// What there is does as is said of it.
export const index: Omit<typeof said, "Keyward"> & { Keyward: new (options?: said.KeywardOptions) => said.Keyward } = made;

export async function used(keyward: said.Keyward, signal: AbortSignal): Promise<unknown[]> {
  const key = await keyward.keys.create({ name: "monitoring", scopes: ["read"] }, { signal });
  const secret: string = key.key;
  const page = await keyward.keys.list({ status: "active", limit: 5 });
  const next: string | null = page.pagination.next_cursor;
  for await (const k of keyward.keys.list()) key.id === k.id;
  for await (const u of keyward.usage.list({ from: new Date(), interval: "day" })) u.percent_used?.toFixed();
  await keyward.keys.change(key.id, { external_id: null, limits: { burst: null } });

  // @ts-expect-error a name that the call does not know
  await keyward.keys.create({ name: "a", allowed_ip: "192.0.2.1" });
  // @ts-expect-error an id of another kind
  await keyward.keys.get("production");
  // @ts-expect-error no such status
  keyward.runs.list({ status: "ended" });
  // @ts-expect-error an answer has no key but when it is made
  (await keyward.keys.get(1)).key;

  for await (const event of keyward.runs.stream("invoices", { parameters: { month: "May" } }, { idempotencyKey: "may", signal })) {
    if (event.event === "done") return [event.data.output, event.data.status === "succeeded"];
    if (event.event === "log") event.data.length;
    // @ts-expect-error a chunk is any JSON
    if (event.event === "chunk") event.data.length;
  }
  return [secret, next];
}
