"use strict";
// The colors of the classes, and the chart of their scores over a video.

const COLORS = ["#4f7cf7", "#e8743b", "#19a979", "#b35ccf", "#d9a514", "#e0457b", "#2aa8c4", "#7d8a99"];
const colorOf = (number) => COLORS[number % COLORS.length];

class ScoresView {
  constructor(canvas, onSeek) {
    this.canvas = canvas;
    this.data = null;
    this.now = 0;
    canvas.addEventListener("click", (event) => {
      if (this.data) onSeek(event.offsetX / canvas.clientWidth * this.data.duration_s);
    });
    new ResizeObserver(() => this.draw()).observe(canvas);
  }

  // data: the response of the timeline request; colors: by class name.
  show(data, colors) {
    Object.assign(this, {data, colors, clip: null});
    this.draw();
  }

  mark(clip) {
    this.clip = clip;
    this.draw();
  }

  move(second) {
    if (Math.abs(second - this.now) < 0.05) return;
    this.now = second;
    this.draw();
  }

  draw() {
    const {canvas, data} = this;
    if (!data || !canvas.clientWidth) return;
    const scale = devicePixelRatio || 1, width = canvas.clientWidth, height = canvas.clientHeight, foot = height - 16;
    canvas.width = width * scale;
    canvas.height = height * scale;
    const context = canvas.getContext("2d"), style = getComputedStyle(canvas);
    const x = (second) => second / data.duration_s * width, y = (score) => foot - score / 100 * (foot - 4);
    context.scale(scale, scale);
    if (this.clip) {
      context.fillStyle = style.getPropertyValue("--current");
      context.fillRect(x(this.clip.start_s), 0, Math.max(2, x(this.clip.end_s) - x(this.clip.start_s)), foot);
    }
    for (const [name, curve] of Object.entries(data.classes)) {
      context.beginPath();
      curve.times_s.forEach((second, i) => {
        if (i) context.lineTo(x(second), y(curve.scores[i])); else context.moveTo(x(second), y(curve.scores[i]));
        context.lineTo(x(Math.min(curve.times_s[i + 1] ?? data.duration_s, data.duration_s)), y(curve.scores[i]));
      });
      context.strokeStyle = this.colors[name];
      context.lineWidth = 1.5;
      context.stroke();
    }
    context.setLineDash([3, 3]);
    context.beginPath();
    context.moveTo(0, y(data.threshold));
    context.lineTo(width, y(data.threshold));
    context.strokeStyle = context.fillStyle = style.getPropertyValue("--muted");
    context.lineWidth = 1;
    context.stroke();
    context.setLineDash([]);
    context.font = "10px system-ui";
    const step = [1, 5, 10, 30, 60, 300, 600, 1800, 3600].find((s) => data.duration_s / s <= width / 70) || 7200;
    for (let second = 0; x(second) + 24 < width; second += step) context.fillText(clock(second), x(second), height - 3);
    context.fillStyle = style.getPropertyValue("--cursor");
    context.fillRect(x(this.now) - 1, 0, 2, foot);
  }
}
