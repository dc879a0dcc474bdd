// A small server that answers as a test wants, for what Keyward does not do.

import { createServer } from "node:http";

/**
 * @param {((request: {method, path, headers, body, n}, response) => void)[] | Function} answers one for each request, the last for all that follow
 */
export async function other(t, answers) {
  const all = Array.isArray(answers) ? answers : [answers];
  const requests = [];
  const server = createServer(async (request, response) => {
    let body = "";
    for await (const piece of request) body += piece;
    const seen = { method: request.method, path: request.url, headers: request.headers, body, at: Date.now(), n: requests.length };
    requests.push(seen);
    all[Math.min(seen.n, all.length - 1)](seen, response);
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  t.after(
    () =>
      new Promise((resolve) => {
        server.close(resolve);
        server.closeAllConnections();
      }),
  );
  return { url: `http://127.0.0.1:${server.address().port}`, requests };
}

export const json =
  (status, body, headers = {}) =>
  (_, response) => {
    response.writeHead(status, { "Content-Type": "application/json", ...headers });
    response.end(JSON.stringify(body));
  };

export const refusal = (status, code, headers, more = {}) => json(status, { error: { code, message: "No.", status, request_id: "r", ...more } }, headers);

/** Breaks the connection off without an answer. */
export const cut = (_, response) => response.destroy();

export const html =
  (status) =>
  (_, response) => {
    response.writeHead(status, { "Content-Type": "text/html; charset=utf-8" });
    response.end("<h1>Welcome</h1>");
  };

/** Sends events, and then what end does: cut, or finish. */
export const events =
  (text, end = (response) => response.end(), headers = {}) =>
  (_, response) => {
    response.writeHead(200, { "Content-Type": "text/event-stream", "X-Run-Id": "run", ...headers });
    response.flushHeaders();
    if (text === "") return end(response);
    response.write(text, () => end(response));
  };
