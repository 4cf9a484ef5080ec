"use strict";
// The Classes page: classes and their prompts, the videos with these classes, and clips.

const state = {classes: [], target: null, answer: null, items: [], current: -1, clip: null, colors: {}, loading: false};
const slot = `classes of ${meta("output")}`;
const LONGEST_S = 120;

const view = new ScoresView($("scores"), (second) => {
  play({start_s: Math.max(0, second - 1), end_s: second + 9});
});

// Stores the classes, so that they survive a reload.
function store() {
  try { localStorage.setItem(slot, JSON.stringify(state.classes)); } catch { /* kept until the page is closed */ }
}

function stored() {
  try { return JSON.parse(localStorage.getItem(slot)) || []; } catch { return []; }
}

function shortName(prompt) {
  return prompt.text ?? prompt.example.replace(/^.*\//, "");
}

function showClasses() {
  $("classes").replaceChildren(...state.classes.map((edited, number) => {
    const node = $("class").content.firstElementChild.cloneNode(true);
    node.style.setProperty("--class-color", colorOf(number));
    const name = node.querySelector(".name");
    name.value = edited.name;
    name.addEventListener("input", () => { edited.name = name.value; store(); });
    node.querySelector(".remove").addEventListener("click", () => change(() => state.classes.splice(number, 1)));
    node.querySelector(".pick").addEventListener("click", () => pick(edited));
    node.querySelector(".text")?.addEventListener("keydown", (event) => {
      if (event.key !== "Enter") return;
      event.preventDefault();
      const text = event.target.value.trim();
      if (text) change(() => edited.prompts.push({text}));
      $("classes").children[number].querySelector(".text").focus();
    });
    node.querySelector(".prompts").append(...edited.prompts.map((prompt, index) => {
      const remove = element("button", {type: "button", "aria-label": `remove ${shortName(prompt)}`}, "×");
      remove.addEventListener("click", () => change(() => edited.prompts.splice(index, 1)));
      return element("li", {}, element("span", {title: prompt.text ?? prompt.example}, shortName(prompt)), remove);
    }));
    return node;
  }));
  if (!$("picker").hidden) markChosen();
}

function change(edit) {
  edit();
  store();
  showClasses();
}

async function pick(target) {
  state.target = target;
  $("target").textContent = target.name || "the class";
  $("picker").hidden = false;
  $("answer").hidden = $("empty").hidden = true;
  await showFrames();
}

async function showFrames() {
  const video = $("source").value;
  try {
    const {frames} = await api.get(`frames/${video}`);
    if (video !== $("source").value) return;
    $("frames").replaceChildren(...frames.map((frame, index) => {
      const image = element("img", {src: `frames/${video}/${index}.jpg`, loading: "lazy", alt: ""});
      const node = element("button", {type: "button", "data-origin": frame.origin}, image, clock(frame.second));
      node.addEventListener("click", () => choose(frame.origin));
      return node;
    }));
    markChosen();
  } catch (error) {
    toast(error.message, true);
  }
}

function choose(origin) {
  const prompts = state.target.prompts, index = prompts.findIndex((prompt) => prompt.example === origin);
  change(() => { if (index < 0) prompts.push({example: origin}); else prompts.splice(index, 1); });
}

function markChosen() {
  const chosen = new Set((state.target?.prompts || []).map((prompt) => prompt.example));
  for (const node of $("frames").children) node.classList.toggle("chosen", chosen.has(node.dataset.origin));
}

async function run() {
  const classes = state.classes.filter((edited) => edited.name.trim() || edited.prompts.length);
  $("run").disabled = true;
  $("status").textContent = "searching …";
  try {
    const request = {classes, threshold: Number($("threshold").value), include_clips: true};
    const found = await api.post("run", {request, min_duration_ratio: Number($("ratio").value)});
    state.colors = Object.fromEntries(classes.map((edited) => [edited.name, colorOf(state.classes.indexOf(edited))]));
    Object.assign(state, {answer: found, items: found.videos, current: -1});
    $("status").textContent = `${found.total.toLocaleString("en")} videos with a class`;
    $("json").href = `${found.id}/classifications.json`;
    $("csv").href = `${found.id}/clips.csv`;
    $("json").hidden = $("csv").hidden = false;
    $("found").replaceChildren(...found.videos.map(card));
    $("legend").replaceChildren(...Object.entries(state.colors).flatMap(([name, color]) => {
      const key = element("span", {class: "key"});
      key.style.setProperty("--class-color", color);
      return [key, name];
    }));
    $("picker").hidden = true;
    if (found.videos.length) await select(0);
    else {
      $("answer").hidden = true;
      $("empty").hidden = false;
      $("empty").textContent = "No video matches: lower the threshold or the share.";
    }
  } catch (error) {
    $("status").textContent = "";
    toast(error.message, true);
  } finally {
    $("run").disabled = false;
  }
}

function card(item) {
  const rows = item.classes.map((scored) => {
    const score = element("i"), share = element("i");
    score.style.width = `${scored.score}%`;
    share.style.width = `${100 * scored.duration_ratio}%`;
    const title = `score ${scored.score}, ${Math.round(100 * scored.duration_ratio)}% of the video`;
    const bars = element("span", {class: "bars", title}, score, share);
    bars.style.setProperty("--class-color", state.colors[scored.name]);
    return element("div", {class: "scored"}, element("b", {title: scored.name}, scored.name), bars, scored.score.toFixed(0));
  });
  const node = element("li", {"data-number": item.number}, element("strong", {}, item.name), ...rows);
  node.addEventListener("click", () => select(item.number));
  return node;
}

async function moreVideos() {
  if (state.loading || !state.answer || state.items.length >= state.answer.total) return;
  state.loading = true;
  try {
    const found = await api.get(`${state.answer.id}/videos?offset=${state.items.length}`);
    state.items.push(...found.videos);
    $("found").append(...found.videos.map(card));
  } catch (error) {
    toast(error.message, true);
  } finally {
    state.loading = false;
  }
}

async function select(number) {
  const item = state.items[number];
  if (!item) return;
  state.current = number;
  for (const node of $("found").children) node.classList.toggle("current", Number(node.dataset.number) === number);
  $("picker").hidden = $("empty").hidden = true;
  $("answer").hidden = false;
  $("title").textContent = item.name;
  const shown = item.classes.flatMap(({name, clips}) => clips.map((clip) => ({...clip, name})));
  $("clips").replaceChildren(...shown.map(clipButton));
  state.rest = item.classes.map(({name, num_clips: total}) => ({name, offset: 0, total}));
  state.seen = new Set(shown.map(keyOf));
  try {
    const data = await api.get(`${state.answer.id}/timeline/${number}`);
    if (state.current !== number) return;
    view.show(data, state.colors);
    if (shown.length) play(shown[0]);
    await moreClips();
  } catch (error) {
    toast(error.message, true);
  }
}

const keyOf = (clip) => `${clip.name}|${clip.prompt}|${clip.start_s}`;

function clipButton(clip) {
  const length = (clip.end_s - clip.start_s).toFixed(0);
  const node = element("button", {type: "button"},
    `${clip.name} ${clip.score.toFixed(0)}: ${clock(clip.start_s)}, ${length} s`,
    element("small", {title: clip.prompt}, clip.prompt.replace(/^.*\//, "")));
  node.style.setProperty("--class-color", state.colors[clip.name]);
  node.addEventListener("click", () => play(clip, node));
  return node;
}

// Loads more clips of each class when the list is scrolled near its end.
async function moreClips() {
  const number = state.current, {scrollTop, clientHeight, scrollHeight} = $("clips");
  const next = state.rest?.find(({offset, total}) => offset < total);
  if (state.loading || !next || scrollTop + 2 * clientHeight < scrollHeight) return;
  state.loading = true;
  try {
    const path = `${state.answer.id}/clips/${number}?class=${encodeURIComponent(next.name)}&offset=${next.offset}`;
    const found = await api.get(path);
    if (number !== state.current) return;
    next.offset += found.clips.length || next.total;
    const fresh = found.clips.map((clip) => ({...clip, name: next.name})).filter((clip) => !state.seen.has(keyOf(clip)));
    fresh.forEach((clip) => state.seen.add(keyOf(clip)));
    $("clips").append(...fresh.map(clipButton));
  } finally {
    state.loading = false;
  }
  await moreClips();
}

// Plays a clip from start to end.
function play(clip, node = null) {
  const begin = Math.max(0, clip.start_s), end = Math.min(clip.end_s, begin + LONGEST_S);
  state.clip = {start_s: begin, end_s: end};
  for (const button of $("clips").children) button.classList.toggle("current", button === (node || $("clips").firstChild));
  view.mark(state.clip);
  notice("creating the clip …");
  $("video").src = `${state.answer.id}/play/${state.current}/${begin.toFixed(3)}-${end.toFixed(3)}.mp4`;
  $("video").play().catch(() => {});
}

function notice(text) {
  $("notice").textContent = text;
  $("notice").hidden = !text;
}

$("video").addEventListener("loadeddata", () => notice(""));
$("video").addEventListener("error", async () => {
  const url = $("video").getAttribute("src");
  const reason = await api.get(url).then(() => "this browser does not support H.264", (error) => error.message);
  if (url === $("video").getAttribute("src")) notice(`the clip cannot be played: ${reason}`);
});
(function tick() {
  if (state.clip) {
    const second = state.clip.start_s + $("video").currentTime;
    view.move(second);
    $("clock").textContent = clock(second);
  }
  requestAnimationFrame(tick);
})();
$("add").addEventListener("click", () => {
  change(() => state.classes.push({name: "", prompts: []}));
  $("classes").lastElementChild.querySelector(".name").focus();
});
$("editor").addEventListener("submit", (event) => { event.preventDefault(); run(); });
$("source").addEventListener("change", showFrames);
$("picked").addEventListener("click", () => {
  $("picker").hidden = true;
  $("answer").hidden = state.current < 0;
  $("empty").hidden = state.current >= 0;
});
for (const [id, load] of [["found", moreVideos], ["clips", moreClips]]) {
  $(id).addEventListener("scroll", () => {
    const {scrollTop, clientHeight, scrollHeight} = $(id);
    if (scrollTop + 2 * clientHeight > scrollHeight) load();
  });
}
state.classes = stored();
if (!state.classes.length) state.classes.push({name: "", prompts: []});
showClasses();
