"use strict";
// Sends files, follows how they fare, and moves through a video. All words come from the page; names are only ever set as text.
const main = document.querySelector("main"), rows = document.querySelector("#rows"), job = main.dataset.job;
const rowOf = id => document.getElementById("job-" + id);
const announce = text => { document.querySelector("#news").textContent = text; };
const pause = seconds => new Promise(done => setTimeout(done, 1000 * seconds));
const RETRY_S = 5, MOST_TRIES = 5, BEAT_S = 20;

// Null where there is no such job any more; an error where that can't be known now.
async function freshRow(id) {
  const answer = await fetch(`/jobs/${id}/row`);
  if (answer.status === 404) return null;
  if (!answer.ok) throw new Error(answer.statusText);
  const holder = document.createElement("template");
  holder.innerHTML = await answer.text();
  return holder.content.firstElementChild;
}

function count() {
  const none = document.querySelector("#none");
  if (none) none.hidden = rows.children.length > 0;
}

// Who was in a row goes on in what takes its place, or in the next one.
function replace(row, fresh, held = row.contains(document.activeElement)) {
  row.replaceWith(fresh);
  if (held) fresh.querySelector("a, button").focus();
}

function remove(row) {
  const held = row.contains(document.activeElement), next = row.nextElementSibling || row.previousElementSibling;
  row.remove();
  count();
  if (held) (next?.querySelector("button") || main).focus();
}

// What the server says why is in English.
function say(element, words, why) {
  element.textContent = words;
  if (!why) return;
  const reason = document.createElement("span");
  reason.lang = "en";
  reason.textContent = `(${why})`;
  element.append(" ", reason);
}

// Sending, one file after another.

const form = document.querySelector("form.sending"), queue = [];
let sending = false;

function enqueue(files) {
  for (const file of files) {
    const row = form.querySelector("template").content.firstElementChild.cloneNode(true);
    row.querySelector("bdi").textContent = file.name;
    row.querySelector(".unseen").textContent = `: ${file.name}`;
    rows.append(row);
    const item = { file, row, stopped: false, request: null, tries: 0 };
    row.querySelector("button").addEventListener("click", () => {
      item.stopped = true;
      if (item.request) item.request.abort();
      remove(row);
      announce(`${file.name}: ${form.dataset.cancelled}`);
    });
    if (file.size > Number(form.dataset.mostBytes)) fail(item, form.dataset.tooLarge);
    else queue.push(item);
  }
  count();
  if (!sending) sendAll();
}

function fail(item, words, why) {
  say(item.row.querySelector(".state"), words, why);
  item.row.querySelector("progress").remove();
  announce(`${item.file.name}: ${words}`);
}

async function sendAll() {
  sending = true;
  try {
    for (let item; (item = queue.shift());) {
      if (item.stopped) continue;
      let answer = await send(item);
      // The connection broke: of a large file that is refused while it is still being sent no answer may be left.
      if (answer.status === 0 && !item.stopped) answer = await refusal() || answer;
      if (item.stopped) continue;
      if (answer.status === 429) {
        item.tries = 0;
        item.row.querySelector(".state").textContent = form.dataset.full;
        await pause(answer.retryAfter || 1);
        queue.unshift(item);
      } else if (answer.status === 202) {
        await settle(item, answer.body.id);
      } else if ((answer.status === 0 || answer.status === 503) && item.tries < MOST_TRIES) {
        item.row.querySelector(".state").textContent = form.dataset.again;
        await pause(2 ** item.tries++);
        queue.unshift(item);
      } else {
        fail(item, form.dataset.failed, answer.body?.error?.message);
      }
    }
  } finally {
    sending = false;
    if (events) catchUp();
  }
}

// Whether no more files are taken now, which a form without one is told, too.
async function refusal() {
  const answer = await fetch(form.getAttribute("action"), { method: "POST" }).catch(() => null);
  return answer?.status === 429 ? { status: 429, retryAfter: Number(answer.headers.get("Retry-After")) } : null;
}

// What still waits to be sent lies in this page alone, so it is not left by the way: links open beside it.
addEventListener("beforeunload", event => { if (sending) event.preventDefault(); });
document.addEventListener("click", event => {
  const link = event.target.closest("a[href]:not([target], [download], [href^='#'])");
  if (!link || !sending) return;
  event.preventDefault();
  window.open(link.href, "_blank", "noopener");
});

// Puts the row of what was taken in place of the one that showed how it was sent, as soon as it can be had.
async function settle(item, id) {
  const held = item.row.contains(document.activeElement);
  item.row.querySelector("button").disabled = true;
  for (;;) {
    try {
      const row = rowOf(id) || await freshRow(id);
      if (row) replace(item.row, row, held); else remove(item.row);
      break;
    } catch {
      await pause(RETRY_S);
    }
  }
  count();
  follow();
}

function send(item) {
  return new Promise(done => {
    const request = item.request = new XMLHttpRequest(), data = new FormData();
    data.append("file", item.file);
    data.append("language", document.documentElement.lang);
    request.open("POST", form.getAttribute("action"));
    request.responseType = "json";
    request.upload.addEventListener("progress", event => {
      const share = event.total ? event.loaded / event.total : 0;
      item.row.querySelector("progress").value = share;
      item.row.querySelector(".state").textContent = form.dataset.sending.replace("PERCENT", Math.floor(100 * share));
    });
    request.addEventListener("loadend", () => done({
      status: request.status, body: request.response, retryAfter: Number(request.getResponseHeader("Retry-After")),
    }));
    request.send(data);
  });
}

if (form) {
  const input = form.querySelector("input");
  input.addEventListener("change", () => { enqueue(input.files); input.value = ""; });
  for (const kind of ["dragover", "dragleave", "drop"]) {
    document.addEventListener(kind, event => {
      event.preventDefault();
      form.classList.toggle("over", kind === "dragover");
      if (kind === "drop") enqueue(input.multiple ? event.dataTransfer.files : [...event.dataTransfer.files].slice(0, 1));
    });
  }
}

// Following.

// True where every row could be brought up to date.
async function update(known) {
  const ids = new Set(known.map(one => one.id)), news = [];
  let whole = true;
  // Undefined where nobody answers now.
  const look = id => freshRow(id).catch(() => { whole = false; });
  for (const one of known) {
    const row = rowOf(one.id);
    if (!row) {
      // Sent from another window; while this one sends, it may be what this one has just sent.
      const fresh = job || sending || one.compares ? null : await look(one.id);
      if (fresh && !sending && !rowOf(one.id)) rows.append(fresh);
    } else if (row.dataset.status !== one.status) {
      if (one.id === job) { location.reload(); return true; }
      const fresh = await look(one.id);
      if (!fresh) continue;
      replace(row, fresh);
      news.push(`${fresh.querySelector("bdi").textContent}: ${one.said}`);
    } else if (row.querySelector("progress")) {
      row.querySelector("progress").value = one.progress;
      row.querySelector(".state").textContent = one.said;
    }
  }
  // What the list lacks may have been deleted, or have been sent after it was made.
  if (job && !ids.has(job) && await look(job) === null) { location.assign("/"); return true; }
  for (const row of rows?.querySelectorAll("[data-id]") ?? []) {
    if (!ids.has(row.dataset.id) && await look(row.dataset.id) === null) remove(row);
  }
  if (rows) count();
  if (news.length) announce(news.join(". "));
  return whole;
}

const over = "over" in main.dataset, gone = document.querySelector("#gone");
// By which the server knows this page.
const page = Array.from(crypto.getRandomValues(new Uint8Array(16)), part => part.toString(16).padStart(2, "0")).join("");
let events = null, latest = [], turn = Promise.resolve();

function catchUp() {
  turn = turn.then(() => update(latest)).catch(() => false).then(whole => {
    follow();
    if (!whole) setTimeout(catchUp, 1000 * RETRY_S);
  });
}

// A page of what is over needs news only while comparisons are made: each stream is a connection, and browsers hold few.
function follow() {
  if (over && !rows?.querySelector("progress")) {
    if (events) events.close();
    events = null;
  } else if (!events) {
    listen();
  }
}

function listen() {
  events = new EventSource(`/events?page=${page}${job ? `&job=${job}` : ""}`);
  events.addEventListener("message", event => { latest = JSON.parse(event.data); catchUp(); });
  events.addEventListener("open", () => { gone.hidden = true; });
  events.addEventListener("error", event => {
    gone.hidden = false;
    // It comes again by itself, unless it was refused.
    if (event.target.readyState === EventSource.CLOSED) setTimeout(() => { if (events === event.target) listen(); }, 1000 * RETRY_S);
  });
}

if (rows || job) {
  follow();
  addEventListener("pagehide", () => { navigator.sendBeacon(`/open?page=${page}&closed=true`); });
}

// Without a stream the page must say itself that it is open, or its files would go.
if (over) {
  const beat = async () => {
    const answer = await fetch(`/open?page=${page}`, { method: "POST" }).catch(() => null);
    gone.hidden = answer !== null && answer.ok;
  };
  addEventListener("pageshow", beat);
  setInterval(beat, 1000 * BEAT_S);
  beat();
}

// Cancelling and deleting.

const sure = document.querySelector("#sure");

function confirmed() {
  return new Promise(done => {
    sure.addEventListener("close", () => done(sure.returnValue === "yes"), { once: true });
    sure.returnValue = "";
    sure.showModal();
  });
}
for (const button of sure.querySelectorAll("button")) button.addEventListener("click", () => sure.close(button.dataset.answer));

// Null once it is done, which what is gone already is; else why not, as far as the server says.
async function ask(method, address) {
  try {
    const answer = await fetch(address, { method });
    return answer.ok || answer.status === 404 ? null : (await answer.json()).error.message;
  } catch {
    return "";
  }
}

function complain(place, words, why) {
  const actions = place.querySelector(".actions");
  const said = actions.nextElementSibling?.matches(".warning") ? actions.nextElementSibling : document.createElement("p");
  said.className = "warning";
  said.setAttribute("role", "alert");
  say(said, words, why);
  actions.after(said);
}

document.addEventListener("click", async event => {
  const button = event.target.closest("button[data-do]"), row = button?.closest("[data-id]");
  const id = row ? row.dataset.id : job;
  if (!button || !id) return;
  // Until the answer comes the row may have been renewed: what is said and done belongs to the one that stands there then.
  const here = () => row ? rowOf(id) || row : main;
  if (button.dataset.do === "cancel") {
    button.disabled = true;
    const why = await ask("POST", `/v1/jobs/${id}/cancel`);
    if (why === null) return;
    button.disabled = false;
    complain(here(), main.dataset.notCancelled, why);
  } else if (button.dataset.do === "delete" && await confirmed()) {
    const why = await ask("DELETE", `/v1/jobs/${id}`);
    if (why !== null) complain(here(), main.dataset.notDeleted, why);
    else if (id === job) location.assign("/");
    else { announce(`${row.querySelector("bdi").textContent}: ${main.dataset.deleted}`); remove(here()); }
  }
});

// The video, its timeline and the report beside it.

const video = document.querySelector("#copy"), timeline = document.querySelector("#timeline"), report = document.querySelector("#report");

function seek(seconds) { video.currentTime = seconds; }

if (video && timeline) {
  const width = Number(timeline.dataset.width), seconds = Number(timeline.dataset.seconds), now = document.querySelector("#now");
  let asked = 0;
  const follow = () => {
    const x = width * Math.min(1, video.currentTime / seconds);
    now.setAttribute("x1", x);
    now.setAttribute("x2", x);
    // Each event begins anew what goes on by itself: one loop is enough.
    cancelAnimationFrame(asked);
    if (!video.paused) asked = requestAnimationFrame(follow);
  };
  for (const kind of ["play", "seeked", "timeupdate"]) video.addEventListener(kind, follow);
  timeline.addEventListener("pointerdown", event => {
    const box = timeline.getBoundingClientRect();
    seek(seconds * Math.min(1, Math.max(0, (event.clientX - box.left) / box.width)));
  });
  for (const button of document.querySelectorAll("[data-seek]")) button.addEventListener("click", () => seek(Number(button.dataset.seek)));
}

if (report) {
  const fit = () => {
    const inner = report.contentDocument?.documentElement;
    // Not its scrollHeight, which is never less than the frame's own height: the frame would only ever grow.
    if (inner) report.style.height = `${inner.offsetHeight + 2}px`;
  };
  report.addEventListener("load", fit);
  addEventListener("resize", fit);
  fit();
}
