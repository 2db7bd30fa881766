"use strict";
document.addEventListener("DOMContentLoaded", () => {
  const stage = document.querySelector(".turning");
  const slider = stage.querySelector("input");
  const button = stage.querySelector("button");
  const limbs = [...stage.querySelectorAll("path[data-ends]")].map((path) => [path, path.dataset.ends.split(" ").map(Number)]);
  const DEGREES_PER_MS = 0.02;
  const DEGREES_PER_PX = 0.7;
  let angle = 0;
  let wanted = !matchMedia("(prefers-reduced-motion: reduce)").matches;
  let seen = false;
  let last = 0;
  let frame = 0;

  function turn(degrees) {
    angle = ((degrees + 180) % 360 + 360) % 360 - 180;
    slider.value = Math.round(angle);
    slider.setAttribute("aria-valuetext", `${slider.value} degrees`);
    const [cos, sin] = [Math.cos(angle * Math.PI / 180), Math.sin(angle * Math.PI / 180)];
    limbs.forEach(([path, ends]) => {
      let drawn = "";
      for (let at = 0; at < ends.length; at += 3) {
        drawn += `${at % 6 ? "L" : "M"}${Math.floor(ends[at] * cos + ends[at + 2] * sin + 0.5)} ${ends[at + 1]}`;
      }
      path.setAttribute("d", drawn);
    });
  }
  function step(now) {
    turn(angle + Math.min(now - last, 100) * DEGREES_PER_MS);
    last = now;
    frame = requestAnimationFrame(step);
  }
  function run() {
    cancelAnimationFrame(frame);
    frame = 0;
    button.textContent = wanted ? "Stop" : "Turn";
    if (!wanted || !seen) return;
    last = performance.now();
    frame = requestAnimationFrame(step);
  }
  function hold(degrees) {
    wanted = false;
    run();
    turn(degrees);
  }

  slider.addEventListener("input", () => hold(Number(slider.value)));
  button.addEventListener("click", () => { wanted = !wanted; run(); });
  stage.addEventListener("pointerdown", (event) => {
    const pose = event.target.closest(".turned-pose");
    if (!pose || event.button !== 0) return;
    const [from, start] = [event.clientX, angle];
    const move = (moved) => hold(start + (moved.clientX - from) * DEGREES_PER_PX);
    const end = () => {
      removeEventListener("pointermove", move);
      removeEventListener("pointerup", end);
      removeEventListener("pointercancel", end);
    };
    addEventListener("pointermove", move);
    addEventListener("pointerup", end);
    addEventListener("pointercancel", end);
  });
  new IntersectionObserver((entries) => { seen = entries.at(-1).isIntersecting; run(); }).observe(stage);
});
