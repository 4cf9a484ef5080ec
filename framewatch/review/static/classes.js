"use strict";
// Classes: their prompts, the videos that have them, and the clips.

const state = {classes: [], target: null, answer: null, items: [], current: -1, clip: null, colors: {}, loading: false};
const slot = `classes of ${meta("output")}`;
const LONGEST_S = 120;

const view = new ScoresView($("scores"), (second) => {
  play({start_s: Math.max(0, second - 1), end_s: second + 9});
});

// What is typed is kept, so that a reload loses nothing.
function keep() {
  try { localStorage.setItem(slot, JSON.stringify(state.classes)); } catch { /* kept for this page only */ }
}

function stored() {
  try { return JSON.parse(localStorage.getItem(slot)) || []; } catch { return []; }
}

function shortName(prompt) {
  return prompt.text ?? prompt.example.replace(/^.*\//, "");
}

function showClasses() {
  $("classes").replaceChildren(...state.classes.map((its, number) => {
    const node = $("class").content.firstElementChild.cloneNode(true);
    node.style.setProperty("--its", colorOf(number));
    const name = node.querySelector(".name");
    name.value = its.name;
    name.addEventListener("input", () => { its.name = name.value; keep(); });
    node.querySelector(".remove").addEventListener("click", () => change(() => state.classes.splice(number, 1)));
    node.querySelector(".pick").addEventListener("click", () => pick(its));
    node.querySelector(".text")?.addEventListener("keydown", (event) => {
      if (event.key !== "Enter") return;
      event.preventDefault();
      const text = event.target.value.trim();
      if (text) change(() => its.prompts.push({text}));
      $("classes").children[number].querySelector(".text").focus();
    });
    node.querySelector(".prompts").append(...its.prompts.map((prompt, place) => {
      const remove = element("button", {type: "button", "aria-label": `remove ${shortName(prompt)}`}, "×");
      remove.addEventListener("click", () => change(() => its.prompts.splice(place, 1)));
      return element("li", {}, element("span", {title: prompt.text ?? prompt.example}, shortName(prompt)), remove);
    }));
    return node;
  }));
  if (!$("picker").hidden) markChosen();
}

function change(how) {
  how();
  keep();
  showClasses();
}

async function pick(its) {
  state.target = its;
  $("target").textContent = its.name || "the class";
  $("picker").hidden = false;
  $("answer").hidden = $("empty").hidden = true;
  await showFrames();
}

async function showFrames() {
  const video = $("source").value;
  try {
    const {frames} = await api.get(`frames/${video}`);
    if (video !== $("source").value) return;
    $("frames").replaceChildren(...frames.map((frame, place) => {
      const image = element("img", {src: `frames/${video}/${place}.jpg`, loading: "lazy", alt: ""});
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
  const place = state.target.prompts.findIndex((prompt) => prompt.example === origin);
  change(() => { if (place < 0) state.target.prompts.push({example: origin}); else state.target.prompts.splice(place, 1); });
}

function markChosen() {
  const chosen = new Set((state.target?.prompts || []).map((prompt) => prompt.example));
  for (const node of $("frames").children) node.classList.toggle("chosen", chosen.has(node.dataset.origin));
}

async function run() {
  const classes = state.classes.filter((its) => its.name.trim() || its.prompts.length);
  $("run").disabled = true;
  $("told").textContent = "looking …";
  try {
    const request = {classes, threshold: Number($("threshold").value), include_clips: true};
    const found = await api.post("run", {request, min_duration_ratio: Number($("ratio").value)});
    state.colors = Object.fromEntries(classes.map((its) => [its.name, colorOf(state.classes.indexOf(its))]));
    Object.assign(state, {answer: found, items: found.videos, current: -1});
    $("told").textContent = `${found.total.toLocaleString("en")} videos with a class`;
    $("json").href = `${found.id}/classifications.json`;
    $("csv").href = `${found.id}/clips.csv`;
    $("json").hidden = $("csv").hidden = false;
    $("found").replaceChildren(...found.videos.map(card));
    $("legend").replaceChildren(...Object.entries(state.colors).flatMap(([name, color]) => {
      const key = element("span", {class: "key"});
      key.style.setProperty("--its", color);
      return [key, name];
    }));
    $("picker").hidden = true;
    if (found.videos.length) await select(0);
    else {
      $("answer").hidden = true;
      $("empty").hidden = false;
      $("empty").textContent = "No video has a class: lower the threshold or the share.";
    }
  } catch (error) {
    $("told").textContent = "";
    toast(error.message, true);
  } finally {
    $("run").disabled = false;
  }
}

function card(item) {
  const rows = item.classes.map((its) => {
    const score = element("i"), share = element("i");
    score.style.width = `${its.score}%`;
    share.style.width = `${100 * its.duration_ratio}%`;
    const bars = element("span", {class: "bars", title: `score ${its.score}, ${Math.round(100 * its.duration_ratio)}% of the video`}, score, share);
    bars.style.setProperty("--its", state.colors[its.name]);
    return element("div", {class: "scored"}, element("b", {title: its.name}, its.name), bars, its.score.toFixed(0));
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
  const shown = item.classes.flatMap((its) => its.clips.map((clip) => ({...clip, name: its.name})));
  $("clips").replaceChildren(...shown.map(clipButton));
  state.rest = item.classes.map((its) => ({name: its.name, offset: 0, total: its.num_clips}));
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
  node.style.setProperty("--its", state.colors[clip.name]);
  node.addEventListener("click", () => play(clip, node));
  return node;
}

// The next clips of each class, once the ones there are have been scrolled through.
async function moreClips() {
  const number = state.current, {scrollTop, clientHeight, scrollHeight} = $("clips");
  const next = state.rest?.find((its) => its.offset < its.total);
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

// From start to end.
function play(clip, node = null) {
  const begin = Math.max(0, clip.start_s), end = Math.min(clip.end_s, begin + LONGEST_S);
  state.clip = {start_s: begin, end_s: end};
  for (const it of $("clips").children) it.classList.toggle("current", it === (node || $("clips").firstChild));
  view.mark(state.clip);
  notice("cutting the clip …");
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
  const reason = await api.get(url).then(() => "this browser plays no H.264", (error) => error.message);
  if (url === $("video").getAttribute("src")) notice(`no clip: ${reason}`);
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
