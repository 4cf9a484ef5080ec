"use strict";
// The chart below the player: probability over time, incidents, labels, verdicts, and the current position.

class TimelineView {
  constructor(canvas, onSeek) {
    this.canvas = canvas;
    this.data = null;
    this.moment = null;
    this.now = 0;
    canvas.addEventListener("click", (event) => {
      if (this.data) onSeek(this.secondAt(event.offsetX));
    });
    new ResizeObserver(() => this.draw()).observe(canvas);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.draw());
  }

  show(data, moment) {
    this.data = data;
    this.moment = moment;
    this.canvas.setAttribute("aria-valuemax", Math.round(data.duration_s));
    this.draw();
  }

  move(second) {
    if (Math.abs(second - this.now) < 0.04) return;
    this.now = second;
    this.canvas.setAttribute("aria-valuenow", Math.round(second));
    this.draw();
  }

  get span() { return Math.max(this.data.duration_s, this.data.period_s); }
  secondAt(x) { return Math.min(Math.max(x / this.canvas.clientWidth, 0), 1) * this.span; }

  draw() {
    const {canvas, data} = this;
    if (!data || !canvas.clientWidth) return;
    const scale = devicePixelRatio || 1, width = canvas.clientWidth, height = canvas.clientHeight;
    canvas.width = width * scale;
    canvas.height = height * scale;
    const context = canvas.getContext("2d"), style = getComputedStyle(canvas);
    const color = (name) => style.getPropertyValue(`--${name}`);
    const x = (second) => second / this.span * width, foot = height - 22;
    const y = (probability) => foot - probability * (foot - 4);
    context.scale(scale, scale);
    const box = (from, to, top, high, fill) => {
      context.fillStyle = fill;
      context.fillRect(x(from), top, Math.max(x(to) - x(from), 1.5), high);
    };
    for (const incident of data.incidents) box(incident.start_s, incident.end_s, 0, foot, color("incident"));
    if (this.moment) box(this.moment.start_s, this.moment.end_s, 0, foot, color("current"));
    this.drawCurve(context, x, y, foot, color);
    for (const segment of data.verdicts) box(segment.start_s, segment.end_s, foot + 2, 6, color(segment.state));
    for (const [from, to, label] of data.labels) box(from, to, foot + 10, 3, color(label ? "suspicious" : "not"));
    context.fillStyle = color("muted");
    context.font = "10px system-ui";
    const step = [1, 5, 10, 30, 60, 300, 600, 1800, 3600, 7200].find((s) => this.span / s <= width / 70) || 21600;
    for (let second = 0; second <= this.span; second += step) {
      const room = context.measureText(clock(second)).width;
      if (x(second) + room < width) context.fillText(clock(second), x(second), height - 1);
    }
    context.fillStyle = color("cursor");
    context.fillRect(x(this.now) - 1, 0, 2, foot + 8);
  }

  drawCurve(context, x, y, foot, color) {
    const {times_s: times, prob2, period_s: period} = this.data;
    context.beginPath();
    times.forEach((second, i) => {
      const gap = i > 0 && second - times[i - 1] > 3 * Math.max(period, this.span / 1000);
      if (i === 0 || gap) context.moveTo(x(second), y(prob2[i])); else context.lineTo(x(second), y(prob2[i]));
      context.lineTo(x(Math.min(second + period, times[i + 1] ?? second + period)), y(prob2[i]));
    });
    context.strokeStyle = color("probability");
    context.lineWidth = 1.5;
    context.stroke();
    context.setLineDash([3, 3]);
    context.beginPath();
    context.moveTo(0, y(this.data.threshold));
    context.lineTo(x(this.span), y(this.data.threshold));
    context.strokeStyle = color("muted");
    context.lineWidth = 1;
    context.stroke();
    context.setLineDash([]);
  }
}
