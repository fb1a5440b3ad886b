"use strict";
const all = (selector, within = document) => [...within.querySelectorAll(selector)];

// -- tables: a click on a heading sorts, long ones show their first rows, a field filters them
for (const table of all("table.sortable")) {
  const body = table.tBodies[0], rows = [...body.rows], fold = +table.dataset.fold || Infinity;
  let open = false, wanted = "";
  const show = () => {
    let shown = 0;
    for (const row of body.rows) {
      const fits = !wanted || row.textContent.toLowerCase().includes(wanted);
      row.hidden = !fits || (!open && ++shown > fold);
    }
  };
  all("thead button", table).forEach((button, i) => button.addEventListener("click", () => {
    const head = button.parentElement, before = head.getAttribute("aria-sort");
    const numeric = head.classList.contains("n");
    const sign = before ? (before === "ascending" ? -1 : 1) : numeric ? -1 : 1;
    all("th[aria-sort]", table.tHead).forEach((each) => each.removeAttribute("aria-sort"));
    head.setAttribute("aria-sort", sign > 0 ? "ascending" : "descending");
    const value = (row) => {
      const cell = row.cells[i];
      return numeric ? (cell.dataset.v === undefined ? NaN : +cell.dataset.v) : cell.textContent;
    };
    rows.map((row) => [value(row), row]).sort(([a], [b]) => {
      if (!numeric) return sign * a.localeCompare(b, undefined, { numeric: true });
      return isNaN(a) ? isNaN(b) ? 0 : 1 : isNaN(b) ? -1 : sign * (a - b); // no number: always last
    }).forEach(([, row]) => body.append(row));
    show();
  }));
  if (rows.length > fold) {
    const tools = document.createElement("div"), more = document.createElement("button"), field = document.createElement("input");
    tools.className = "tools";
    more.type = "button";
    field.type = "search";
    field.placeholder = "filter";
    field.setAttribute("aria-label", "filter the rows");
    const name = () => { more.textContent = open ? "Show fewer rows" : `Show all ${rows.length} rows`; };
    more.addEventListener("click", () => { open = !open; name(); show(); });
    field.addEventListener("input", () => { wanted = field.value.trim().toLowerCase(); show(); });
    name();
    tools.append(more, field);
    table.parentElement.after(tools);
  }
  show();
}

// -- players: a cursor over the spectrogram, a click plays from there
for (const player of all(".player")) {
  const audio = player.querySelector("audio"), picture = player.querySelector(".picture");
  const begin = +player.dataset.start, span = Math.max(+player.dataset.seconds - begin, 1e-3);
  const toggle = player.querySelector(".switch");
  if (toggle) {
    const apply = () => player.classList.toggle("explained", toggle.checked);
    toggle.addEventListener("change", apply);
    apply();
  }
  if (!audio) continue;
  if (picture) {
    const cursor = picture.querySelector(".cursor");
    const move = () => {
      const part = (audio.currentTime - begin) / span;
      cursor.style.left = `${100 * Math.min(Math.max(part, 0), 1)}%`;
      cursor.hidden = part < 0 || part > 1;
      if (!audio.paused && !audio.ended) requestAnimationFrame(move);
    };
    ["play", "pause", "seeked", "timeupdate"].forEach((name) => audio.addEventListener(name, move));
    picture.addEventListener("click", (event) => {
      const box = picture.getBoundingClientRect();
      play(audio, begin + span * (event.clientX - box.left) / box.width);
    });
    picture.classList.add("clickable");
  }
  audio.addEventListener("play", () => all("audio").forEach((other) => other === audio || other.pause()));
}
function play(audio, seconds) {
  const go = () => { audio.currentTime = seconds; audio.play().catch(() => {}); };
  if (audio.readyState > 0) return go();
  audio.addEventListener("loadedmetadata", go, { once: true });
  audio.load();
}
for (const button of all("[data-seek]")) {
  const audio = document.getElementById(button.dataset.player)?.querySelector("audio");
  button.addEventListener("click", () => audio && play(audio, +button.dataset.seek));
}

// -- tips: values under the pointer or the finger
const tip = document.getElementById("tip");
const hide = () => { tip.hidden = true; };
const tell = (event) => {
  const text = event.target.closest?.("[data-tip]")?.dataset.tip;
  if (!text) return hide();
  tip.textContent = text;
  tip.hidden = false;
  const x = Math.min(event.clientX + 12, innerWidth - tip.offsetWidth - 8);
  const above = event.clientY - tip.offsetHeight - 12;
  tip.style.left = `${Math.max(8, x)}px`;
  tip.style.top = `${above > 8 ? above : event.clientY + 18}px`;
};
addEventListener("pointermove", tell);
addEventListener("pointerdown", tell);
addEventListener("scroll", hide, { passive: true });
document.documentElement.addEventListener("pointerleave", hide);
