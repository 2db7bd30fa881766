"use strict";
(() => {
  const root = document.documentElement;
  root.classList.add("js");

  const kept = {
    read() { try { return localStorage.getItem("kt3d-theme"); } catch { return null; } },
    write(value) { try { localStorage.setItem("kt3d-theme", value); } catch { /* a browser may refuse to keep it */ } },
  };
  const chosen = kept.read();
  if (chosen === "light" || chosen === "dark") root.dataset.theme = chosen;

  const all = (selector, from = document) => [...from.querySelectorAll(selector)];

  document.addEventListener("DOMContentLoaded", () => {
    const address = new URLSearchParams(location.search);
    const said = document.getElementById("said");
    const say = (words) => { said.textContent = words; };

    theme();
    all("table.board").forEach(labelled);
    all("table.sortable").forEach((table, place) => sortable(table, place));
    filters(say);
    all(".command pre").forEach((code) => {
      const button = document.createElement("button");
      Object.assign(button, { type: "button", className: "quiet copy", textContent: "Copy" });
      code.after(button);
      copying(button, say);
    });
    curves();
    figure();
    unfold();
    addEventListener("hashchange", unfold);

    function theme() {
      const button = document.querySelector(".theme");
      const system = matchMedia("(prefers-color-scheme: dark)");
      const dark = () => (root.dataset.theme ? root.dataset.theme === "dark" : system.matches);
      const show = () => { button.textContent = dark() ? "Light" : "Dark"; button.setAttribute("aria-label", `Switch to ${dark() ? "light" : "dark"} colours`); };
      button.addEventListener("click", () => { root.dataset.theme = dark() ? "light" : "dark"; kept.write(root.dataset.theme); show(); });
      system.addEventListener("change", show);
      show();
    }

    function remember(name, value) {
      if (value) address.set(name, value); else address.delete(name);
      const query = address.toString();
      try { history.replaceState(null, "", `${location.pathname}${query ? `?${query}` : ""}${location.hash}`); } catch { /* a browser may forbid it */ }
    }

    function labelled(table) {
      const titles = all("thead th", table).map((head) => head.textContent.trim().replace(/\s+/g, " "));
      all(".main > .number:not([data-label])", table).forEach((cell) => { cell.dataset.label = titles[cell.cellIndex]; });
    }

    function sortable(table, place) {
      const heads = all("thead th", table);
      const named = `sort${place || ""}`;
      const title = (head) => head.querySelector(".sort span").firstChild.textContent.trim();
      const by = (head, direction) => {
        heads.forEach((other) => other.removeAttribute("aria-sort"));
        head.setAttribute("aria-sort", direction);
        sort(table, heads.indexOf(head), head.dataset.type === "number", direction === "ascending" ? 1 : -1);
      };
      const start = heads.find((head) => head.ariaSort);
      heads.forEach((head, column) => head.querySelector(".sort")?.addEventListener("click", () => {
        const first = head.dataset.better === "higher" ? "descending" : "ascending";
        const turned = first === "ascending" ? "descending" : "ascending";
        const direction = head.getAttribute("aria-sort") === first ? turned : first;
        by(head, direction);
        remember(named, head === start && direction === first ? "" : `${column}-${direction}`);
        say(`Sorted by ${title(head)}, ${direction}`);
      }));
      const [column, direction] = (address.get(named) || "").split("-");
      if (/^(as|des)cending$/.test(direction) && heads[column]?.querySelector(".sort")) by(heads[column], direction);
    }

    function sort(table, column, numeric, sign) {
      const key = (item) => {
        const cell = (item.rows ? item.rows[0] : item).cells[column];
        const text = cell.dataset.sort ?? cell.textContent.trim();
        return numeric ? (text === "" ? NaN : parseFloat(text)) : text.toLowerCase();
      };
      const empty = (value) => value === "" || value === "–" || Number.isNaN(value);
      const bodies = [...table.tBodies].filter((body) => body.classList.contains("item"));
      const tracks = all("tbody.track", table);
      const parts = bodies.length
        ? tracks.map((head) => [head, bodies.filter((body) => body.dataset.track === head.dataset.track)])
        : [[null, [...table.tBodies[0].rows]]];
      parts.forEach(([head, items]) => {
        const home = items[0]?.parentNode;
        const keyed = items.map((item) => [key(item), item]);
        keyed.sort(([a], [b]) => {
          if (empty(a) || empty(b)) return empty(a) - empty(b);
          return sign * (numeric ? a - b : a.localeCompare(b, "en", { numeric: true }));
        });
        if (head) home.append(head);
        keyed.forEach(([, item]) => home.append(item));
      });
    }

    function ranks() {
      all("table.board").forEach((table) => all("tbody.track", table).forEach((head) => {
        const own = all("tbody.item", table).filter((item) => item.dataset.track === head.dataset.track);
        const shown = own.filter((item) => !item.hidden);
        head.hidden = own.length > 0 && shown.length === 0;
        const places = shown.map((item) => item.dataset.rank).filter(Boolean).map(Number);
        shown.filter((item) => item.dataset.rank).forEach((item) => {
          const rank = Number(item.dataset.rank);
          const ties = places.filter((other) => other === rank).length;
          item.querySelector(".rank").textContent = `${1 + places.filter((other) => other < rank).length}${ties > 1 ? "=" : ""}`;
        });
      }));
    }

    function filters() {
      const form = document.querySelector("form.filters");
      if (!form) return;
      const items = all("[data-item]");
      const texts = new Map(items.map((item) => [item, item.dataset.text ?? item.rows[0].textContent.toLowerCase()]));
      const count = form.querySelector(".count");
      const nothing = document.querySelector(".nothing");
      all("[name]", form).forEach((field) => {
        const value = address.get(field.name);
        if (value && (field.tagName !== "SELECT" || [...field.options].some((one) => one.value === value))) field.value = value;
      });
      const apply = () => {
        const fields = Object.fromEntries(new FormData(form));
        const words = fields.text.toLowerCase().split(/\s+/).filter(Boolean);
        const others = Object.keys(fields).filter((name) => name !== "text" && fields[name] !== "");
        let shown = 0;
        items.forEach((item) => {
          const fits = words.every((word) => texts.get(item).includes(word))
            && others.every((name) => item.dataset[name] === fields[name]);
          item.hidden = !fits;
          shown += fits;
        });
        const gone = new Set(items.filter((item) => item.hidden && item.id).map((item) => item.id));
        all("[data-of]:not([data-item])").forEach((part) => part.toggleAttribute("hidden", gone.has(part.dataset.of)));
        all("section[data-kind]").forEach((part) => { part.hidden = Boolean(fields.kind) && part.dataset.kind !== fields.kind; });
        count.textContent = `${shown === items.length ? shown : `${shown} of ${items.length}`} ${form.dataset.unit}`;
        if (nothing) nothing.hidden = shown > 0;
        ranks();
        Object.entries(fields).forEach(([name, value]) => { if ((address.get(name) || "") !== value) remember(name, value); });
      };
      form.addEventListener("input", apply);
      form.addEventListener("submit", (event) => event.preventDefault());
      apply();
    }

    function copying(button, tell) {
      const code = button.parentNode.querySelector("code");
      const done = (words) => { button.textContent = words; tell(words); setTimeout(() => { button.textContent = "Copy"; }, 2500); };
      button.addEventListener("click", async () => {
        try {
          await navigator.clipboard.writeText(code.textContent);
          done("Copied");
        } catch {
          const range = document.createRange();
          range.selectNodeContents(code);
          const selection = getSelection();
          selection.removeAllRanges();
          selection.addRange(range);
          done(document.execCommand("copy") ? "Copied" : "Selected: press Ctrl+C");
        }
      });
    }

    function curves() {
      const plot = document.querySelector("svg.curves");
      if (!plot) return;
      const TONES = 6;
      const slider = document.querySelector(".threshold input");
      const [left, right] = [plot.dataset.left, plot.dataset.right].map(Number);
      const lines = all(".curves-key tbody tr");
      const line = new Map(all("polyline", plot).map((one) => [one.dataset.of, one]));
      slider.addEventListener("input", () => {
        const at = Number(slider.value);
        plot.querySelector(".cursor").setAttribute("transform", `translate(${left + (right - left) * at / 150} 0)`);
        document.querySelector(".curves-key .at").textContent = at;
        slider.parentNode.querySelector("output").textContent = `${at} mm`;
        lines.forEach((row) => { row.querySelector(".pck").textContent = row.dataset.shares.split(" ")[at / 5]; });
      });
      const coloured = lines.map((row) => ({ row, tone: tone(row) })).filter((one) => one.tone !== null);
      function tone(row) {
        const found = [...row.querySelector(".curve").classList].find((name) => /^t\d$/.test(name));
        return found ? Number(found[1]) : null;
      }
      function paint(row, value) {
        [row.querySelector(".curve"), line.get(row.dataset.of)].forEach((part) => part.setAttribute("class", value === null ? "curve" : `curve t${value}`));
        row.querySelector(".pick").setAttribute("aria-pressed", value !== null);
        if (value !== null) plot.append(line.get(row.dataset.of));
      }
      lines.forEach((row) => row.querySelector(".pick").addEventListener("click", () => {
        const place = coloured.findIndex((one) => one.row === row);
        if (place >= 0) { paint(row, null); coloured.splice(place, 1); return; }
        if (coloured.length === TONES) paint(coloured.shift().row, null);
        const free = [...Array(TONES).keys()].find((value) => coloured.every((one) => one.tone !== value));
        coloured.push({ row, tone: free });
        paint(row, free);
      }));
    }

    function figure() {
      const person = document.querySelector(".person");
      if (!person) return;
      const table = document.querySelector(".figure-split table");
      const column = new Map(all("thead [data-joint]", table).map((head) => [head.dataset.joint, head.cellIndex]));
      table.addEventListener("change", (event) => {
        const row = event.target.closest("tr");
        all("[data-joint]", person).forEach((joint) => {
          const cell = row.cells[column.get(joint.dataset.joint)];
          joint.setAttribute("class", `joint ${cell?.className || "none"}`);
          joint.querySelector("text").textContent = cell ? cell.textContent : "–";
        });
        person.querySelector(".shown").textContent = row.querySelector("bdi").textContent;
      });
    }

    function unfold() {
      const item = document.getElementById(decodeURIComponent(location.hash.slice(1)));
      if (item?.classList.contains("item")) item.querySelector("details").open = true;
    }
  });
})();
