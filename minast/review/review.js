
// -- the page of a scan: recordings, events, verdicts
{
  const get = (id) => document.getElementById(id);
  const scan = JSON.parse(get("scan").textContent);
  const events = scan.events.map(([file, start, end, label, score, number, from, to], id) => (
    { id, file, start, end, label, score, number, map: from === undefined ? null : [from, to], verdict: null }));
  const byFile = scan.files.map(() => []);
  events.forEach((e) => byFile[e.file].push(e));
  const element = (name, className, text) => {
    const made = document.createElement(name);
    if (className) made.className = className;
    if (text !== undefined) made.textContent = text;
    return made;
  };
  const clock = (time, digits = 2) => {
    const whole = Number(time.toFixed(digits)), hours = Math.floor(whole / 3600), minutes = Math.floor(whole / 60) % 60;
    const rest = (whole % 60).toFixed(digits).padStart(digits ? digits + 3 : 2, "0");
    return hours ? `${hours}:${String(minutes).padStart(2, "0")}:${rest}` : `${minutes}:${rest}`;
  };
  const name = (e) => e.verdict?.kind === "relabelled" ? e.verdict.label : scan.labels[e.label];
  let file = -1, chosen = null, list = [], found = [], lastLabel = "";
  const undo = [], known = new Set();

  // -- verdicts: {number of the event: ["right" | "wrong" | "relabelled", label]}, kept by the browser
  function restore() {
    try {
      const kept = JSON.parse(localStorage.getItem(scan.key) || "{}");
      for (const e of events) e.verdict = kept[e.id] ? { kind: kept[e.id][0], label: kept[e.id][1] } : null;
    } catch {
      get("progress").dataset.lost = "yes"; // this browser keeps nothing
    }
  }
  function keep() {
    const judged = events.filter((e) => e.verdict).map((e) => [e.id, [e.verdict.kind, e.verdict.label]]);
    try {
      localStorage.setItem(scan.key, JSON.stringify(Object.fromEntries(judged)));
    } catch {
      get("progress").dataset.lost = "yes";
    }
  }
  function judge(kind, label = "") {
    if (!chosen) return;
    undo.push([chosen, chosen.verdict]);
    const e = chosen;
    e.verdict = { kind, label };
    if (label) offer(lastLabel = label);
    keep();
    move(1, true);
    refresh();
  }
  function offer(label) { // when another label is typed
    if (known.has(label)) return;
    known.add(label);
    get("known").append(element("option"));
    get("known").lastChild.value = label;
  }
  function takeBack() {
    const last = undo.pop();
    if (!last) return;
    last[0].verdict = last[1];
    keep();
    choose(last[0]);
    refresh();
  }
  function progress() {
    const judged = events.filter((e) => e.verdict).length;
    const lost = get("progress").dataset.lost ? " This browser does not keep them: download them before you leave." : "";
    get("progress").textContent = (judged ? `${judged} of ${events.length} events judged.` : "Nothing is judged yet.") + lost;
    get("download").disabled = !judged;
  }

  // -- the table of labels, as minast train takes it
  const risky = /^'*[=+\-@\t\r\n＝＋－＠]/u, number = /^[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$/;
  const cell = (value) => {
    const text = typeof value === "string" && risky.test(value) && !number.test(value) ? `'${value}` : String(value);
    return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
  };
  function table() {
    const rows = events.filter((e) => e.verdict).map((e) => {
      const heard = scan.plain[e.label], label = e.verdict.kind === "relabelled" ? e.verdict.label : heard;
      return [scan.files[e.file][0], e.start, e.end, label, e.verdict.kind, heard, e.score];
    });
    return [["file", "start", "end", "label", "verdict", "heard", "score"], ...rows]
      .map((row) => `${row.map(cell).join(",")}\n`).join("");
  }
  get("download").addEventListener("click", () => {
    const link = element("a");
    link.href = URL.createObjectURL(new Blob([table()], { type: "text/csv" }));
    link.download = "labels.csv";
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 60000);
  });

  // -- lists of any length: only the rows that are seen are in the page
  function rows(box, draw) {
    const inner = element("div");
    box.append(inner);
    let items = [];
    const show = () => {
      const height = parseFloat(getComputedStyle(box).getPropertyValue("--row")) || 36;
      const first = Math.max(0, Math.floor(box.scrollTop / height) - 4), count = Math.ceil(box.clientHeight / height) + 8;
      inner.style.height = `${items.length * height}px`;
      inner.replaceChildren(...items.slice(first, first + count).map((item, i) => {
        const row = draw(item, first + i);
        row.style.top = `${(first + i) * height}px`;
        return row;
      }));
    };
    box.addEventListener("scroll", () => requestAnimationFrame(show), { passive: true });
    addEventListener("resize", show);
    return {
      set(wanted) { items = wanted; show(); },
      show,
      reveal(i) {
        const height = parseFloat(getComputedStyle(box).getPropertyValue("--row")) || 36;
        if (i * height < box.scrollTop) box.scrollTop = i * height;
        else if ((i + 1) * height > box.scrollTop + box.clientHeight) box.scrollTop = (i + 1) * height - box.clientHeight;
        show();
      },
    };
  }
  const fileRows = rows(get("files"), (i) => {
    const row = element("button", `row file${i === file ? " chosen" : ""}`), own = byFile[i];
    const judged = own.filter((e) => e.verdict).length;
    row.type = "button";
    row.setAttribute("role", "option");
    row.append(element("b", "", scan.files[i][1]), element("span", "n", clock(scan.files[i][2], 0)),
      element("span", "n", own.length === 1 ? "1 event" : `${own.length} events`), element("span", "n", judged ? `${judged} judged` : ""));
    row.addEventListener("click", () => {
      openFile(i);
      const first = list.find((e) => e.file === i);
      if (first) choose(first);
      refresh();
    });
    return row;
  });
  const eventRows = rows(get("events"), (e) => {
    const row = element("button", `row event-row c${e.label % 8} ${e.verdict ? e.verdict.kind : ""}${e === chosen ? " chosen" : ""}`);
    const what = element("b", "", scan.labels[e.label]), score = element("span", "score", e.score.toFixed(2));
    if (e.verdict?.kind === "relabelled") what.append(" → ", element("em", "", e.verdict.label));
    score.style.setProperty("--v", e.score);
    row.type = "button";
    row.setAttribute("role", "option");
    row.setAttribute("aria-selected", e === chosen);
    row.append(element("i", "verdict", { right: "✓", wrong: "✗", relabelled: "✎" }[e.verdict?.kind] || ""), what,
      element("span", "of", get("scope").value === "all" ? scan.files[e.file][1] : ""),
      element("span", "n", `${clock(e.start, 1)} – ${clock(e.end, 1)}`), score);
    row.addEventListener("click", () => { choose(e); refresh(); });
    return row;
  });

  // -- what is shown
  const view = timeline(scan, {
    name, clock,
    choose: (e) => { choose(e); refresh(); },
    playing: (is) => { get("play").textContent = is ? "■ Stop" : "▶ Play"; },
  });
  const wanted = (e) => (get("only").value === "" || e.label === +get("only").value)
    && (get("state").value === "" || (get("state").value === "done") === !!e.verdict || e === chosen);
  function openFile(i) {
    file = i;
    get("name").textContent = scan.files[i][1];
    history.replaceState(null, "", `#r${i}`);
    select();
  }
  function select() {
    const order = get("order").value, scope = get("scope").value === "all" ? events : byFile[file] || [];
    list = scope.filter(wanted);
    if (order === "score") list.sort((a, b) => b.score - a.score || a.id - b.id);
  }
  function refresh() {
    select();
    if (file >= 0) view.open(file, byFile[file].filter((e) => get("only").value === "" || e.label === +get("only").value));
    get("count").textContent = list.length === 1 ? "1 event" : `${list.length} events`;
    eventRows.set(list);
    if (chosen && list.includes(chosen)) eventRows.reveal(list.indexOf(chosen));
    fileRows.set(found);
    for (const id of ["right", "wrong", "relabel", "play"]) get(id).disabled = !chosen;
    get("undo").disabled = !undo.length;
    progress();
  }
  function choose(e) {
    chosen = e;
    if (e.file !== file) openFile(e.file);
    view.choose(e);
    view.open(file, byFile[file]);
    view.reveal(e.start, e.end);
    get("other").hidden = true;
  }
  function move(by, quiet) {
    const i = list.indexOf(chosen), next = list[i < 0 ? 0 : i + by];
    if (next) choose(next);
    else if (get("scope").value === "one") { // on to the next recording with events
      for (let k = file + by; k >= 0 && k < byFile.length; k += by) {
        const own = byFile[k].filter(wanted);
        if (own.length) { openFile(k); choose(by > 0 ? list[0] : list[list.length - 1]); break; }
      }
    }
    if (!quiet) refresh();
  }
  const playEvent = () => { if (view.playing) view.stop(); else if (chosen) view.play(chosen.start, chosen.end); };
  function ask() {
    if (!chosen) return;
    get("other").hidden = false;
    get("label").value = lastLabel;
    get("label").focus();
    get("label").select(); // Enter repeats it, and typing replaces it
  }
  get("other").addEventListener("submit", (event) => {
    event.preventDefault();
    const label = get("label").value.trim();
    if (!label) return;
    get("other").hidden = true;
    get("picture").focus({ preventScroll: true });
    judge(label === scan.plain[chosen.label] ? "right" : "relabelled", label === scan.plain[chosen.label] ? "" : label);
  });

  const keys = {
    " ": playEvent, j: () => move(1), k: () => move(-1), ArrowDown: () => move(1), ArrowUp: () => move(-1),
    y: () => judge("right"), n: () => judge("wrong"), r: ask, u: takeBack,
    "+": () => view.zoom(0.5), "=": () => view.zoom(0.5), "-": () => view.zoom(2), 0: () => view.whole(),
    ArrowLeft: () => view.pan(-0.25), ArrowRight: () => view.pan(0.25),
    e: () => { get("relevance").checked = !get("relevance").checked; view.draw(); },
  };
  addEventListener("storage", (event) => { // the same page is open a second time
    if (event.key !== scan.key) return;
    restore();
    refresh();
  });
  addEventListener("keydown", (event) => {
    if (event.key === "Escape") { get("other").hidden = true; get("picture").focus({ preventScroll: true }); }
    const typing = /^(INPUT|SELECT|TEXTAREA)$/.test(event.target.tagName) && event.target.type !== "checkbox";
    const act = keys[event.key.length === 1 ? event.key.toLowerCase() : event.key];
    if (typing || !act || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    act();
  });
  const press = { play: playEvent, right: keys.y, wrong: keys.n, relabel: ask, undo: takeBack, in: keys["+"], out: keys["-"], all: keys[0] };
  for (const [id, act] of Object.entries(press)) get(id).addEventListener("click", act);
  get("relevance").addEventListener("change", view.draw);
  for (const id of ["scope", "order", "only", "state"]) get(id).addEventListener("change", refresh);
  get("find").addEventListener("input", () => {
    const text = get("find").value.trim().toLowerCase();
    found = scan.files.map((_, i) => i).filter((i) => scan.files[i][1].toLowerCase().includes(text));
    fileRows.set(found);
  });

  const heard = [...new Set(events.map((e) => e.label))].sort((a, b) => a - b);
  get("only").append(...heard.map((k) => { const o = element("option", "", scan.labels[k]); o.value = k; return o; }));
  scan.plain.forEach(offer);
  found = scan.files.map((_, i) => i);
  restore();
  events.forEach((e) => { if (e.verdict?.label) offer(e.verdict.label); });
  const asked = /^#r(\d+)$/.exec(location.hash), first = asked && byFile[asked[1]] ? +asked[1] : byFile.findIndex((own) => own.length);
  if (scan.files.length) {
    openFile(Math.max(0, first));
    if (list.length) choose(list.find((e) => !e.verdict) || list[0]);
  }
  refresh();
}
