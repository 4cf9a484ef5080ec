"use strict";
// Requests and helpers for all pages.

const $ = (id) => document.getElementById(id);
const meta = (name) => document.querySelector(`meta[name=${name}]`).content;

const api = {
  async get(path, options) {
    return api.read(await fetch(path, options));
  },
  async post(path, body) {
    const headers = {"Content-Type": "application/json", "X-CSRF-Token": meta("csrf")};
    return api.read(await fetch(path, {method: "POST", headers, body: JSON.stringify(body)}));
  },
  async read(response) {
    const body = await response.json().catch(() => ({}));
    if (!response.ok) throw new Error(body.error || `the server responded with status ${response.status}`);
    return body;
  },
};

function clock(seconds) {
  const whole = Math.floor(seconds + 1e-6), pad = (n) => String(n).padStart(2, "0");
  const minutes = Math.floor(whole / 60) % 60, hours = Math.floor(whole / 3600);
  return (hours ? `${hours}:${pad(minutes)}` : `${minutes}`) + `:${pad(whole % 60)}`;
}

// "1:02:03", "2:03" or "123" -> seconds.
function seconds(text) {
  if (!/^\d+(:\d+){0,2}(\.\d+)?$/.test(text.trim())) return text;
  return String(text.trim().split(":").reduce((sum, part) => sum * 60 + Number(part), 0));
}

function element(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name === "class") node.className = value; else node.setAttribute(name, value);
  }
  node.append(...children);
  return node;
}

let toastTimer = 0;
function toast(text, bad = false) {
  $("toast").textContent = text;
  $("toast").className = bad ? "bad" : "";
  $("toast").hidden = false;
  clearTimeout(toastTimer);
  toastTimer = setTimeout(() => { $("toast").hidden = true; }, bad ? 8000 : 2500);
}
