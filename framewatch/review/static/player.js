"use strict";
// Plays the clip of a moment from a few seconds before its peak, and then repeats the incident.

class Player {
  constructor(video, onTime) {
    this.video = video;
    this.onTime = onTime;
    this.clip = null;
    this.loop = null;
    const tick = () => { this.tick(); requestAnimationFrame(tick); };
    requestAnimationFrame(tick);
    video.addEventListener("ended", () => this.again());
    video.addEventListener("loadeddata", () => notice(""));
    video.addEventListener("error", () => this.failed());
    for (const name of ["play", "pause"]) {
      video.addEventListener(name, () => { $("play").textContent = video.paused ? "Play" : "Pause"; });
    }
  }

  // The second of the source on the screen; until the clip has loaded, that of the poster.
  get second() {
    if (!this.clip) return 0;
    return this.video.readyState < 2 ? this.pictured : this.clip.start_s + this.video.currentTime;
  }

  show(moment) {
    this.loop = {start_s: moment.start_s, end_s: moment.end_s};
    this.first = Math.max(moment.clip.start_s, moment.peak_s - moment.lead_s);
    this.pictured = moment.peak_s;
    if (this.clip && this.clip.url === moment.clip.url && this.video.readyState >= 2) {
      this.video.currentTime = this.first - this.clip.start_s;
      this.play();
      return;
    }
    this.video.removeAttribute("src");
    this.video.load();
    this.video.poster = `posters/${moment.id}.jpg?v=${state.ranking}`;
    this.load(moment.clip, this.first, 150);  // no request for a moment that is only passed by
  }

  load(clip, second, delay = 0) {
    this.clip = clip;
    notice("creating the clip …");
    clearTimeout(this.waiting);
    this.waiting = setTimeout(() => {
      this.video.src = clip.url;
      this.video.addEventListener("loadedmetadata", () => {
        this.video.currentTime = Math.max(0, second - clip.start_s);
        this.video.playbackRate = Number($("speed").value);
        this.play();
      }, {once: true});
    }, delay);
  }

  play() { this.video.play().catch(() => {}); }  // fails if a newer clip replaced it

  toggle() { if (this.video.paused) this.play(); else this.video.pause(); }

  seek(second) {
    if (!this.clip) return;
    const inside = second >= this.clip.start_s && second < this.clip.end_s;
    if (inside) {
      this.video.currentTime = second - this.clip.start_s;
      return;
    }
    const start = Math.max(0, Math.floor(second) - 5), end = Math.floor(second) + 20;
    const url = `clips/${this.moment_video}/${start.toFixed(3)}-${end.toFixed(3)}.mp4?v=${state.ranking}`;
    this.loop = {start_s: start, end_s: end};
    this.pictured = second;
    this.video.removeAttribute("poster");
    this.load({url, start_s: start, end_s: end}, second);
  }

  step(by) { this.seek(Math.max(0, this.second + by)); }

  again() {
    if (!this.loop || !this.clip) return;
    this.video.currentTime = Math.max(0, this.loop.start_s - this.clip.start_s);
    this.play();
  }

  tick() {
    if (!this.clip || this.video.readyState < 2) return;
    if (!this.video.paused && this.second >= this.loop.end_s + 1) this.again();
    this.onTime(this.second);
  }

  async failed() {
    if (!this.video.getAttribute("src")) return;
    const url = this.video.getAttribute("src");
    const reason = await api.get(url).then(() => "this browser does not support H.264", (error) => error.message);
    if (url !== this.video.getAttribute("src")) return;  // a newer clip replaced it
    if (reason.includes("try again")) this.load(this.clip, this.pictured, 1000); else notice(`the clip cannot be played: ${reason}`);
  }
}

function notice(text) {
  $("notice").textContent = text;
  $("notice").hidden = !text;
}
