// The map to explore. Vega draws the points; search, panel, legend and colours are plain elements of the page.
// Names are only ever set as text.
const CATEGORIES = ["#0072b2", "#bf8000", "#009e73", "#d55e00", "#c46a9d", "#3590c9", "#8c6d46"];
const RAMP = ["#440154", "#3b528b", "#21918c", "#5ec962", "#fde725"]; // viridis
const UNKNOWN = "#8a939c";
const REACH = 18; // pixels from the pointer to the point that it means
const MOST_FOUND = 8;
const MINUS = "\u2212";

const dark = matchMedia("(prefers-color-scheme: dark)");

function element(tag, text, attributes = {}) {
  const made = document.createElement(tag);
  if (text !== undefined) made.textContent = text;
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  return made;
}

function formatted(cosine) {
  return (cosine / 1000).toFixed(2).replace("-", MINUS);
}

function mix(share) {
  const place = Math.min(Math.max(share, 0), 1) * (RAMP.length - 1);
  const low = Math.min(Math.floor(place), RAMP.length - 2);
  const [from, to] = [RAMP[low], RAMP[low + 1]].map((hex) => [1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16)));
  return `rgb(${from.map((value, channel) => Math.round(value + (place - low) * (to[channel] - value))).join(",")})`;
}

/** Range that all but a fiftieth of the numbers lie in, so that one outlier does not take all colours. */
function colourRange(values) {
  const sorted = values.filter((value) => value !== null).sort((a, b) => a - b);
  const at = (share) => sorted[Math.round(share * (sorted.length - 1))];
  const [low, high] = [at(0.01), at(0.99)];
  return high > low ? [low, high] : [sorted[0], sorted[sorted.length - 1]];
}

function painter(column) {
  if (column.kind === "levels") {
    return (index) => (column.values[index] < 0 ? UNKNOWN : CATEGORIES[column.values[index] % CATEGORIES.length]);
  }
  const [low, high] = colourRange(column.values);
  return (index) => (column.values[index] === null ? UNKNOWN : mix((column.values[index] - low) / (high - low || 1)));
}

const position = { x: { scale: "x", field: "x" }, y: { scale: "y", field: "y" } };

function frame(width, height) {
  return {
    $schema: "https://vega.github.io/schema/vega/v6.json",
    width,
    height,
    padding: 0,
    autosize: "none",
    scales: [
      { name: "x", domain: { signal: "xdom" }, range: "width", zero: false, nice: false },
      { name: "y", domain: { signal: "ydom" }, range: "height", zero: false, nice: false },
    ],
  };
}

/** All points, to be moved and zoomed. */
function scatter(points, size, width, height, domains) {
  const dragged = "[pointerdown, window:pointerup] > window:pointermove!";
  const zoomed = (axis) =>
    `[${axis}dom[0] + (anchor.${axis} - ${axis}dom[0]) * (1 - zoom), ${axis}dom[1] + (anchor.${axis} - ${axis}dom[1]) * (1 - zoom)]`;
  return {
    ...frame(width, height),
    signals: [
      { name: "down", value: null, on: [{ events: "pointerdown", update: "{xy: xy(), x: xdom, y: ydom}" }] },
      { name: "anchor", value: { x: 0, y: 0 }, on: [{ events: "wheel[event.ctrlKey || event.metaKey]", update: "{x: invert('x', x()), y: invert('y', y())}" }] },
      {
        name: "zoom",
        value: 1,
        on: [{ events: "wheel![event.ctrlKey || event.metaKey]", force: true, update: "clamp(pow(1.0015, event.deltaY * pow(16, event.deltaMode)), 0.5, 2)" }],
      },
      {
        name: "xdom",
        value: domains.x,
        on: [
          { events: dragged, update: "[down.x[0] - (x() - down.xy[0]) * span(down.x) / width, down.x[1] - (x() - down.xy[0]) * span(down.x) / width]" },
          { events: { signal: "zoom" }, update: zoomed("x") },
        ],
      },
      {
        name: "ydom",
        value: domains.y,
        on: [
          { events: dragged, update: "[down.y[0] + (y() - down.xy[1]) * span(down.y) / height, down.y[1] + (y() - down.xy[1]) * span(down.y) / height]" },
          { events: { signal: "zoom" }, update: zoomed("y") },
        ],
      },
    ],
    data: [{ name: "points", values: points }],
    marks: [
      {
        type: "symbol",
        from: { data: "points" },
        interactive: false,
        clip: true,
        encode: { enter: { size: { value: size } }, update: { ...position, fill: { field: "fill" }, fillOpacity: { value: 0.85 } } },
      },
    ],
  };
}

/** What is pointed at, its neighbours and partners: a layer of its own, so that pointing redraws no other points. */
function highlight(size, width, height, domains) {
  const ink = dark.matches ? "#e4e7ea" : "#1d2329";
  const paper = dark.matches ? "#15191d" : "#fcfcfb";
  return {
    ...frame(width, height),
    signals: [
      { name: "xdom", value: domains.x },
      { name: "ydom", value: domains.y },
    ],
    data: [
      { name: "links", values: [] },
      { name: "focus", values: [] },
    ],
    marks: [
      {
        type: "rule",
        from: { data: "links" },
        interactive: false,
        clip: true,
        encode: {
          update: {
            ...position,
            x2: { scale: "x", field: "x2" },
            y2: { scale: "y", field: "y2" },
            stroke: { value: ink },
            strokeOpacity: { value: 0.55 },
            strokeDash: { field: "dash" },
          },
        },
      },
      {
        type: "symbol",
        from: { data: "focus" },
        interactive: false,
        clip: true,
        encode: {
          update: {
            ...position,
            size: { signal: `datum.chosen ? ${size + 90} : ${size + 40}` },
            fill: { field: "fill" },
            stroke: { value: ink },
            strokeWidth: { signal: "datum.chosen ? 2.2 : 1.2" },
          },
        },
      },
      ...[3.5, 0].map((halo) => ({
        type: "text",
        from: { data: "focus" },
        interactive: false,
        clip: true,
        encode: {
          update: {
            ...position,
            text: { field: "name" },
            limit: { value: 160 },
            dy: { value: -9 },
            align: { signal: "scale('x', datum.x) > width * 0.8 ? 'right' : scale('x', datum.x) < width * 0.2 ? 'left' : 'center'" },
            font: { value: "system-ui, sans-serif" },
            fontSize: { signal: "datum.chosen ? 14 : 11" },
            fontWeight: { signal: "datum.chosen ? 700 : 400" },
            fill: { value: ink },
            stroke: { value: halo ? paper : null },
            strokeWidth: { value: halo },
            strokeJoin: { value: "round" },
          },
        },
      })),
    ],
  };
}

class Explorer {
  constructor(root) {
    this.root = root;
    this.data = JSON.parse(root.querySelector("script[type='application/json']").textContent);
    this.places = this.data.places;
    this.chosen = null;
    const [largestX, largestY] = [0, 1].map((axis) => Math.max(...this.places.map((place) => place[axis])));
    this.middle = [largestX / 2, largestY / 2];
    this.part = (name) => root.querySelector(`.${name}`);
    this.canvas = this.part("canvas");
    this.fillColours();
    this.listenToSearch();
    this.paint(0);
    this.draw();
    this.tell(null);
    dark.addEventListener("change", () => this.draw());
    let width = this.canvas.clientWidth;
    new ResizeObserver(() => {
      if (this.canvas.clientWidth !== width) {
        width = this.canvas.clientWidth;
        this.draw();
      }
    }).observe(this.canvas);
    for (const [name, factor] of [["closer", 0.7], ["farther", 1 / 0.7]]) {
      this.part(name).addEventListener("click", () => this.zoom(factor));
    }
    this.part("reset").addEventListener("click", () => {
      this.chosen = null;
      this.tell(null);
      this.draw();
    });
  }

  row(index) {
    return { x: this.places[index][0], y: this.places[index][1], fill: this.fill(index), index, name: this.data.names[index] };
  }

  async draw() {
    const width = Math.floor(this.canvas.clientWidth);
    const height = Math.round(Math.min(width, 620, 0.85 * innerHeight));
    const unit = (1.12 * Math.max(this.middle[0] / width, this.middle[1] / height) * 2);
    const around = (centre, extent) => [centre - (unit * extent) / 2, centre + (unit * extent) / 2];
    const domains = { x: around(this.middle[0], width), y: around(this.middle[1], height) };
    const size = Math.min(Math.max(24000 / this.places.length, 9), 70);
    const points = this.places.map((_, index) => this.row(index));
    this.view?.finalize();
    this.layer?.finalize();
    const options = { mode: "vega", renderer: "canvas", actions: false, tooltip: false };
    const embed = (name, drawn) => vegaEmbed(this.part(name), drawn, options);
    this.view = (await embed("points-layer", scatter(points, size, width, height, domains))).view;
    this.layer = (await embed("highlight-layer", highlight(size, width, height, domains))).view;
    for (const name of ["xdom", "ydom"]) {
      this.view.addSignalListener(name, (_, domain) => this.layer.signal(name, domain).runAsync());
    }
    this.listenToPointer();
    this.show(this.chosen);
    this.root.dataset.ready = "true";
  }

  zoom(factor) {
    for (const name of ["xdom", "ydom"]) {
      const [low, high] = this.view.signal(name);
      const [middle, half] = [(low + high) / 2, ((high - low) / 2) * factor];
      this.view.signal(name, [middle - half, middle + half]);
    }
    this.view.runAsync();
  }

  listenToPointer() {
    const surface = this.canvas.querySelector("canvas");
    let pressed = null;
    surface.addEventListener("pointermove", (event) => {
      if (event.buttons || event.pointerType === "touch") return;
      const index = this.closest(event, REACH);
      if (index !== null) this.tell(index);
      else this.tell(this.chosen);
    });
    surface.addEventListener("pointerleave", () => this.tell(this.chosen));
    surface.addEventListener("pointerdown", (event) => (pressed = [event.clientX, event.clientY]));
    surface.addEventListener("click", (event) => {
      if (pressed && Math.hypot(event.clientX - pressed[0], event.clientY - pressed[1]) > 4) return;
      this.choose(this.closest(event, 2 * REACH));
    });
  }

  closest(event, reach) {
    const [x, y] = [this.view.scale("x"), this.view.scale("y")];
    const box = event.currentTarget.getBoundingClientRect();
    const [left, top] = [event.clientX - box.left, event.clientY - box.top];
    let best = null;
    let least = reach * reach;
    for (let index = 0; index < this.places.length; index++) {
      const distance = (x(this.places[index][0]) - left) ** 2 + (y(this.places[index][1]) - top) ** 2;
      if (distance < least) [best, least] = [index, distance];
    }
    return best;
  }

  choose(index) {
    this.chosen = index;
    if (index !== null) this.bringIntoView(index);
    this.tell(index);
  }

  /** Moves the map, where a perturbation lies outside of what is seen of it. */
  bringIntoView(index) {
    ["xdom", "ydom"].forEach((name, axis) => {
      const [low, high] = this.view.signal(name);
      const [place, half] = [this.places[index][axis], (high - low) / 2];
      if (place < low || place > high) this.view.signal(name, [place - half, place + half]);
    });
    this.view.runAsync();
  }

  partners(index) {
    const flat = this.data.partners[index];
    return Array.from({ length: flat.length / 3 }, (_, at) => flat.slice(3 * at, 3 * at + 3));
  }

  show(index) {
    if (!this.layer) return;
    const focus = [];
    const links = [];
    if (index !== null) {
      const own = this.row(index);
      const near = this.data.neighbours[index];
      const known = this.partners(index).map(([partner]) => partner);
      const link = (other, dash) => links.push({ x: own.x, y: own.y, x2: this.places[other][0], y2: this.places[other][1], dash });
      near.forEach((other) => link(other, [1, 0]));
      known.forEach((other) => link(other, [3, 4]));
      for (const other of new Set([...near, ...known])) focus.push({ ...this.row(other), chosen: false });
      focus.push({ ...own, chosen: true });
    }
    this.layer.data("links", links).data("focus", focus).runAsync();
  }

  tell(index) {
    if (index === this.told && index !== undefined) return;
    this.told = index;
    this.show(index);
    const panel = this.part("detail");
    panel.replaceChildren();
    if (index === null) {
      panel.append(element("p", "Point at a perturbation, or search for one, to see its nearest neighbours and known partners.", { class: "hint" }));
      return;
    }
    const { names, neighbours, cosines, columns, sources, partnerCounts } = this.data;
    panel.append(element("h3", names[index]));
    const facts = element("dl");
    for (const column of columns) {
      const value = column.values[index];
      const absent = value === null || (column.kind === "levels" && value < 0);
      const text = absent ? "\u2013" : column.kind === "levels" ? column.levels[value] : String(value).replace("-", MINUS);
      const pair = element("div");
      pair.append(element("dt", column.name), element("dd", text));
      facts.append(pair);
    }
    const known = new Map(this.partners(index).map(([partner, source]) => [partner, sources[source]]));
    panel.append(facts, element("h4", "Nearest neighbours"));
    panel.append(this.list(neighbours[index].map((other, at) => [other, cosines[index][at], known.has(other) ? "known" : ""])));
    panel.append(element("h4", `Known partners (${partnerCounts[index]})`));
    panel.append(
      partnerCounts[index]
        ? this.list(this.partners(index).map(([partner, source, cosine]) => [partner, cosine, sources[source]]))
        : element("p", "None in the databases of this run.", { class: "hint" }),
    );
    const more = partnerCounts[index] - known.size;
    if (more > 0) panel.append(element("p", `and ${more} more with smaller cosines`, { class: "hint" }));
  }

  list(rows) {
    const list = element("ol");
    for (const [index, cosine, note] of rows) {
      const item = element("li");
      const button = element("button", this.data.names[index], { type: "button" });
      button.addEventListener("click", () => this.choose(index));
      item.append(button, element("span", note, { class: "note" }), element("span", formatted(cosine), { class: "cosine" }));
      list.append(item);
    }
    return list;
  }

  fillColours() {
    const select = this.part("colour");
    this.data.columns.forEach((column, at) => select.append(element("option", column.name, { value: at })));
    select.addEventListener("change", () => {
      this.paint(Number(select.value));
      this.view.data("points", this.places.map((_, index) => this.row(index)));
      this.show(this.chosen);
    });
  }

  paint(at) {
    const column = this.data.columns[at];
    this.fill = painter(column);
    const legend = this.part("legend");
    legend.replaceChildren();
    if (column.kind === "numbers") {
      const [low, high] = colourRange(column.values);
      const ramp = element("span", undefined, { class: "ramp" });
      ramp.style.background = `linear-gradient(to right, ${RAMP.join(",")})`;
      const text = (value) => String(value).replace("-", MINUS);
      legend.append(element("span", text(low)), ramp, element("span", text(high)));
    } else if (column.levels.length <= CATEGORIES.length) {
      column.levels.forEach((level, code) => {
        const entry = element("span", undefined, { class: "entry" });
        const dot = element("span", undefined, { class: "dot" });
        dot.style.background = CATEGORIES[code];
        entry.append(dot, element("span", level));
        legend.append(entry);
      });
    } else {
      legend.append(element("span", `${column.levels.length} groups; colours repeat after ${CATEGORIES.length}`));
    }
  }

  listenToSearch() {
    const input = this.part("search");
    const found = this.part("found");
    const lower = this.data.names.map((name) => name.toLowerCase());
    let matches = [];
    let active = 0;
    const close = () => {
      found.hidden = true;
      input.setAttribute("aria-expanded", "false");
      input.removeAttribute("aria-activedescendant");
    };
    const pick = (index) => {
      input.value = this.data.names[index];
      close();
      this.choose(index);
    };
    const mark = () => {
      [...found.children].forEach((option, at) => option.setAttribute("aria-selected", String(at === active)));
      if (matches.length) input.setAttribute("aria-activedescendant", found.children[active].id);
    };
    input.addEventListener("input", () => {
      const text = input.value.trim().toLowerCase();
      const rank = (index) => (lower[index] === text ? 0 : lower[index].startsWith(text) ? 1 : 2);
      matches = lower.flatMap((name, index) => (text && name.includes(text) ? [index] : []));
      matches = matches.sort((a, b) => rank(a) - rank(b) || (lower[a] < lower[b] ? -1 : 1)).slice(0, MOST_FOUND);
      found.replaceChildren();
      matches.forEach((index, at) => {
        const option = element("li", this.data.names[index], { role: "option", id: `${found.id}-${at}` });
        option.addEventListener("pointerdown", (event) => {
          event.preventDefault();
          pick(index);
        });
        found.append(option);
      });
      if (text && !matches.length) found.append(element("li", "No such perturbation", { role: "option", "aria-disabled": "true" }));
      active = 0;
      found.hidden = !text;
      input.setAttribute("aria-expanded", String(!found.hidden));
      mark();
    });
    input.addEventListener("keydown", (event) => {
      if (event.key === "Enter" && matches.length && !found.hidden) pick(matches[active]);
      else if (event.key === "Escape") close();
      else if (matches.length && (event.key === "ArrowDown" || event.key === "ArrowUp")) {
        event.preventDefault();
        active = (active + (event.key === "ArrowDown" ? 1 : matches.length - 1)) % matches.length;
        mark();
      }
    });
    input.addEventListener("blur", close);
  }
}

document.querySelectorAll(".explorer").forEach((root) => (root.explorer = new Explorer(root)));

// The contents show which section is being read.
const links = new Map([...document.querySelectorAll("nav a")].map((link) => [link.hash.slice(1), link]));
const watch = new IntersectionObserver(
  (entries) => {
    for (const entry of entries.filter(({ isIntersecting }) => isIntersecting)) {
      links.forEach((link, key) => (key === entry.target.id ? link.setAttribute("aria-current", "true") : link.removeAttribute("aria-current")));
    }
  },
  { rootMargin: "-10% 0px -80% 0px" },
);
document.querySelectorAll("main > section").forEach((section) => watch.observe(section));
