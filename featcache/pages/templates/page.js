(() => {
  "use strict";
  const root = document.documentElement;
  root.classList.add("js");
  const all = (selector, within = document) => [...within.querySelectorAll(selector)];

  // Sorting: a button in each head; numbers by size, texts by the reader's alphabet, what is missing last.
  const keyOf = (row, column) => {
    const cell = row.cells[column];
    const text = cell ? cell.dataset.sort ?? cell.textContent.trim() : "";
    const number = text === "" ? NaN : Number(text);
    return { text, number };
  };
  const compare = (a, b) => {
    const [x, y] = [Number.isNaN(a.number), Number.isNaN(b.number)];
    if (!x && !y) return a.number - b.number;
    if (x !== y) return x ? 1 : -1;
    return a.text.localeCompare(b.text, undefined, { numeric: true });
  };
  for (const table of all("table.sortable")) {
    const heads = all("thead th", table);
    const body = table.tBodies[0];
    heads.forEach((head, column) => {
      const button = document.createElement("button");
      button.type = "button";
      button.append(...[...head.childNodes].filter((node) => !node.classList?.contains("help")));
      head.prepend(button);
      button.addEventListener("click", () => {
        const first = head.classList.contains("num") ? "descending" : "ascending";
        const other = first === "ascending" ? "descending" : "ascending";
        const order = head.getAttribute("aria-sort") === first ? other : first;
        heads.forEach((one) => one.removeAttribute("aria-sort"));
        head.setAttribute("aria-sort", order);
        const rows = [...body.rows].map((row) => ({ row, key: keyOf(row, column) }));
        const missing = ({ key }) => key.text === "" || key.text === "nan";
        const way = order === "ascending" ? 1 : -1;
        rows.sort((a, b) => missing(a) - missing(b) || way * compare(a.key, b.key));
        body.append(...rows.map(({ row }) => row));
      });
    });
  }

  // Filtering: rows that hold every word.
  for (const input of all(".filter input")) {
    const box = input.closest(".tablebox");
    const rows = all("tbody tr", box);
    const said = box.querySelector(".found");
    input.addEventListener("input", () => {
      const words = input.value.toLowerCase().split(/\s+/).filter(Boolean);
      let found = 0;
      for (const row of rows) {
        const text = row.textContent.toLowerCase();
        row.hidden = !words.every((word) => text.includes(word));
        found += row.hidden ? 0 : 1;
      }
      said.textContent = words.length ? `${found} of ${rows.length} rows` : "";
    });
  }

  // What a point says: its <title> works without scripts; here it follows the pointer at once.
  for (const title of all("svg.chart title")) {
    title.parentNode.setAttribute("data-tip", title.textContent);
    title.remove();
  }
  const tip = document.createElement("div");
  tip.className = "tip";
  tip.hidden = true;
  tip.setAttribute("role", "tooltip");
  document.body.append(tip);
  const show = (target, x, y) => {
    tip.textContent = target.getAttribute("data-tip");
    tip.hidden = false;
    const { width, height } = tip.getBoundingClientRect();
    tip.style.left = `${Math.max(4, Math.min(x + 14, root.clientWidth - width - 4))}px`;
    tip.style.top = `${y - height - 12 < 4 ? y + 16 : y - height - 12}px`;
  };
  const hide = () => { tip.hidden = true; };
  // Points lie upon each other and are small: of those near the pointer the nearest speaks, not the one on top.
  const NEAR = 14, SMALL = 20;
  const meant = (event) => {
    const direct = event.target.closest?.("[data-tip]");
    let nearest = null, least = NEAR;
    for (const mark of event.target.closest?.("svg.chart")?.querySelectorAll("path[data-tip]") ?? []) {
      const box = mark.getBoundingClientRect();
      if (Math.max(box.width, box.height) > SMALL) continue;
      const away = Math.hypot(box.left + box.width / 2 - event.clientX, box.top + box.height / 2 - event.clientY);
      if (away < least) [nearest, least] = [mark, away];
    }
    return nearest ?? direct;
  };
  for (const name of ["pointerover", "pointermove"]) {
    document.addEventListener(name, (event) => {
      const target = meant(event);
      if (target) show(target, event.clientX, event.clientY); else hide();
    });
  }
  document.addEventListener("focusin", (event) => {
    const target = event.target.closest?.("[data-tip]");
    if (!target) return hide();
    const place = target.getBoundingClientRect();
    show(target, place.left, place.top);
  });
  document.addEventListener("keydown", (event) => { if (event.key === "Escape") hide(); });
  document.addEventListener("scroll", hide, { passive: true });

  // A link to a picture opens what hides it.
  const reveal = () => {
    let target = null;
    try { target = document.getElementById(decodeURIComponent(location.hash.slice(1))); } catch { return; }
    for (let box = target?.closest("details"); box; box = box.parentElement?.closest("details")) box.open = true;
    if (target?.closest("details")) target.scrollIntoView();
  };
  addEventListener("hashchange", reveal);
  reveal();
  addEventListener("beforeprint", () => all("details.more").forEach((box) => { box.open = true; }));

  // Which section is being read.
  const links = new Map(all("nav a").map((link) => [link.getAttribute("href").slice(1), link]));
  if ("IntersectionObserver" in window) {
    const seen = new IntersectionObserver((entries) => {
      for (const entry of entries) {
        if (!entry.isIntersecting) continue;
        links.forEach((link) => link.removeAttribute("aria-current"));
        links.get(entry.target.id)?.setAttribute("aria-current", "true");
      }
    }, { rootMargin: "-10% 0px -80% 0px" });
    all("main > section").forEach((section) => seen.observe(section));
  }
})();
