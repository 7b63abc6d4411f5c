// What pages do beyond what they do without a script: ages that grow, rows that change, and dialogs that ask.
"use strict";

const root = document.documentElement;
root.classList.add("scripted");

// -- ages, as gateway/pages.py writes them

const skew = Number(root.dataset.now) * 1000 - Date.now();

function age(seconds) {
  const whole = Math.max(0, Math.floor(seconds));
  for (const [size, unit, smaller, smallerUnit] of [[86400, "d", 3600, "h"], [3600, "h", 60, "min"], [60, "min", 1, "s"]]) {
    if (whole < size) continue;
    const rest = Math.floor((whole % size) / smaller);
    return `${Math.floor(whole / size)} ${unit}` + (rest ? ` ${rest} ${smallerUnit}` : "");
  }
  return `${whole} s`;
}

function grow() {
  const now = Date.now() + skew;
  for (const time of document.querySelectorAll("time[data-ago], time[data-until], time[data-age]")) {
    const past = (now - Date.parse(time.dateTime)) / 1000;
    let text = age(past);
    if ("ago" in time.dataset) text = `${text.split(" ", 2).join(" ")} ago`;
    if ("until" in time.dataset) text = past < 0 ? `in ${age(-past)}` : "now";
    if (time.textContent !== text) time.textContent = text;
  }
}
setInterval(() => document.hidden || grow(), 1000);

// -- rows that change

const board = document.getElementById("board");
const live = document.getElementById("live");
let stream = null;
let cursor = board?.dataset.cursor;

function tell(state, words) {
  if (live.dataset.state === state && live.textContent === words) return;
  live.dataset.state = state;
  live.textContent = words;
}

function parsed(html) {
  const template = document.createElement("template");
  template.innerHTML = html;
  return template.content;
}

// Cell by cell, so that what has the focus, or is being read, stays where it is.
function renew(row, made) {
  [...made.children].forEach((cell, number) => {
    const old = row.children[number];
    if (old.isEqualNode(cell)) return;
    const words = old.textContent !== cell.textContent && !old.querySelector("time");
    if (!old.contains(document.activeElement)) old.replaceWith(cell);
    if (words) cell.classList.add("changed");
  });
  row.dataset.name = made.dataset.name;
}

function apply(news) {
  if (!board.tBodies) return location.reload(); // the first partner
  const body = board.tBodies[0];
  const focused = document.activeElement;
  for (const [partner, html] of Object.entries(news.rows)) {
    const made = parsed(html).querySelector("tr");
    const row = document.getElementById(`p-${partner}`);
    if (row) renew(row, made);
    else body.append(made);
  }
  if (news.order) arrange(body, news.order);
  if (news.summary) document.getElementById("summary").innerHTML = news.summary;
  // A row that is moved loses it.
  if (focused !== document.activeElement && focused.isConnected) focused.focus({ preventScroll: true });
  grow();
  sift();
}

function arrange(body, order) {
  const wanted = new Set(order.map((partner) => `p-${partner}`));
  for (const row of [...body.rows]) if (!wanted.has(row.id)) row.remove();
  let next = body.firstElementChild;
  for (const partner of order) {
    const row = document.getElementById(`p-${partner}`);
    if (!row) continue;
    if (row !== next && row === next?.nextElementSibling) body.append(next); // it has gone down: its place comes
    else if (row !== next) body.insertBefore(row, next);
    next = row.nextElementSibling;
  }
}

function listen() {
  if (document.hidden || stream) return;
  stream = new EventSource(`${board.dataset.events}?since=${cursor}`);
  stream.onopen = () => tell("live", "Live");
  stream.onmessage = (event) => {
    cursor = event.lastEventId;
    tell("live", "Live");
    apply(JSON.parse(event.data));
  };
  stream.addEventListener("trouble", (event) => tell("away", JSON.parse(event.data)));
  stream.addEventListener("over", () => location.reload());
  stream.onerror = () => {
    tell("away", "Not connected; trying again");
    // Away for a moment, it comes again by itself. Refused, the session may be over, or what stands between takes no
    // streams: the page finds out, and is at worst one that renews itself.
    if (stream?.readyState === EventSource.CLOSED) setTimeout(() => location.reload(), 5000);
  };
}

function rest() {
  stream?.close();
  stream = null;
  tell("rest", "Resting");
}

if (board?.dataset.events && window.EventSource) {
  document.addEventListener("visibilitychange", () => (document.hidden ? rest() : listen()));
  addEventListener("pagehide", rest);
  addEventListener("pageshow", listen);
  listen();
}

// -- narrowing the list

const filter = document.getElementById("filter");

function sift() {
  const wanted = filter.value.trim().toLowerCase();
  for (const row of board.tBodies?.[0].rows ?? []) row.hidden = !row.dataset.name.includes(wanted);
}
filter?.addEventListener("input", sift);

// -- dialogs that ask; without a script a page does

const dialog = document.getElementById("ask");

addEventListener("submit", (event) => {
  const form = event.target;
  const button = event.submitter;
  if (!button?.dataset.ask || form.dataset.sure) return;
  event.preventDefault();
  document.getElementById("ask-words").textContent = button.dataset.ask;
  document.getElementById("ask-verb").textContent = button.dataset.verb;
  dialog.returnValue = "no";
  dialog.onclose = () => {
    if (dialog.returnValue !== "yes") return;
    const sure = Object.assign(document.createElement("input"), { type: "hidden", name: "confirmed", value: "yes" });
    form.append(sure);
    form.dataset.sure = "yes";
    form.requestSubmit(button);
    sure.remove();
    delete form.dataset.sure;
  };
  dialog.showModal();
});

// -- small helps

for (const box of document.querySelectorAll("[data-all]")) {
  box.addEventListener("change", () => {
    for (const each of document.querySelectorAll(`input[form="${box.dataset.all}"][name=chosen]:not(:disabled)`)) each.checked = box.checked;
  });
}
for (const button of document.querySelectorAll("[data-copy]")) {
  button.addEventListener("click", async () => {
    await navigator.clipboard.writeText(document.getElementById(button.dataset.copy).textContent);
    button.textContent = "Copied";
  });
}
