
// -- the timeline of one recording: tiles, boxes, axes, sound. `scan`: the data of the page; `told`: what it reports to
function timeline(scan, told) {
  const get = (id) => document.getElementById(id);
  const picture = get("picture"), tilesBox = get("tiles"), boxes = get("boxes"), lanes = get("lanes"), axis = get("seconds");
  const cursor = get("cursor"), map = get("map"), overview = get("overview"), frame = get("window");
  const { columns, factor, step, begin, ending } = scan.tile;
  const SHORTEST = 0.25, MOST = 400; // seconds on the screen; boxes that are drawn
  let file = null, seconds = 1, folder = "", start = 0, span = 1, events = [], chosen = null, pending = 0;

  // -- what is seen: `start` and `span`, in seconds
  const width = () => picture.clientWidth || 1;
  const at = (time) => (time - start) / span * width();
  const timeAt = (x) => start + x / width() * span;
  function look(from, length) {
    span = Math.min(Math.max(length, Math.min(SHORTEST, seconds)), seconds);
    start = Math.min(Math.max(from, 0), seconds - span);
    pending ||= requestAnimationFrame(draw);
  }
  const zoom = (by, time = start + span / 2) => {
    const length = Math.min(Math.max(span * by, Math.min(SHORTEST, seconds)), seconds);
    look(time - (time - start) * length / span, length);
  };
  const pan = (by) => look(start + by * span, span);
  const whole = () => look(0, seconds);
  const reveal = (from, to) => {
    if (from < start || to > start + span || to - from < span / 40) {
      const length = Math.min(Math.max(4 * (to - from), Math.min(span, 12)), seconds);
      look((from + to - length) / 2, length);
    }
  };

  function open(number, shown) {
    const [, , length, place, levels] = scan.files[number];
    if (file !== number) {
      stop();
      part = -1; // its sound is another file
      audio.removeAttribute("src");
      tilesBox.replaceChildren();
      file = number; seconds = Math.max(length, step); folder = `sounds/${String(place).padStart(6, "0")}`;
      get("parts").replaceChildren(...(levels ? places(levels - 1, 0, seconds).map((tile) => image(tile, 0, seconds)) : []));
      whole();
    }
    events = shown;
    pending ||= requestAnimationFrame(draw);
  }

  // -- pictures
  function columnsOf(level) {
    let count = Math.max(1, Math.floor((seconds - 2 * begin - step) / step) + 1);
    for (let k = 0; k < level; k++) count = Math.ceil(count / factor);
    return count;
  }
  function places(level, from, to) {
    const column = step * factor ** level, count = columnsOf(level), last = Math.ceil(count / columns) - 1;
    const found = [];
    for (let i = Math.max(0, Math.floor((from - begin) / column / columns)); i <= last && begin + i * columns * column < to; i++) {
      const left = begin + i * columns * column;
      found.push({ level, i, left, right: left + Math.min(columns, count - i * columns) * column });
    }
    return found;
  }
  function image(tile, from, length) {
    const img = document.createElement("img");
    img.src = `${folder}/${tile.level}-${String(tile.i).padStart(4, "0")}.${ending}`;
    img.alt = "";
    img.className = "mel";
    img.draggable = false;
    put(img, tile, from, length);
    return img;
  }
  function put(element, { left, right }, from = start, length = span) {
    element.style.left = `${(left - from) / length * 100}%`;
    element.style.width = `${(right - left) / length * 100}%`;
  }
  function drawTiles() {
    const levels = scan.files[file][4];
    if (!levels) return;
    const fine = Math.floor(Math.log(1.5 / (step * width() / span)) / Math.log(factor));
    const level = Math.min(Math.max(fine, 0), levels - 1);
    const wanted = level < levels - 1 ? places(levels - 1, start, start + span) : []; // below, while the others load
    wanted.push(...places(level, start, start + span));
    const old = new Map([...tilesBox.children].map((img) => [img.dataset.key, img]));
    tilesBox.replaceChildren(...wanted.map((tile) => {
      const key = `${tile.level}-${tile.i}`, img = old.get(key) || image(tile, start, span);
      img.dataset.key = key;
      put(img, tile);
      return img;
    }));
  }

  // -- events
  function drawEvents() {
    const seen = events.filter((e) => e.end > start && e.start < start + span);
    const shown = seen.length <= MOST ? seen : [...seen].sort((a, b) => b.score - a.score).slice(0, MOST);
    const labels = [...new Set(events.map((e) => e.label))].sort((a, b) => a - b);
    boxes.replaceChildren(...shown.map((e) => box(e, "box")));
    lanes.replaceChildren(...labels.map((label) => {
      const lane = document.createElement("div"), name = document.createElement("span");
      name.textContent = scan.labels[label];
      lane.className = `lane c${label % 8}`;
      lane.append(...shown.filter((e) => e.label === label).map((e) => box(e, "spot")), name);
      return lane;
    }));
    map.hidden = !chosen?.map || chosen.file !== file || !get("relevance").checked;
    if (!map.hidden) {
      const source = `${folder}/r${chosen.number}.png`;
      if (map.getAttribute("src") !== source) map.src = source;
      put(map, { left: chosen.map[0], right: chosen.map[1] });
    }
  }
  function box(e, kind) {
    const element = document.createElement(kind === "spot" ? "button" : "i");
    element.className = `${kind} c${e.label % 8} ${e.verdict ? e.verdict.kind : ""} ${e === chosen ? "chosen" : ""}`;
    element.dataset.tip = `${told.name(e)}, ${told.clock(e.start)} to ${told.clock(e.end)}, ${e.score.toFixed(2)}`;
    if (kind === "spot") {
      element.type = "button";
      element.tabIndex = -1;
      element.setAttribute("aria-label", element.dataset.tip);
      element.addEventListener("click", () => told.choose(e));
    }
    put(element, { left: Math.max(e.start, start - span), right: Math.min(e.end, start + 2 * span) });
    return element;
  }
  function drawAxes() {
    const most = Math.max(2, Math.floor(width() / 85));
    const wide = [0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1200, 1800, 3600, 7200, 14400, 28800]
      .find((s) => span / s <= most) || 86400;
    const ticks = [];
    for (let i = Math.ceil(start / wide - 1e-6); i * wide <= start + span + 1e-6; i++) {
      const tick = document.createElement("span"), share = (i * wide - start) / span;
      tick.textContent = told.clock(i * wide, wide < 1 ? (wide < 0.1 ? 2 : 1) : 0);
      tick.style.left = `${share * 100}%`;
      tick.className = share < 0.03 ? "first" : share > 0.97 ? "last" : "";
      ticks.push(tick);
    }
    axis.replaceChildren(...ticks);
    put(frame, { left: start, right: start + span }, 0, seconds);
  }
  function draw() {
    pending = 0;
    if (file === null) return;
    drawTiles();
    drawEvents();
    drawAxes();
    drawCursor();
    Object.assign(picture.dataset, { start: start.toFixed(3), span: span.toFixed(3) });
  }

  // -- sound: parts of a minute, one after another
  const audio = new Audio();
  let part = -1, until = Infinity, playing = false, turn = 0; // turn: of the last load, to forget those before
  audio.id = "sound";
  audio.preload = "auto";
  picture.append(audio);
  const now = () => Math.max(0, part) * scan.sound + audio.currentTime;
  function load(number, from, go) {
    const [, , length, , , kind] = scan.files[file];
    if (!kind || number * scan.sound >= length) return stop();
    const mine = ++turn;
    const ready = () => {
      if (mine !== turn) return;
      audio.currentTime = from;
      if (go) audio.play().catch(() => { if (mine === turn) stop(); });
    };
    if (part === number && audio.readyState > 0) return ready();
    part = number;
    audio.src = `${folder}/${String(number).padStart(4, "0")}.${kind}`;
    audio.addEventListener("loadedmetadata", ready, { once: true });
  }
  function play(from, to = Infinity) {
    if (file === null) return;
    until = to; playing = true;
    const number = Math.floor(from / scan.sound);
    load(number, from - number * scan.sound, true);
    told.playing(true);
    requestAnimationFrame(follow);
  }
  function stop() {
    playing = false;
    turn++;
    audio.pause();
    told.playing(false);
  }
  function follow() {
    if (!playing) return;
    if (now() >= until) return stop();
    if (now() > start + span || now() < start) look(now() - span * 0.1, span);
    drawCursor();
    requestAnimationFrame(follow);
  }
  function drawCursor() {
    const x = (now() - start) / span;
    cursor.hidden = part < 0 || x < 0 || x > 1;
    cursor.style.left = `${x * 100}%`;
  }
  audio.addEventListener("timeupdate", () => { if (playing && now() >= until) stop(); });
  audio.addEventListener("seeked", drawCursor);
  audio.addEventListener("ended", () => { if (playing) load(part + 1, 0, true); });
  audio.addEventListener("play", () => requestAnimationFrame(follow));

  // -- pointers: one drags, two zoom, a click plays from there; the wheel zooms
  const fingers = new Map();
  let moved = false;
  picture.addEventListener("pointerdown", (event) => {
    fingers.set(event.pointerId, event.clientX);
    if (fingers.size === 1) moved = false;
    picture.setPointerCapture(event.pointerId); // a drag may leave the picture
  });
  picture.addEventListener("pointermove", (event) => {
    if (!fingers.has(event.pointerId)) return;
    const left = picture.getBoundingClientRect().left, before = [...fingers.values()];
    if (fingers.size === 1 && !moved && Math.abs(event.clientX - before[0]) < 4) return;
    moved = true;
    fingers.set(event.pointerId, event.clientX);
    const after = [...fingers.values()];
    if (before.length === 1) look(start - (after[0] - before[0]) / width() * span, span);
    else if (Math.abs(after[0] - after[1]) > 10) {
      const anchor = timeAt((before[0] + before[1]) / 2 - left), length = span * Math.abs(before[0] - before[1]) / Math.abs(after[0] - after[1]);
      const centre = ((after[0] + after[1]) / 2 - left) / width();
      look(anchor - centre * length, length);
    }
  });
  const up = (event) => {
    if (fingers.delete(event.pointerId) && !moved && event.type === "pointerup") {
      play(timeAt(event.clientX - picture.getBoundingClientRect().left));
    }
  };
  picture.addEventListener("pointerup", up);
  picture.addEventListener("pointercancel", up);
  picture.addEventListener("wheel", (event) => {
    event.preventDefault();
    if (Math.abs(event.deltaX) > Math.abs(event.deltaY) || event.shiftKey) return pan((event.deltaX || event.deltaY) / width());
    zoom(Math.exp(event.deltaY * 0.002), timeAt(event.clientX - picture.getBoundingClientRect().left));
  }, { passive: false });
  const jump = (event) => {
    if (!(event.buttons & 1)) return;
    const area = overview.getBoundingClientRect();
    look((event.clientX - area.left) / area.width * seconds - span / 2, span);
  };
  overview.addEventListener("pointerdown", jump);
  overview.addEventListener("pointermove", jump);
  addEventListener("resize", () => { pending ||= requestAnimationFrame(draw); });

  return {
    open, zoom, pan, whole, reveal, play, stop,
    draw: () => { pending ||= requestAnimationFrame(draw); },
    choose: (event) => { chosen = event; },
    get playing() { return playing; },
  };
}
