"use strict";
// Sends files, follows how they fare, and moves through a video. All words come from the page; names are only ever set as text.
const main = document.querySelector("main"), rows = document.querySelector("#rows"), job = main.dataset.job;
const rowOf = id => document.getElementById("job-" + id);
const announce = text => { document.querySelector("#news").textContent = text; };

async function freshRow(id) {
  const answer = await fetch(`/jobs/${id}/row`);
  if (!answer.ok) return null;
  const holder = document.createElement("template");
  holder.innerHTML = await answer.text();
  return holder.content.firstElementChild;
}

function count() {
  const none = document.querySelector("#none");
  if (none) none.hidden = rows.children.length > 0;
}

// Sending, one file after another.

const form = document.querySelector("form.sending"), queue = [];
let sending = false;

function enqueue(files) {
  for (const file of files) {
    const row = form.querySelector("template").content.firstElementChild.cloneNode(true);
    row.querySelector("bdi").textContent = file.name;
    rows.append(row);
    const item = { file, row, stopped: false, request: null };
    row.querySelector("button").addEventListener("click", () => {
      item.stopped = true;
      if (item.request) item.request.abort();
      row.remove();
      count();
    });
    if (file.size > Number(form.dataset.mostBytes)) fail(item, form.dataset.tooLarge);
    else queue.push(item);
  }
  count();
  if (!sending) sendAll();
}

function fail(item, words) {
  item.row.querySelector(".state").textContent = words;
  item.row.querySelector("progress").remove();
  announce(`${item.file.name}: ${words}`);
}

async function sendAll() {
  sending = true;
  for (let item; (item = queue.shift());) {
    if (item.stopped) continue;
    const answer = await send(item);
    if (item.stopped) continue;
    if (answer.status === 429) {
      item.row.querySelector(".state").textContent = form.dataset.full;
      await new Promise(done => setTimeout(done, 1000 * (answer.retryAfter || 1)));
      queue.unshift(item);
    } else if (answer.status === 202) {
      const row = rowOf(answer.body.id) || await freshRow(answer.body.id);
      if (row) item.row.replaceWith(row); else item.row.remove();
    } else {
      fail(item, answer.body?.error?.message || form.dataset.failed);
    }
  }
  sending = false;
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

async function update(known) {
  for (const one of known) {
    const row = rowOf(one.id);
    if (!row) continue;
    if (row.dataset.status !== one.status) {
      if (one.id === job) { location.reload(); return; }
      const held = row.contains(document.activeElement), fresh = await freshRow(one.id);
      if (!fresh) continue;
      row.replaceWith(fresh);
      if (held) fresh.querySelector("a, button").focus();
      announce(`${fresh.querySelector("bdi").textContent}: ${one.said}`);
    } else if (row.querySelector("progress")) {
      row.querySelector("progress").value = one.progress;
      row.querySelector(".state").textContent = one.said;
    }
  }
  const ids = new Set(known.map(one => one.id));
  if (rows) for (const row of rows.querySelectorAll("[data-id]")) if (!ids.has(row.dataset.id) && row.dataset.missed) row.remove(); else row.dataset.missed = ids.has(row.dataset.id) ? "" : "1";
  if (rows) count();
}

if (rows || job) {
  const events = new EventSource("/events");
  let turn = Promise.resolve();
  events.addEventListener("message", event => { turn = turn.then(() => update(JSON.parse(event.data))); });
  events.addEventListener("error", () => { document.querySelector("#gone").hidden = false; });
  events.addEventListener("open", () => { document.querySelector("#gone").hidden = true; });
}

// Cancelling and deleting.

const sure = document.querySelector("#sure");

function ask() {
  return new Promise(done => {
    sure.addEventListener("close", () => done(sure.returnValue === "yes"), { once: true });
    sure.returnValue = "";
    sure.showModal();
  });
}
for (const button of sure.querySelectorAll("button")) button.addEventListener("click", () => sure.close(button.dataset.answer));

document.addEventListener("click", async event => {
  const button = event.target.closest("button[data-do]"), row = button?.closest("[data-id]");
  const id = row ? row.dataset.id : job;
  if (!button || !id) return;
  if (button.dataset.do === "cancel") {
    button.disabled = true;
    await fetch(`/v1/jobs/${id}/cancel`, { method: "POST" });
  } else if (button.dataset.do === "delete" && await ask()) {
    await fetch(`/v1/jobs/${id}`, { method: "DELETE" });
    if (id === job) location.assign("/");
    else { row.remove(); count(); main.focus(); }
  }
});

// The video, its timeline and the report beside it.

const video = document.querySelector("#copy"), timeline = document.querySelector("#timeline"), report = document.querySelector("#report");

function seek(seconds) { video.currentTime = seconds; }

if (video && timeline) {
  const width = Number(timeline.dataset.width), seconds = Number(timeline.dataset.seconds), now = document.querySelector("#now");
  const follow = () => {
    const x = width * Math.min(1, video.currentTime / seconds);
    now.setAttribute("x1", x);
    now.setAttribute("x2", x);
    if (!video.paused) requestAnimationFrame(follow);
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
    if (inner) report.style.height = `${inner.scrollHeight + 2}px`;
  };
  report.addEventListener("load", fit);
  addEventListener("resize", fit);
  fit();
}
