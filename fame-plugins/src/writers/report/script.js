"use strict";
{
  const find = (id) => document.getElementById(id);
  const root = document.documentElement;

  // What the figures of an item are drawn from is read when the item is shown.
  const read = new Map();
  const figures = (item) => {
    if (!read.has(item)) {
      if (read.size > 200) read.clear();
      const data = find(`figures-${item}`);
      read.set(item, data ? JSON.parse(data.textContent) : { p: [], r: [], m: [] });
    }
    return read.get(item);
  };
  const add = (parent, name, attributes) => {
    const element = document.createElementNS("http://www.w3.org/2000/svg", name);
    for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
    parent.append(element);
  };
  const words = {
    prepared: "the prepared picture",
    photograph: "the photograph, with an outline of what the network saw",
    overlay: "over the prepared picture",
    under: "over the photograph",
    alone: "alone",
  };
  const draw = (place, data) => {
    const { f: kind, m, r } = place.dataset;
    const map = m === undefined ? null : data.m[m];
    const role = data.r[map ? map.r : r] ?? { n: "", s: [1, 1], u: null, o: null };
    const photograph = kind === "photograph" || kind === "under" ? role.o : null;
    const [height, width] = photograph ? photograph.s : map ? map.s : role.s;
    const picture = (p, [h, w], more) => {
      add(place, "image", { href: data.p[p] ?? "", width: w, height: h, preserveAspectRatio: "none", ...more });
    };
    place.replaceChildren();
    place.setAttribute("viewBox", `0 0 ${width} ${height}`);
    place.setAttribute("role", "img");
    place.setAttribute("aria-label", `${(map ?? role).n}, ${words[kind]}`);
    const isOver = kind === "under" || (kind === "overlay" && role.u !== null);
    if (photograph) picture(photograph.p, photograph.s);
    else if (kind === "prepared" || (kind === "overlay" && isOver && map.p !== null)) picture(role.u, map ? map.s : role.s);
    if (map && map.p === null) picture(map.c, map.s);
    else if (map) {
      const how = `${isOver ? "map" : "alone"}${map.b ? " both" : ""}`;
      picture(map.p, map.s, photograph ? { class: how, transform: photograph.b } : { class: how });
    }
    if (photograph) {
      const [h, w] = map ? map.s : role.s;
      add(place, "rect", { class: "crop", width: w, height: h, transform: photograph.b, "vector-effect": "non-scaling-stroke" });
    }
  };
  // Parts that several items have alike stand in the page once.
  const fill = (place, item) => {
    for (const part of place.querySelectorAll("[data-same]")) {
      part.replaceChildren(find(`same-${part.dataset.same}`).content.cloneNode(true));
    }
    for (const figure of place.querySelectorAll("svg[data-f]")) draw(figure, figures(item));
  };

  // Colours, opacity and theme, for all maps at once.
  const palettes = JSON.parse(find("palettes").textContent);
  const paint = (id, table) => {
    ["R", "G", "B"].forEach((channel, n) => {
      find(id).querySelector(`feFunc${channel}`).setAttribute("tableValues", table[n]);
    });
  };
  const colour = () => {
    const table = palettes.maps[find("colours").value];
    for (const id of ["over", "plain"]) paint(id, table);
    for (const id of ["over-both", "plain-both"]) paint(id, palettes.both);
    const fade = find("fade").checked;
    find("over").querySelector("feFuncA").setAttribute("tableValues", fade ? "0 1" : "1 1");
    find("over-both").querySelector("feFuncA").setAttribute("tableValues", fade ? "1 0 1" : "1 1");
  };
  const opacity = () => {
    root.style.setProperty("--opacity", find("opacity").value / 100);
    find("opacity-value").textContent = `${find("opacity").value} %`;
  };
  find("colours").addEventListener("change", colour);
  find("fade").addEventListener("change", colour);
  find("opacity").addEventListener("input", opacity);
  find("theme").addEventListener("change", () => {
    root.dataset.theme = find("theme").value;
  });
  colour();
  opacity();

  // Tables are sorted by the number in `data-v`, else by the cell's number or text.
  const key = (row, column) => {
    const cell = row.cells[column];
    const text = cell.dataset.v ?? cell.textContent.trim();
    // "55.00 [53.33, 56.67]" is a number with its interval; "00012_a" is a name.
    return /^[-+]?(\d+\.?\d*|\.\d+)(e[-+]?\d+)?(?=[\s%]|$)/i.test(text) ? Number.parseFloat(text) : text;
  };
  const compare = (a, b) => {
    if (typeof a === "number" && typeof b === "number") return a - b;
    if (typeof a === "number") return -1;
    if (typeof b === "number") return 1;
    return a.localeCompare(b, undefined, { numeric: true });
  };
  const sort = (table, column, direction) => {
    const body = table.tBodies[0];
    const rows = [...body.rows].map((row) => [key(row, column), row]);
    rows.sort((a, b) => direction * compare(a[0], b[0]));
    body.append(...rows.map(([, row]) => row));
    [...table.tHead.rows[0].cells].forEach((head, n) => {
      if (!head.hasAttribute("aria-sort")) return;
      head.setAttribute("aria-sort", n !== column ? "none" : direction > 0 ? "ascending" : "descending");
    });
    table.dispatchEvent(new Event("sorted"));
  };
  // Longer tables can be searched; the table of items has a search of its own.
  const LONG = 8;
  const filterable = (table) => {
    const rows = [...table.tBodies[0].rows];
    if (table.id || rows.length < LONG) return;
    const label = document.createElement("label");
    label.className = "filter";
    const input = document.createElement("input");
    input.type = "search";
    input.placeholder = "words that a row has";
    input.autocomplete = "off";
    const count = document.createElement("output");
    input.addEventListener("input", () => {
      const words = input.value.toLowerCase().split(/\s+/).filter(Boolean);
      const isWanted = (row) => words.every((word) => row.textContent.toLowerCase().includes(word));
      for (const row of rows) row.hidden = !isWanted(row);
      const shown = rows.filter((row) => !row.hidden).length;
      count.textContent = words.length ? ` ${shown} of ${rows.length} rows` : "";
    });
    label.append("Find ", input, count);
    table.parentElement.before(label);
  };
  const sortable = (place) => {
    for (const table of place.querySelectorAll("table.sortable")) {
      [...table.tHead.rows[0].cells].forEach((head, column) => {
        if (head.hasAttribute("data-fixed")) return;
        const button = document.createElement("button");
        button.type = "button";
        button.textContent = head.textContent;
        head.replaceChildren(button);
        head.setAttribute("aria-sort", "none");
        button.addEventListener("click", () => {
          sort(table, column, head.getAttribute("aria-sort") === "ascending" ? -1 : 1);
        });
      });
      filterable(table);
    }
  };
  sortable(document);

  // The sheet: the lines that are found, a page at a time.
  const items = find("items");
  let page = 0;
  const lines = () => [...items.tBodies[0].rows];
  const isWanted = (row) => {
    const text = find("find").value.trim().toLowerCase();
    const choice = find("choose").value;
    // Marks of direction around names are not what anybody looks for.
    const said = row.textContent.replace(/[\u2066-\u2069]/g, "").toLowerCase();
    if (text && !said.includes(text)) return false;
    if (choice === "warned") return row.hasAttribute("data-warned");
    if (choice === "failed") return row.dataset.status === "failed";
    return !choice || row.dataset.decision === choice;
  };
  // The cells of the methods are made while their line is on the page.
  const MOST_MAPS = 4;
  const fixed = 4;
  const methods = items.tHead.rows[0].cells.length - fixed;
  const thumb = (map) => {
    const figure = document.createElement("figure");
    const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
    svg.setAttribute("class", "shot");
    svg.dataset.f = "overlay";
    svg.dataset.m = map.at;
    const caption = document.createElement("figcaption");
    caption.textContent = map.a ? `${map.n}, ${map.a}` : map.n;
    figure.append(svg, caption);
    return figure;
  };
  const openRow = (row) => {
    if (row.cells.length === fixed) {
      const maps = figures(row.dataset.item).m.map((map, at) => ({ ...map, at }));
      for (let method = 0; method < methods; method += 1) {
        const own = maps.filter((map) => map.e === method);
        const cell = row.insertCell();
        cell.className = "maps";
        const thumbs = document.createElement("div");
        thumbs.className = "thumbs";
        thumbs.append(...own.filter((map) => map.p !== null || map.c !== null).slice(0, MOST_MAPS).map(thumb));
        cell.append(thumbs);
        const more = own.length === 0 ? "no map" : own.length > MOST_MAPS ? `and ${own.length - MOST_MAPS} more` : "";
        if (more) {
          const note = document.createElement("span");
          note.className = "quiet";
          note.textContent = more;
          cell.append(note);
        }
      }
    }
    fill(row, row.dataset.item);
  };
  const closeRow = (row) => {
    while (row.cells.length > fixed) row.deleteCell(-1);
    for (const figure of row.querySelectorAll("svg[data-f]")) figure.replaceChildren();
  };
  const turn = () => {
    const size = Number(find("per-page").value);
    const all = lines();
    const wanted = all.filter(isWanted);
    page = Math.max(0, Math.min(page, Math.ceil(wanted.length / size) - 1));
    const shown = new Set(wanted.slice(page * size, (page + 1) * size));
    for (const row of all) {
      row.hidden = !shown.has(row);
      if (shown.has(row)) openRow(row);
      else closeRow(row);
    }
    const first = wanted.length ? page * size + 1 : 0;
    find("where").textContent =
      `${first}–${Math.min((page + 1) * size, wanted.length)} of ${wanted.length}`;
    find("previous").disabled = page === 0;
    find("next").disabled = (page + 1) * size >= wanted.length;
  };
  const from = (start) => () => {
    page = start();
    turn();
  };
  for (const id of ["find", "choose", "per-page"]) find(id).addEventListener("input", from(() => 0));
  items.addEventListener("sorted", from(() => 0));
  find("previous").addEventListener("click", from(() => page - 1));
  find("next").addEventListener("click", from(() => page + 1));
  turn();

  // One item: its view is text, in which every name is escaped, until it is shown.
  let open = null;
  let left = 0;
  const show = () => {
    const wanted = /^#item-(\d+)$/.exec(location.hash)?.[1];
    const view = wanted === undefined ? null : find(`view-${wanted}`);
    if (open === null && view) left = window.scrollY;
    const was = open;
    open = view ? wanted : null;
    find("whole").hidden = open !== null;
    find("one").hidden = open === null;
    find("view").replaceChildren();
    if (open === null) {
      const target = location.hash.length > 1 ? find(location.hash.slice(1)) : null;
      if (target && target.id !== "sheet") {
        target.scrollIntoView();
      } else if (was !== null) {
        window.scrollTo(0, left);
        const back = items.querySelector(`tr[data-item="${was}"]:not([hidden]) a`);
        if (back) back.focus({ preventScroll: true });
      }
      return;
    }
    const parsed = document.createElement("template");
    parsed.innerHTML = view.textContent;
    find("view").append(parsed.content);
    fill(find("view"), open);
    sortable(find("view"));
    const at = neighbours();
    find("before").disabled = at.before === undefined;
    find("after").disabled = at.after === undefined;
    window.scrollTo(0, 0);
    find("view").querySelector("h2").focus({ preventScroll: true });
  };
  // Before and after in the order of the sheet, of those that are found there.
  const neighbours = () => {
    const order = lines().filter(isWanted).map((row) => row.dataset.item);
    const at = order.indexOf(open);
    return { before: order[at - 1], after: at < 0 ? undefined : order[at + 1] };
  };
  const go = (item) => {
    if (item !== undefined) location.hash = `#item-${item}`;
  };
  find("before").addEventListener("click", () => go(neighbours().before));
  find("after").addEventListener("click", () => go(neighbours().after));
  window.addEventListener("hashchange", show);
  document.addEventListener("keydown", (event) => {
    if (open === null || event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.target.matches("input, select, textarea, .wide, pre")) return;
    if (event.key === "ArrowLeft") go(neighbours().before);
    if (event.key === "ArrowRight") go(neighbours().after);
    if (event.key === "Escape") location.hash = "#sheet";
  });
  show();

  for (const time of document.querySelectorAll("time[data-seconds]")) {
    const at = new Date(Number(time.dataset.seconds) * 1000);
    time.dateTime = at.toISOString();
    time.textContent = at.toISOString().replace("T", " ").slice(0, 16) + " UTC";
  }
}
