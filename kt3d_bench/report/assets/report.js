"use strict";
(() => {
  const all = (selector, from = document) => [...from.querySelectorAll(selector)];
  const TURN = 10, ZOOM = 1.15, NEAREST = 0.6, FARTHEST = 5;
  const VIEWS = { front: [0, 4], side: [90, 4], top: [0, 85] };
  const FIRST = { azimuth: 20, elevation: 10, distance: 1.6 };

  document.addEventListener("DOMContentLoaded", () => {
    all(".panel").forEach(readable);
    all(".samples").forEach((section) => new Samples(section));
  });

  function readable(panel) {
    const drawing = panel.querySelector("svg");
    const dot = drawing.querySelector(".at");
    const output = panel.querySelector(".read");
    const last = output.textContent;
    const steps = panel.dataset.steps.split(" ");
    const values = panel.dataset.values.split(" ");
    const points = drawing.querySelector(".raw").getAttribute("points").split(" ").map((pair) => pair.split(",").map(Number));
    drawing.addEventListener("pointermove", (event) => {
      const box = drawing.getBoundingClientRect();
      const x = (event.clientX - box.left) * drawing.viewBox.baseVal.width / box.width;
      let near = 0;
      points.forEach((point, place) => { if (Math.abs(point[0] - x) < Math.abs(points[near][0] - x)) near = place; });
      dot.setAttribute("cx", points[near][0]);
      dot.setAttribute("cy", points[near][1]);
      output.textContent = `${values[near]} at ${steps[near]}`;
    });
    drawing.addEventListener("pointerleave", () => { output.textContent = last; dot.setAttribute("cx", -9); });
  }

  function drawable() {
    const canvas = document.createElement("canvas");
    return Boolean(canvas.getContext("webgl2") || canvas.getContext("webgl"));
  }

  let library = null;
  function plotly() {
    library ??= (async () => {
      const packed = Uint8Array.from(atob(document.getElementById("plotly").textContent), (char) => char.charCodeAt(0));
      const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
      const script = document.createElement("script");
      script.textContent = await new Response(stream).text();
      document.head.append(script);
      if (!globalThis.Plotly) throw new Error("the 3D library did not start");
      return globalThis.Plotly;
    })();
    return library;
  }

  class Samples {
    constructor(section) {
      this.section = section;
      this.poses = JSON.parse(section.querySelector(".poses").textContent);
      this.tabs = all("[role=tab]", section);
      this.panels = all(".sample", section);
      this.camera = { ...FIRST };
      this.align = "measured";
      this.plot = null;
      this.place = 0;
      this.tabs.forEach((tab, place) => {
        tab.addEventListener("click", () => this.show(place));
        tab.addEventListener("keydown", (event) => this.move(event, place));
      });
      this.panels.forEach((panel) => this.prepare(panel));
      all("[data-show]", section).forEach((box) => box.addEventListener("change", () => {
        section.classList.toggle(`hide-${box.dataset.show}`, !box.checked);
        this.draw();
      }));
      section.querySelector("[data-align]")?.addEventListener("change", (event) => { this.align = event.target.value; this.draw(); });
      all("[data-view]", section).forEach((button) => button.addEventListener("click", () => this.look(button.dataset.view)));
      new MutationObserver(() => this.draw()).observe(document.documentElement, { attributeFilter: ["data-theme"] });
      matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.draw());
      this.seen = new IntersectionObserver((entries) => { if (entries.some((one) => one.isIntersecting)) this.start(); }, { rootMargin: "150px" });
      this.show(0);
    }

    prepare(panel) {
      const readout = panel.querySelector(".readout");
      const rows = all(".joints-list tbody tr", panel);
      const point = (event) => {
        const dot = event.target.closest?.("circle");
        if (dot) readout.textContent = dot.querySelector("title").textContent;
      };
      const drawings = all(".over", panel);
      drawings.forEach((drawing) => { drawing.addEventListener("pointerover", point); drawing.addEventListener("click", point); });
      const names = this.poses.joints;
      rows.forEach((row, joint) => {
        const mark = (on) => {
          row.classList.toggle("on", on);
          drawings.forEach((drawing) => all("circle", drawing).forEach((dot) => {
            if (dot.querySelector("title").textContent.split(",")[0] === names[joint]) dot.classList.toggle("on", on);
          }));
        };
        row.addEventListener("pointerenter", () => mark(true));
        row.addEventListener("pointerleave", () => mark(false));
      });
      panel.querySelector(".stage3d").addEventListener("keydown", (event) => this.key(event));
    }

    move(event, place) {
      const last = this.tabs.length - 1;
      const next = { ArrowRight: place === last ? 0 : place + 1, ArrowLeft: place === 0 ? last : place - 1, Home: 0, End: last }[event.key];
      if (next === undefined) return;
      event.preventDefault();
      this.show(next);
      this.tabs[next].focus();
    }

    show(place) {
      this.place = place;
      this.tabs.forEach((tab, at) => { tab.setAttribute("aria-selected", at === place); tab.tabIndex = at === place ? 0 : -1; });
      this.panels.forEach((panel, at) => { panel.hidden = at !== place; });
      this.stage = this.panels[place].querySelector(".stage3d");
      this.seen.disconnect();
      this.seen.observe(this.stage);
      if (this.plot) this.start();
    }

    async start() {
      const stage = this.stage;
      try {
        if (!this.plot) {
          if (!drawable()) throw new Error("no WebGL");
          this.say(stage, "Starting the 3D view …");
          await plotly();
          if (!this.plot) {
            this.plot = document.createElement("div");
            this.plot.className = "plot";
          }
        }
        if (this.plot.parentNode !== this.stage) {
          all(".flats", this.section).forEach((flats) => { flats.hidden = this.stage.contains(flats); });
          this.stage.append(this.plot);
        }
        await this.draw();
        this.say(stage, "");
      } catch (error) {
        all(".flats", this.section).forEach((flats) => { flats.hidden = false; });
        this.plot?.remove();
        this.plot = null;
        this.seen.disconnect();
        this.say(stage, "This browser cannot show the 3D view; the drawings are of the same poses.");
      }
    }

    say(stage, words) {
      let line = stage.querySelector(".said");
      if (!line) { line = document.createElement("p"); line.className = "said"; line.setAttribute("role", "status"); stage.append(line); }
      line.textContent = words;
    }

    look(view) {
      if (view === "in" || view === "out") this.zoom(view === "in" ? 1 / ZOOM : ZOOM);
      else [this.camera.azimuth, this.camera.elevation] = VIEWS[view];
      this.aim();
    }

    zoom(factor) { this.camera.distance = Math.min(FARTHEST, Math.max(NEAREST, this.camera.distance * factor)); }

    key(event) {
      const { key } = event;
      if (event.ctrlKey || event.metaKey || event.altKey) return;
      if (key === "ArrowLeft" || key === "ArrowRight") this.camera.azimuth = (this.camera.azimuth + (key === "ArrowLeft" ? -TURN : TURN)) % 360;
      else if (key === "ArrowUp" || key === "ArrowDown") this.camera.elevation = Math.max(-89, Math.min(89, this.camera.elevation + (key === "ArrowUp" ? TURN : -TURN)));
      else if (key === "+" || key === "=") this.zoom(1 / ZOOM);
      else if (key === "-") this.zoom(ZOOM);
      else if (key === "0" || key === "Home") this.camera = { azimuth: 0, elevation: 0, distance: FIRST.distance };
      else return;
      event.preventDefault();
      this.aim();
    }

    eye() {
      const { azimuth, elevation, distance } = this.camera;
      const [a, e] = [azimuth, elevation].map((angle) => angle * Math.PI / 180);
      return { x: distance * Math.cos(e) * Math.sin(a), y: -distance * Math.cos(e) * Math.cos(a), z: distance * Math.sin(e) };
    }

    aim() {
      this.note();
      if (this.plot?.isConnected && globalThis.Plotly) globalThis.Plotly.relayout(this.plot, { "scene.camera": this.plotted() });
    }

    plotted() { return { eye: this.eye(), up: { x: 0, y: 0, z: 1 }, center: { x: 0, y: 0, z: 0 } }; }

    note() {
      const { azimuth, elevation, distance } = this.camera;
      this.stage.dataset.camera = [azimuth, elevation, distance].map((value) => value.toFixed(1)).join(" ");
    }

    turned(event) {
      const eye = event["scene.camera"]?.eye;
      if (!eye) return;
      const distance = Math.hypot(eye.x, eye.y, eye.z);
      this.camera = { azimuth: Math.atan2(eye.x, -eye.y) * 180 / Math.PI, elevation: Math.asin(eye.z / distance) * 180 / Math.PI, distance };
      this.note();
    }

    colour(name) {
      const probe = document.createElement("i");
      probe.className = name;
      this.section.append(probe);
      const found = getComputedStyle(probe).color;
      probe.remove();
      return found;
    }

    async draw() {
      if (!this.plot?.isConnected) return;
      const { joints, parents, left, samples } = this.poses;
      const sample = samples[this.place];
      const shown = { true: sample.true, pred: sample[this.align] };
      const up = (joint) => (joint ? [joint[0], joint[2], -joint[1]] : null);
      const poses = { true: (shown.true ?? []).map(up), pred: shown.pred.map(up) };
      const isLeft = new Set(left);
      const traces = [];
      const ink = getComputedStyle(this.stage).color;
      const [soft, faint] = [this.colour("mute"), this.colour("k-line")];
      for (const kind of ["true", "pred"]) {
        if (!shown[kind] || this.section.classList.contains(`hide-${kind}`)) continue;
        const pose = poses[kind];
        for (const side of [false, true]) {
          const ends = parents.map((parent, child) => [child, parent]).filter(([child, parent]) => parent >= 0 && isLeft.has(child) === side && pose[child] && pose[parent]);
          const path = ends.flatMap(([child, parent]) => [pose[child], pose[parent], [null, null, null]]);
          traces.push({ ...line(path), hoverinfo: "skip", line: { width: 7, color: this.colour(`k-${kind}${side ? " left" : ""}`) } });
        }
        const known = joints.map((_, joint) => joint).filter((joint) => pose[joint]);
        traces.push({
          ...line(known.map((joint) => pose[joint])), mode: "markers", marker: { size: 3.5, color: this.colour(`k-${kind}`) }, hoverinfo: "text",
          text: known.map((joint) => `${joints[joint]}, ${kind === "true" ? "true" : "predicted"}${(sample.errors?.[joint] ?? null) === null ? "" : `<br>${sample.errors[joint]} mm off as measured`}`),
        });
      }
      if (!["true", "pred"].some((kind) => this.section.classList.contains(`hide-${kind}`))) {
        const gaps = joints.flatMap((_, joint) => (poses.true[joint] && poses.pred[joint] ? [poses.true[joint], poses.pred[joint], [null, null, null]] : []));
        traces.push({ ...line(gaps), hoverinfo: "skip", line: { width: 1.5, color: soft, dash: "dot" } });
      }
      const [ranges, centre] = cube([...poses.true, ...poses.pred].filter(Boolean));
      const axis = (title, range) => ({ title: { text: title }, range, showbackground: false, gridcolor: faint, zeroline: false, nticks: 5, color: soft, showspikes: false });
      const layout = {
        margin: { l: 0, r: 0, t: 0, b: 0 }, showlegend: false, paper_bgcolor: "rgba(0,0,0,0)", font: { color: ink, size: 11 }, hoverlabel: { align: "left" },
        scene: { aspectmode: "cube", dragmode: "turntable", camera: this.plotted(), xaxis: axis("right", ranges[0]), yaxis: axis("away", ranges[1]), zaxis: axis("up", ranges[2]) },
      };
      const fresh = !this.plot.data;
      await globalThis.Plotly.react(this.plot, traces, layout, { displayModeBar: false, responsive: true, scrollZoom: false, doubleClick: false });
      if (fresh) this.plot.on("plotly_relayout", (event) => this.turned(event));
      this.note();
      this.stage.dataset.drawn = `${this.place} ${this.align} ${centre}`;
    }
  }

  function line(points) {
    return { type: "scatter3d", mode: "lines", x: points.map((point) => point[0]), y: points.map((point) => point[1]), z: points.map((point) => point[2]) };
  }

  function cube(points) {
    const axes = [0, 1, 2].map((axis) => points.map((point) => point[axis]));
    const lows = axes.map((values) => Math.min(...values, 0));
    const highs = axes.map((values) => Math.max(...values, 0));
    const half = Math.max(300, ...lows.map((low, axis) => (highs[axis] - low) / 2)) * 1.08;
    const centres = lows.map((low, axis) => (low + highs[axis]) / 2);
    return [centres.map((centre) => [centre - half, centre + half]), centres.map(Math.round)];
  }
})();
