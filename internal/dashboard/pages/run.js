"use strict";
// Adds to a run's page what happens while one looks at it. The page is whole
// without it. Texts are set as text, and never read as HTML.
(() => {
  // A browser may keep a page for its back button. Who has signed out since must
  // not see it.
  addEventListener("pageshow", (e) => { if (e.persisted) location.reload(); });

  const log = document.getElementById("log");
  if (!log || !log.dataset.events) return; // it has ended
  const live = document.getElementById("live");
  const most = 5000; // lines

  const add = (line) => {
    const follows = log.scrollHeight - log.scrollTop - log.clientHeight < 40;
    const row = document.createElement("div");
    row.className = "line " + line.kind;
    const time = document.createElement("time");
    time.textContent = line.at;
    const text = document.createElement("span");
    text.textContent = line.text;
    row.append(time, text);
    log.append(row);
    if (log.childElementCount > most) log.firstElementChild.remove();
    if (follows) log.scrollTop = log.scrollHeight;
  };

  log.scrollTop = log.scrollHeight;
  const source = new EventSource(log.dataset.events);
  source.onopen = () => { live.hidden = false; };
  source.onerror = () => { live.hidden = true; };
  source.onmessage = (e) => {
    const line = JSON.parse(e.data);
    const began = line.kind === "start" && log.dataset.state === "queued";
    if (began || line.kind === "done") {
      source.close();
      location.reload(); // state, times and output are the server's to say
      return;
    }
    add(line);
  };
})();
