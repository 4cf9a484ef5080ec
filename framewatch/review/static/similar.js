"use strict";
// The Similar page: the example, the grid of hits, and verdicts on them.

const given = new URLSearchParams(location.search);
let lastExample = null;

function number(id) {
  const text = $(id).value.trim();
  return text === "" ? null : Number(text);
}

async function search(example) {
  lastExample = example;
  $("status").textContent = "searching …";
  try {
    const limits = {by_video: $("by_video").checked, min_probability: number("least")};
    const found = await api.post("search", {...example, ...limits});
    if (lastExample !== example) return;
    if (found.like) $("origin").value = found.like;
    $("status").textContent = `${found.hits.length} moments`;
    $("hits").replaceChildren(...found.hits.map((hit) => card(found.id, hit)));
  } catch (error) {
    $("status").textContent = "";
    toast(error.message, true);
  }
}

function card(id, hit) {
  const image = element("img", {src: `${id}/${hit.number}.jpg`, loading: "lazy", alt: ""});
  const screen = element("button", {type: "button", class: "screen", "aria-label": `play ${hit.name} at ${clock(hit.peak_s)}`}, image);
  screen.addEventListener("click", () => play(id, hit, screen), {once: true});
  const where = element("b", {title: hit.video}, hit.name);
  const range = ` ${clock(hit.start_s)}–${clock(hit.end_s)}`;
  const facts = [`similarity ${hit.score.toFixed(3)}`];
  if (hit.probability !== null) facts.push(`probability ${hit.probability.toFixed(3)}`);
  if (hit.label !== null) facts.push(hit.label ? "labelled suspicious" : "labelled not suspicious");
  if (hit.rejected) facts.push("rejected");
  const like = element("button", {type: "button"}, "Find similar");
  like.addEventListener("click", () => search({origin: hit.origin.replace(/\+[\d.]+s$/, "")}));
  const node = element("article", {class: hit.rejected ? "hit rejected" : "hit"}, screen,
    element("p", {}, where, range, element("br"), element("span", {class: "hint"}, facts.join(", "))));
  const answers = [["suspicious", "Suspicious"], ["not", "Not"], ["unsure", "Unsure"]].map(([answer, text]) => {
    const button = element("button", {type: "button", "data-answer": answer}, text);
    button.addEventListener("click", () => judge(id, hit, answer, node));
    return button;
  });
  node.append(element("div", {class: "row"}, ...answers, like));
  return node;
}

function play(id, hit, screen) {
  const video = element("video", {controls: "", playsinline: "", "aria-label": hit.name});
  video.muted = true;
  video.src = `${id}/${hit.number}.mp4#t=${Math.max(0, hit.peak_s - hit.clip.start_s - 1).toFixed(2)}`;
  video.addEventListener("error", async () => {
    const url = video.getAttribute("src").replace(/#.*/, "");
    const reason = await api.get(url).then(() => "this browser does not support H.264", (error) => error.message);
    toast(`the clip cannot be played: ${reason}`, true);
  });
  screen.replaceChildren(video);
  video.play().catch(() => {});
}

async function judge(id, hit, answer, node) {
  try {
    await api.post(`${id}/${hit.number}/verdict`, {answer, reviewer: $("reviewer").value});
    for (const button of node.querySelectorAll("[data-answer]")) {
      button.classList.toggle("given", button.dataset.answer === answer);
    }
    toast(`${hit.name} ${clock(hit.start_s)}–${clock(hit.end_s)}: ${answer}`);
  } catch (error) {
    toast(error.message, true);
  }
}

async function upload(file) {
  $("status").textContent = "uploading the picture …";
  try {
    const headers = {"Content-Type": "application/octet-stream", "X-CSRF-Token": meta("csrf")};
    const {picture} = await api.read(await fetch("picture", {method: "POST", headers, body: file}));
    $("origin").value = "";
    await search({picture});
  } catch (error) {
    $("status").textContent = "";
    toast(error.message, true);
  }
}

$("reviewer").value = meta("reviewer");
try { $("reviewer").value = localStorage.getItem("reviewer") || meta("reviewer"); } catch { /* keeps the default name */ }
$("ask").addEventListener("submit", (event) => {
  event.preventDefault();
  const origin = $("origin").value.trim();
  if (origin) search({origin});
  else if (lastExample) search({...lastExample});
});
$("picture").addEventListener("change", () => { if ($("picture").files[0]) upload($("picture").files[0]); });
if (given.has("moment")) search({moment: Number(given.get("moment"))});
else if (given.has("second")) search({video: Number(given.get("video")), second: Number(given.get("second"))});
else if (given.has("origin")) search({origin: given.get("origin")});
