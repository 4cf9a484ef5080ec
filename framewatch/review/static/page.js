"use strict";
// The Review page: the queue, filters, verdicts and keyboard shortcuts.

const state = {items: [], total: 0, version: 0, ranking: "", current: -1, moment: null, loading: null, busy: false};
const REASONS = {
  top: ["top", "ranked high"],
  uncertain: ["uncertain", "the classifier is uncertain, so a verdict improves it most"],
  random: ["random", "drawn at random, to estimate what the ranking misses"],
};
const NAMES = {suspicious: "suspicious", not: "not suspicious", unsure: "unsure", disagreement: "disagreement"};

const view = new TimelineView($("timeline"), (second) => player.seek(second));
const player = new Player($("video"), (second) => {
  view.move(second);
  $("clock").textContent = clock(second);
});

function query(offset) {
  const form = new FormData($("filters")), wanted = new URLSearchParams({offset});
  for (const [name, value] of form) {
    if (value !== "") wanted.set(name, name.endsWith("_s") ? seconds(value) : value);
  }
  return wanted;
}

// Loads the queue from its start, and keeps the current moment if it is still listed.
async function reload({keep = false} = {}) {
  if (state.loading) state.loading.abort();
  const control = state.loading = new AbortController();
  try {
    const found = await api.get(`api/queue?${query(0)}`, {signal: control.signal});
    const before = keep && state.moment ? state.moment.id : null;
    Object.assign(state, {items: found.items, total: found.total, version: found.version});
    $("queue").replaceChildren(...found.items.map(card));
    $("queue").scrollTop = 0;
    showFound();
    const index = state.items.findIndex((item) => item.id === before);
    if (index >= 0) mark(index); else if (before === null) await select(0); else state.current = -1;
  } catch (error) {
    if (error.name !== "AbortError") toast(error.message, true);
  } finally {
    if (state.loading === control) state.loading = null;
  }
}

async function more() {
  if (state.loading || state.items.length >= state.total) return;
  const control = state.loading = new AbortController();
  try {
    // The server no longer lists moments that were reviewed after they were loaded.
    const offset = state.items.filter((item) => isShown(item.state)).length;
    const found = await api.get(`api/queue?${query(offset)}`, {signal: control.signal});
    const have = new Set(state.items.map((item) => item.id));
    const fresh = found.items.filter((item) => !have.has(item.id));
    $("queue").append(...fresh.map((item, i) => card(item, state.items.length + i)));
    state.items.push(...fresh);
    state.total = found.items.length ? found.total + state.items.length - offset - fresh.length : state.items.length;
  } catch (error) {
    if (error.name !== "AbortError") toast(error.message, true);
  } finally {
    if (state.loading === control) state.loading = null;
  }
}

function isShown(momentState) {
  const shown = $("filters").shown.value;
  return shown === "all" || (shown === "reviewed" ? momentState !== "unseen" : momentState === shown);
}

function showFound() {
  $("found").textContent = state.total ? `${state.total.toLocaleString("en")} moments` : "no moment matches these filters";
}

function card(item) {
  const image = element("img", {src: `thumbnails/${item.id}.jpg?v=${state.ranking}`, loading: "lazy", alt: "", width: 96, height: 72});
  image.addEventListener("error", () => { image.classList.add("missing"); });
  const length = item.end_s - item.start_s;
  const range = item.kind === "frame" ? `frame at ${clock(item.start_s)}` : `${clock(item.start_s)}, ${length.toFixed(0)} s`;
  const badges = element("span", {class: "badges"});
  if (item.state !== "unseen") badges.append(element("b", {class: `badge ${item.state}`}, NAMES[item.state]));
  else if (REASONS[item.reason]) {
    badges.append(element("b", {class: `badge why-${item.reason}`, title: REASONS[item.reason][1]}, REASONS[item.reason][0]));
  }
  if (item.event) badges.append(element("b", {class: "badge event", title: "the kind of event that it resembles most"}, item.event));
  const meter = element("span", {class: "meter"}, element("i"));
  meter.firstChild.style.width = `${Math.round(item.now * 100)}%`;
  const text = element("div", {class: "text"},
    element("strong", {title: item.name}, item.name), element("span", {}, range),
    element("span", {class: "probability"}, meter, item.now.toFixed(2)), badges);
  const node = element("li", {"data-id": item.id}, image, text);
  node.addEventListener("click", () => select(state.items.findIndex(({id}) => id === item.id)));
  return node;
}

function mark(index) {
  state.current = index;
  for (const node of $("queue").querySelectorAll(".current")) node.classList.remove("current");
  const node = $("queue").children[index];
  if (!node) return;
  node.classList.add("current");
  node.scrollIntoView({block: "nearest"});
}

async function select(index) {
  if (index >= state.items.length) await more();
  const item = state.items[index];
  if (!item) {
    if (!state.items.length) blank();
    return;
  }
  mark(index);
  if (index >= state.items.length - 10) more();
  try {
    const [moment, timeline] = await Promise.all([api.get(`api/moments/${item.id}`), api.get(`api/timelines/${item.video}`)]);
    if (state.items[state.current]?.id !== item.id) return;  // another moment was selected meanwhile
    show(moment, item.reason, timeline);
  } catch (error) {
    toast(error.message, true);
  }
}

function show(moment, reason, timeline) {
  const isOther = state.moment?.id !== moment.id;
  state.moment = {...moment, reason};
  player.moment_video = moment.video;
  if (isOther) player.show(moment);
  view.show(timeline, moment);
  $("title").textContent = moment.name;
  $("title").title = moment.uri;
  $("single").checked = false;
  const kind = moment.kind === "incident" ? `incident ${moment.rank}` : "single frame";
  const why = REASONS[reason] ? ` Reason: ${REASONS[reason][1]}.` : "";
  const event = moment.event ? ` most like ${moment.event};` : "";
  $("facts").textContent = `${kind}: ${clock(moment.start_s)} to ${clock(moment.end_s)}, peak at ${clock(moment.peak_s)};${event} ` +
    `probability ${moment.prob2.toFixed(3)} as ranked, ${moment.now.toFixed(3)} now.${why}`;
  showAnswers(moment);
}

// Opens similar moments in a new tab, so that the review keeps its position.
$("similar").addEventListener("click", (event) => {
  event.preventDefault();
  if (!state.moment) return;
  const where = new URLSearchParams({video: state.moment.video, second: player.second.toFixed(3)});
  window.open(`similar/?${where}`, "_blank");
});

function showAnswers(moment) {
  $("answers").replaceChildren(...moment.said.map((segment) => element("span", {class: `badge ${segment.state}`},
    `${clock(segment.start_s)}–${clock(segment.end_s)} ` +
    Object.entries(segment.answers).map(([reviewer, answer]) => `${reviewer}: ${NAMES[answer]}`).join(", "))));
  for (const button of document.querySelectorAll("[data-answer]")) {
    button.classList.toggle("given", moment.state === button.dataset.answer);
  }
}

function blank() {
  state.moment = null;
  state.current = -1;
  player.clip = null;
  $("video").removeAttribute("src");
  $("video").load();
  notice("no moment matches: change the filters");
  for (const id of ["title", "facts", "answers", "clock"]) $(id).replaceChildren();
}

async function judge(answer) {
  const moment = state.moment;
  if (!moment || state.busy) return;
  if (state.current >= 0 && state.items[state.current].id !== moment.id) return;  // the next moment is still loading
  state.busy = true;
  const single = $("single").checked;
  try {
    const response = await api.post("api/verdicts", {
      moment: moment.id, answer, ranking: state.ranking, reason: moment.reason || "chosen",
      reviewer: $("reviewer").value.trim(), second: single ? player.second : null,
    });
    toast(`${moment.name} ${clock(response.verdict.start_s)}–${clock(response.verdict.end_s)}: ${NAMES[answer]}`);
    showStatus(response.status);
    update(state.current, response.moment);
    if (response.moment.state === "unseen" || single) {
      show(response.moment, moment.reason, await api.get(`api/timelines/${moment.video}`));
    } else {
      await select(state.current + 1);
    }
  } catch (error) {
    toast(error.message, true);
  } finally {
    state.busy = false;
  }
}

// Updates a changed moment in the list.
function update(index, moment) {
  if (!state.items[index] || state.items[index].id !== moment.id) return;
  state.items[index] = {...state.items[index], ...moment, reason: state.items[index].reason};
  const node = card(state.items[index]);
  if (index === state.current) node.classList.add("current");
  $("queue").children[index].replaceWith(node);
}

async function undo() {
  if (state.busy) return;
  state.busy = true;
  try {
    const {status, undone} = await api.post("api/undo", {reviewer: $("reviewer").value.trim()});
    showStatus(status);
    if (!undone) return toast("you have no verdict to undo");
    toast(`undone: ${NAMES[undone.answer]} at ${clock(undone.start_s)}`);
    for (const [index, item] of state.items.entries()) {
      if (item.start_s < undone.end_s && item.end_s > undone.start_s) {
        const moment = await api.get(`api/moments/${item.id}`);
        if (moment.uri !== undone.video) continue;
        update(index, moment);
        if (item.kind !== "frame" || undone.start_s === item.start_s) await select(index);
      }
    }
  } catch (error) {
    toast(error.message, true);
  } finally {
    state.busy = false;
  }
}

function showStatus(status) {
  if (state.ranking && status.ranking !== state.ranking) {  // ids now refer to other moments
    state.moment = null;
    location.reload();
    return;
  }
  state.ranking = status.ranking;
  const {counts, learned} = status;
  const done = Object.entries(counts).filter(([name]) => name !== "unseen").reduce((sum, [, n]) => sum + n, 0);
  const all = done + counts.unseen;
  $("done").style.width = `${all ? 100 * done / all : 0}%`;
  const disagree = counts.disagreement ? `, ${counts.disagreement} disputed` : "";
  const trained = learned ? `, ranking trained on ${learned}` : "";
  $("counts").textContent = `${done} of ${all.toLocaleString("en")} reviewed: ${counts.suspicious} suspicious${disagree}${trained}`;
  $("missed").textContent = `Missed: ${status.missed.sentence}.`;
  $("note").textContent = status.note ? `Verdicts ${status.note}.` : "";
}

async function poll() {
  if (state.polling) return;
  state.polling = true;
  try {
    const status = await api.get("api/status");
    showStatus(status);
    const form = $("filters");
    if (status.version !== state.version && form.order.value === "suggested" && !state.busy) {
      const fresh = state.version !== 0;
      await refreshRest();
      if (fresh) toast(`the queue was updated with ${status.learned} verdicts`);
    }
  } catch {
    toast("the server does not respond: check that framewatch review is running", true);
  } finally {
    state.polling = false;
  }
}

// After a refit, reorders the moments after the current one.
async function refreshRest() {
  const found = await api.get(`api/queue?${query(0)}`);
  const kept = state.items.slice(0, state.current + 1), ids = new Set(kept.map((item) => item.id));
  const rest = found.items.filter((item) => !ids.has(item.id));
  state.items = [...kept, ...rest];
  state.total = kept.length + found.total - (found.items.length - rest.length);
  state.version = found.version;
  while ($("queue").children.length > kept.length) $("queue").lastChild.remove();
  $("queue").append(...rest.map(card));
  $("found").textContent = `${found.total.toLocaleString("en")} moments`;
  if (state.current < 0) await select(0);
}

const KEYS = {
  s: () => judge("suspicious"), n: () => judge("not"), u: () => judge("unsure"), z: undo,
  f: () => { $("single").checked = !$("single").checked; },
  r: () => { if (state.moment) player.show(state.moment); },
  " ": () => player.toggle(),
  ArrowDown: () => select(state.current + 1), ArrowUp: () => select(Math.max(0, state.current - 1)),
  ArrowRight: () => player.step(1), ArrowLeft: () => player.step(-1),
};

document.addEventListener("keydown", (event) => {
  const typing = event.target.closest("input:not([type=checkbox]), select, textarea");
  if (typing || event.ctrlKey || event.metaKey || event.altKey) return;
  const action = KEYS[event.key] || KEYS[event.key.toLowerCase()];
  if (!action) return;
  event.preventDefault();
  if (event.repeat && "snuz".includes(event.key)) return;  // holding a key gives one answer
  action();
});

for (const button of document.querySelectorAll("[data-answer]")) {
  button.addEventListener("click", () => judge(button.dataset.answer));
}
$("undo").addEventListener("click", undo);
$("play").addEventListener("click", () => player.toggle());
$("video").addEventListener("click", () => player.toggle());
$("speed").addEventListener("change", () => { $("video").playbackRate = Number($("speed").value); });
$("queue").addEventListener("scroll", () => {
  const {scrollTop, clientHeight, scrollHeight} = $("queue");
  if (scrollTop + 2 * clientHeight > scrollHeight) more();
});
let typingTimer = 0;
$("filters").addEventListener("input", () => {
  clearTimeout(typingTimer);
  typingTimer = setTimeout(() => reload({keep: true}).then(() => { if (state.current < 0) select(0); }), 250);
});
$("filters").addEventListener("submit", (event) => event.preventDefault());
// The slot includes the default name, so that another --reviewer replaces a stored name.
const slot = `reviewer, proposed ${meta("reviewer")}`;
const stored = () => { try { return localStorage.getItem(slot); } catch { return null; } };
$("reviewer").value = stored() || meta("reviewer");
$("reviewer").addEventListener("change", () => {
  try { localStorage.setItem(slot, $("reviewer").value.trim()); } catch { /* kept until the page is closed */ }
});

api.get("api/status").then(showStatus).then(() => reload()).catch((error) => toast(error.message, true));
setInterval(poll, 2000);
