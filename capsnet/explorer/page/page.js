// The explorer's page. What is shown is kept here; the server computes, and keeps nothing.

const SHEET = 280; // pixels of the sheet to draw on
const FAR = 0.75; // how far a slider goes, unless the capsule has larger numbers
const SOON = 150; // milliseconds
const FEW_CLASSES = 12; // with more, they are sorted by their score
const WHY = {
  capsules: "Each class has a capsule. Its length, from 0 to 1, says how sure the network is that the class is in the picture.",
  drawings: " The small pictures are what the decoder draws of each capsule. Click one to explore it.",
  scores: "The bars are the network's probabilities for the classes.",
  pushes: "How much the votes from each place lengthen the class capsule. Orange: they agree with it. Blue: they point the other way, and shorten it.",
  shares: "Each primary capsule shares its vote out over all classes. Orange: what sees this place gives the class more than an equal share. Blue: less. In the first iteration all shares are equal; then each capsule turns to the classes that its vote agrees with.",
  couplings: "Every primary capsule of this network sees the whole picture, so that shares have no place in it. The bars are what the vote of each is multiplied with: its coupling coefficient and, in attention routing, a learned prior.",
};

const byId = (id) => document.getElementById(id);
const about = await ask("/about");
const [channels, height, width] = about.shape;
const [, singleHeight, singleWidth] = about.singleShape;
const LIGHT = [[255, 128, 13], [51, 140, 255]]; // of the drawings of two characters that are laid over each other

const now = {
  pixels: null, // of the picture, Uint8Array, channel by channel
  placed: [], // the test images that it is made of: {sample, pixels, down, right}
  look: null, // what the network says about it
  pinned: null, // the class that was clicked; null: the one with the largest score
  capsule: [], // numbers of the class's capsule, as they were moved
  dimension: 0, // the one that was moved last
  kept: null, // another picture: {look}, what the network says about it
  map: "pushes",
};

// Asking the server

async function ask(path, question) {
  const request = { method: "POST", body: question instanceof Blob ? question : JSON.stringify(question) };
  let reply;
  try {
    reply = await fetch(path, question === undefined ? {} : request);
  } catch {
    throw new Error("The explorer does not answer. Is it still running in the terminal?");
  }
  const answer = await reply.json().catch(() => ({}));
  if (!reply.ok) throw new Error(answer.message ?? `The explorer answers with error ${reply.status}.`);
  return answer;
}

let working = 0;
function work(more) {
  working += more;
  document.body.ariaBusy = String(working > 0);
}

// Makes of an asynchronous function one that runs once at a time: of calls in the meantime, only the last one counts.
function latest(task) {
  let running = false;
  let wanted = null;
  return async (...given) => {
    wanted = given;
    if (running) return;
    running = true;
    work(+1);
    while (wanted) {
      const next = wanted;
      wanted = null;
      await task(...next).catch((error) => say(error.message));
    }
    running = false;
    work(-1);
  };
}

// The same task a moment later, once for all calls until then: what somebody moves or draws comes first.
function soon(task) {
  let timer = null;
  return () => {
    if (timer === null) work(+1);
    clearTimeout(timer);
    timer = setTimeout(() => {
      timer = null;
      task();
      work(-1);
    }, SOON);
  };
}

let quiet;
function say(text) {
  clearTimeout(quiet);
  byId("message").textContent = text ?? "";
  byId("message").hidden = !text;
  if (text) quiet = setTimeout(() => say(null), 8000);
}

// Pictures

const fromBase64 = (text) => Uint8Array.from(atob(text), (character) => character.charCodeAt(0));

function toBase64(bytes) {
  let text = "";
  for (let start = 0; start < bytes.length; start += 32768) {
    text += String.fromCharCode(...bytes.subarray(start, start + 32768));
  }
  return btoa(text);
}

// Shows bytes, channel by channel, on a canvas; `tint` may change the color of each pixel.
function paint(canvas, bytes, tint, across = width, down = height) {
  if (canvas.width !== across || canvas.height !== down) [canvas.width, canvas.height] = [across, down];
  const image = new ImageData(across, down);
  const area = across * down;
  const [green, blue] = channels === 1 ? [0, 0] : [area, 2 * area]; // where these channels begin
  for (let place = 0; place < area; place++) {
    let color = [bytes[place], bytes[green + place], bytes[blue + place]];
    if (tint) color = tint(color, place);
    [image.data[4 * place], image.data[4 * place + 1], image.data[4 * place + 2]] = color;
    image.data[4 * place + 3] = 255;
  }
  canvas.getContext("2d").putImageData(image, 0, 0);
  canvas.dataset.painted = Number(canvas.dataset.painted ?? 0) + 1;
}

function pictureOf(bytes, ...how) {
  const canvas = document.createElement("canvas");
  paint(canvas, bytes, ...how);
  return canvas;
}

// With a proper minus sign, and none before zero.
const number = (value, digits = 2) => value.toFixed(digits).replace(/^-(?=0\.0*$)/, "").replace("-", "−");

function element(name, className, text) {
  const made = document.createElement(name);
  if (className) made.className = className;
  if (text !== undefined) made.textContent = text;
  return made;
}

function nameOf(label) {
  const { name, character } = about.classes[label];
  return character ? `${character} ${name}` : name;
}

// The picture, and how it is changed

const CHANGES = {
  rotation: (value) => `${value}°`,
  right: (value) => `${Math.round(value * 100)} %`,
  down: (value) => `${Math.round(value * 100)} %`,
  size: (value) => `× ${value.toFixed(2)}`,
};

function change() {
  return Object.fromEntries(Object.keys(CHANGES).map((key) => [key, Number(byId(key).value)]));
}

function showChange() {
  for (const [key, shown] of Object.entries(CHANGES)) {
    byId(key).nextElementSibling.textContent = shown(Number(byId(key).value));
  }
}

function unchange() {
  for (const key of Object.keys(CHANGES)) byId(key).value = key === "size" ? 1 : 0;
  byId("swap").checked = false;
  showChange();
}

function setPicture(pixels, { another = true } = {}) {
  now.pixels = pixels;
  if (another) {
    now.pinned = null;
    unchange();
  }
  return refreshLook();
}

const shownPixels = () => (byId("swap").checked ? now.pixels.map((value) => 255 - value) : now.pixels);

const refreshLook = latest(async () => {
  if (!now.pixels) return;
  now.look = await ask("/look", { pixels: toBase64(shownPixels()), change: change() });
  paint(byId("seen"), fromBase64(now.look.seen));
  showClasses();
  chooseCapsule();
  betweenSoon();
  votesSoon();
});

const winner = (look) => look.answers[0];
const chosen = () => now.pinned ?? winner(now.look);

// Classes

const rows = about.classes.map((_, label) => {
  const row = element("li");
  const button = element("button");
  const picture = element("canvas");
  const bar = element("span", "bar");
  bar.append(element("i"));
  button.append(picture, element("span", "name", nameOf(label)), bar, element("output"));
  button.title = nameOf(label);
  button.disabled = !about.dimensions;
  picture.hidden = !about.decoder;
  button.addEventListener("click", () => {
    now.pinned = label;
    showClasses();
    chooseCapsule();
    refreshVotes();
  });
  row.append(button);
  byId("classes").append(row);
  return row;
});

function showClasses() {
  const { scores, answers, drawn, drawings } = now.look;
  const sure = (label) => (about.dimensions ? `length ${scores[label].toFixed(2)}` : `${Math.round(scores[label] * 100)} %`);
  const named = answers.map((label) => [element("b", "", nameOf(label)), ` ${sure(label)}`]);
  byId("verdict").replaceChildren(...named.flatMap((words, place) => (place ? [", ", ...words] : words)));
  byId("short-verdict").textContent = answers.map((label) => `${nameOf(label)}, ${sure(label)}`).join("; ");
  showApart();
  rows.forEach((row, label) => {
    const button = row.firstChild;
    row.classList.toggle("winner", answers.includes(label));
    button.setAttribute("aria-pressed", String(label === chosen() && Boolean(about.dimensions)));
    button.querySelector("i").style.transform = `scaleX(${Math.min(1, scores[label])})`;
    button.querySelector("output").textContent = scores[label].toFixed(2);
    const place = drawn.indexOf(label);
    const picture = button.firstChild;
    if (place >= 0) paint(picture, fromBase64(drawings[place]));
    picture.style.visibility = place >= 0 ? "visible" : "hidden";
  });
  if (rows.length > FEW_CLASSES) {
    const sorted = rows.map((row, label) => [row, scores[label]]).sort((one, other) => other[1] - one[1]);
    byId("classes").append(...sorted.map(([row]) => row));
  }
  byId("follow").hidden = now.pinned === null || now.pinned === winner(now.look);
}

// Of a picture of several characters: the drawings of those that are named, over the picture and one by one, each with
// the numbers of its capsule.
function showApart() {
  const { answers, capsules, drawn, drawings, seen } = now.look;
  byId("apart").hidden = about.singles === 1 || !about.decoder;
  if (byId("apart").hidden) return;
  const [picture, area] = [fromBase64(seen), width * height];
  const shown = answers.map((label) => fromBase64(drawings[drawn.indexOf(label)]));
  const onPaper = (value) => (about.lightPaper ? 255 - value : value);
  const gray = (bytes, place) => {
    let sum = 0;
    for (let channel = 0; channel < channels; channel++) sum += bytes[channel * area + place];
    return onPaper(sum / channels); // bright where there is ink
  };
  const mixed = (some, shade) => (_, place) =>
    [0, 1, 2].map((channel) => {
      const start = shade * gray(picture, place);
      const mix = some.reduce((sum, [bytes, light]) => sum + (gray(bytes, place) * onPaper(light[channel])) / 255, start);
      return onPaper(Math.min(255, mix));
    });
  const both = element("figure");
  both.append(pictureOf(picture, mixed(shown.map((bytes, place) => [bytes, LIGHT[place]]), 0.3)));
  both.firstChild.id = "overlay";
  both.append(element("figcaption", "", "both, over the picture"));
  const each = answers.map((label, place) => {
    const figure = element("figure");
    const bars = element("span", "numbers");
    for (const value of capsules[label]) {
      const bar = element("i");
      Object.assign(bar.style, { height: `${Math.min(50, 60 * Math.abs(value))}%`, background: `rgb(${LIGHT[place]})` });
      bar.style[value > 0 ? "bottom" : "top"] = "50%";
      const slot = element("span");
      slot.append(bar);
      bars.append(slot);
    }
    bars.title = `The numbers of the capsule of ${nameOf(label)}`;
    figure.append(pictureOf(shown[place], mixed([[shown[place], LIGHT[place]]], 0)), element("figcaption", "", nameOf(label)), bars);
    return figure;
  });
  byId("apart").replaceChildren(both, ...each);
}

// One capsule

const sliders = Array.from({ length: about.dimensions ?? 0 }, (_, dimension) => {
  const label = element("label");
  const slot = element("span", "slot");
  const slider = element("input");
  Object.assign(slider, { type: "range", min: -FAR, max: FAR, step: 0.01, id: `dimension-${dimension + 1}` });
  slider.setAttribute("aria-label", `Dimension ${dimension + 1}`);
  slot.append(element("i"), slider);
  label.append(String(dimension + 1), slot, element("output"));
  slider.addEventListener("input", () => {
    now.capsule[dimension] = Number(slider.value);
    now.dimension = dimension;
    showCapsule();
    refreshDrawing();
  });
  slider.addEventListener("focus", () => {
    if (now.dimension === dimension) return;
    now.dimension = dimension;
    showCapsule();
    refreshWalk();
  });
  byId("dimensions").append(label);
  byId("dimension").append(new Option(String(dimension + 1), dimension));
  return label;
});

const far = () => (Math.max(...now.look.capsules[chosen()].map(Math.abs)) > FAR ? 1 : FAR);

// The chosen class's capsule, as the network made it.
function chooseCapsule() {
  if (!about.dimensions) return;
  now.capsule = [...now.look.capsules[chosen()]];
  byId("capsule-title").textContent = `What the capsule of ${nameOf(chosen())} knows`;
  showCapsule();
  const place = now.look.drawn.indexOf(chosen());
  if (place >= 0 && about.decoder) {
    paint(byId("drawing"), fromBase64(now.look.drawings[place]));
    walkSoon();
  } else {
    refreshDrawing();
  }
}

function showCapsule() {
  const limit = far();
  sliders.forEach((label, dimension) => {
    const [mark, slider] = label.querySelector(".slot").children;
    const unmoved = now.look.capsules[chosen()][dimension];
    Object.assign(slider, { min: -limit, max: limit, value: now.capsule[dimension] });
    // A slider's knob does not reach its ends: half of it, 8 pixels, is always inside.
    mark.style.left = `calc(8px + (100% - 16px) * ${(unmoved + limit) / (2 * limit)})`;
    label.lastChild.textContent = number(now.capsule[dimension]);
    label.classList.toggle("current", dimension === now.dimension);
  });
  byId("length").textContent = Math.hypot(...now.capsule).toFixed(2);
  byId("dimension").value = now.dimension;
}

const refreshDrawing = latest(async () => {
  if (!about.decoder) return;
  const { drawing } = await ask("/draw", { label: chosen(), capsule: now.capsule });
  paint(byId("drawing"), fromBase64(drawing));
  walkSoon();
});

// A walk, and the way to another picture

const refreshWalk = latest(async () => {
  if (!about.decoder || !now.look || !byId("walk").open) return;
  const { dimension } = now;
  const question = { label: chosen(), capsule: now.capsule, dimension, limit: far() };
  const { values, drawings } = await ask("/walk", question);
  const distances = values.map((value) => Math.abs(value - now.capsule[dimension]));
  const nearest = distances.indexOf(Math.min(...distances));
  byId("walk-strip").replaceChildren(
    ...drawings.map((drawing, place) => {
      const button = element("button", place === nearest ? "here" : "");
      button.append(pictureOf(fromBase64(drawing)), number(values[place]));
      button.addEventListener("click", () => {
        now.capsule[dimension] = values[place];
        showCapsule();
        refreshDrawing();
      });
      return button;
    }),
  );
  const [strip, here] = [byId("walk-strip"), byId("walk-strip").children[nearest]];
  strip.scrollLeft = here.offsetLeft - strip.offsetLeft - (strip.clientWidth - here.clientWidth) / 2;
});

const walkSoon = soon(refreshWalk);

const refreshBetween = latest(async () => {
  if (!about.decoder || !now.look || !now.kept || !byId("between").open) return;
  const { kept, look, pixels } = now;
  const labels = [...new Set([winner(kept.look), winner(look)])];
  const strips = [];
  for (const label of labels) {
    const question = { label, first: kept.look.capsules[label], second: look.capsules[label] };
    const { drawings } = await ask("/between", question);
    const strip = element("div", "strip");
    strip.append(ending(fromBase64(kept.look.seen), "kept"));
    for (const drawing of drawings) {
      const figure = element("figure");
      figure.append(pictureOf(fromBase64(drawing)));
      strip.append(figure);
    }
    strip.append(ending(fromBase64(look.seen), "now"));
    const words = labels.length > 1 ? `As the capsule of ${nameOf(label)} sees them` : `Capsule of ${nameOf(label)}`;
    strips.push(element("p", "", words), strip);
  }
  if (pixels === now.pixels) byId("between-rows").replaceChildren(...strips);
});

const betweenSoon = soon(refreshBetween);

function ending(pixels, caption) {
  const figure = element("figure", "end");
  figure.append(pictureOf(pixels), element("figcaption", "", caption));
  return figure;
}

// Votes

const refreshVotes = latest(async () => {
  if (!now.look || !byId("votes").open || byId("votes-body").hidden) return;
  const label = chosen();
  try {
    const votes = await ask("/votes", { pixels: toBase64(shownPixels()), change: change(), label });
    showVotes(votes, label);
  } catch (error) {
    byId("maps").replaceChildren();
    unable("votes", error.message);
  }
});

const votesSoon = soon(refreshVotes);

function showVotes(votes, label) {
  byId("votes-class").textContent = nameOf(label);
  const found = votes[now.map];
  const neutral = now.map === "shares" ? 1 / about.classes.length : 0;
  const seen = fromBase64(votes.seen);
  byId("map-why").textContent = found || !votes.seesEverything ? WHY[now.map] : WHY.couplings;
  byId("legend").hidden = !found;
  byId("maps").replaceChildren();
  if (found) {
    const reach = Math.max(Math.abs(found.high - neutral), Math.abs(found.low - neutral), 1e-6);
    const least = now.map === "shares" ? Math.max(reach, 0.1 * neutral) : reach;
    found.maps.map(fromBase64).forEach((map, step) => {
      const heat = (place) => (found.low + (map[place] / 255) * (found.high - found.low) - neutral) / least;
      const canvas = element("canvas");
      paint(canvas, seen, (color, place) => heated(color, heat(place)));
      const figure = element("figure");
      const words = `${found.maps.length > 1 ? `Iteration ${step + 1}: ` : ""}length ${votes.lengths[step].toFixed(2)}`;
      figure.append(canvas, element("figcaption", "", words));
      byId("maps").append(figure);
    });
    const shown = (value) => (now.map === "shares" ? `${(value * 100).toFixed(0)} %` : number(value, 3));
    byId("legend-low").textContent = shown(Math.max(neutral - least, now.map === "shares" ? 0 : -Infinity));
    byId("legend-high").textContent = shown(neutral + least);
  }
  showCouplings(now.map === "shares" && !found ? votes.couplings.at(-1) ?? [] : []);
  byId("window-why").hidden = Boolean(votes.grid && !found);
  byId("window-why").textContent = !votes.grid
    ? "Where the primary capsules of this network look is not known here, so that their votes have no place in the picture."
    : `The network looks at ${votes.grid.join(" × ")} places, each ${votes.window} pixels wide; neighbors overlap. ` +
      "The color of a pixel is the mean over the places that see it.";
}

// A pixel of the picture under a color: orange above 0, blue below.
function heated(color, heat) {
  const [strength, over] = [Math.min(1, Math.abs(heat)), heat > 0 ? [232, 116, 30] : [47, 120, 208]];
  return color.map((value, channel) => (1 - 0.75 * strength) * (0.85 * value) + 0.75 * strength * over[channel]);
}

function showCouplings(couplings) {
  const most = Math.max(...couplings.map(Math.abs), 1e-9);
  byId("couplings").replaceChildren(
    ...couplings.map((value, place) => {
      const bar = element("span");
      const fill = element("i");
      const share = Math.abs(value) / most / 2;
      Object.assign(fill.style, value > 0 ? { top: `${50 - 100 * share}%`, bottom: "50%" } : { top: "50%", bottom: `${50 - 100 * share}%` });
      fill.style.background = value > 0 ? "var(--for)" : "var(--against)";
      bar.title = `Primary capsule ${place + 1}: ${number(value, 3)}`;
      bar.append(fill);
      return bar;
    }),
  );
}

// Drawing

const sheet = byId("sheet");
const pencil = sheet.getContext("2d", { willReadFrequently: true });
const [paper, ink] = about.lightPaper ? ["#ffffff", "#000000"] : ["#000000", "#ffffff"];
const strokes = []; // each {width, points}
sheet.height = SHEET;
sheet.width = Math.round((SHEET * width) / height);

function showStrokes() {
  pencil.fillStyle = paper;
  pencil.fillRect(0, 0, sheet.width, sheet.height);
  for (const { width: wide, points } of strokes) {
    Object.assign(pencil, { lineWidth: wide, lineCap: "round", lineJoin: "round", strokeStyle: ink });
    pencil.beginPath();
    pencil.moveTo(points[0][0] - 0.01, points[0][1]); // a line to the same place would not be drawn
    for (const point of points) pencil.lineTo(...point);
    pencil.stroke();
  }
  byId("hint").hidden = strokes.length > 0;
}

// The sheet as a BMP file. The browser's own PNG files take five times as long, for it makes them when it is idle.
function sheetFile() {
  const { width: across, height: down } = sheet;
  const { data } = pencil.getImageData(0, 0, across, down);
  const row = 4 * Math.ceil((3 * across) / 4);
  const file = new DataView(new ArrayBuffer(54 + row * down));
  for (const [place, value] of [[0, 0x4d42], [26, 1], [28, 24]]) file.setUint16(place, value, true);
  for (const [place, value] of [[2, file.byteLength], [10, 54], [14, 40], [18, across], [22, -down]]) {
    file.setInt32(place, value, true); // a negative height: rows run from top to bottom
  }
  for (let y = 0; y < down; y++) {
    for (let x = 0; x < across; x++) {
      const gray = data[4 * (y * across + x)];
      for (const channel of [0, 1, 2]) file.setUint8(54 + y * row + 3 * x + channel, gray);
    }
  }
  return new Blob([file]);
}

const refreshSheet = latest(async () => {
  const { pixels, note, even } = await ask(byId("fit").checked ? "/fitted-drawing" : "/drawing", sheetFile());
  now.placed = [];
  say(even ? "The sheet is empty. Draw something." : note);
  await setPicture(fromBase64(pixels), { another: even });
});

function placeOnSheet(event) {
  const frame = sheet.getBoundingClientRect();
  const scale = sheet.width / frame.width;
  return [(event.clientX - frame.left) * scale, (event.clientY - frame.top) * scale];
}

function changeStrokes() {
  showStrokes();
  refreshSheet();
}

sheet.addEventListener("pointerdown", (event) => {
  if (event.button !== 0) return;
  event.preventDefault();
  sheet.setPointerCapture(event.pointerId);
  if (!strokes.length) {
    now.pinned = null;
    unchange();
  }
  const wide = (Number(byId("pen").value) / 100) * SHEET;
  strokes.push({ width: wide, pointer: event.pointerId, points: [placeOnSheet(event)] });
  changeStrokes();
});
sheet.addEventListener("pointermove", (event) => {
  const stroke = strokes.at(-1);
  if (stroke?.pointer !== event.pointerId) return;
  const passed = event.getCoalescedEvents?.() ?? [];
  stroke.points.push(...(passed.length ? passed : [event]).map(placeOnSheet));
  changeStrokes();
});
for (const ended of ["pointerup", "pointercancel"]) {
  sheet.addEventListener(ended, () => strokes.length && delete strokes.at(-1).pointer);
}
byId("undo").addEventListener("click", () => {
  strokes.pop();
  changeStrokes();
});
byId("clear").addEventListener("click", () => {
  strokes.length = 0;
  changeStrokes();
});
byId("fit").addEventListener("change", () => strokes.length && refreshSheet());

// Test images

let page = 0;
const refreshSamples = latest(async () => {
  if (!about.samples) return;
  const label = byId("sample-class").value;
  const samples = await ask("/samples", { label: label === "" ? null : Number(label), page });
  byId("samples").replaceChildren(
    ...samples.map((sample) => {
      const button = element("button");
      button.append(pictureOf(fromBase64(sample.pixels), null, singleWidth, singleHeight), nameOf(sample.label));
      button.title = `Test image ${sample.number + 1}: ${nameOf(sample.label)}`;
      button.addEventListener("click", () => {
        say(null);
        place([...now.placed, placedAt(sample)].slice(-about.singles));
      });
      return button;
    }),
  );
  if (!now.pixels && samples.length) await begin(samples);
});

// Test images on the canvas, which the task merges; each can be moved with the mouse.

const placedAt = (sample) => ({ sample, pixels: fromBase64(sample.pixels), down: 0, right: 0 });

function place(placed) {
  now.placed = placed;
  return refreshPlaced(true);
}

const refreshPlaced = latest(async (another) => {
  if (!now.placed.length) return;
  const placed = now.placed.map(({ sample, down, right }) => ({ number: sample.number, down, right }));
  const { pixels } = await ask("/arrange", { placed });
  await setPicture(fromBase64(pixels), { another });
});

function pixelOf(event) {
  const frame = byId("seen").getBoundingClientRect();
  return [((event.clientX - frame.left) / frame.width) * width, ((event.clientY - frame.top) / frame.height) * height];
}

// The placed image that has most ink at a pixel, or else the one whose middle is nearest.
function placedUnder([x, y]) {
  const distance = ({ pixels, down, right }) => {
    const column = Math.floor(x - right - (width - singleWidth) / 2);
    const row = Math.floor(y - down - (height - singleHeight) / 2);
    const inside = column >= 0 && column < singleWidth && row >= 0 && row < singleHeight;
    const ink = inside ? pixels[row * singleWidth + column] : 0;
    return Math.hypot(x - right - width / 2, y - down - height / 2) - 1000 * ink;
  };
  return now.placed.reduce((one, other) => (distance(other) < distance(one) ? other : one));
}

let moved = null; // the placed image that the mouse holds: {image, from, down, right}
byId("seen").addEventListener("pointerdown", (event) => {
  if (event.button !== 0 || !now.placed.length) return;
  event.preventDefault();
  byId("seen").setPointerCapture(event.pointerId);
  const image = placedUnder(pixelOf(event));
  moved = { image, from: pixelOf(event), down: image.down, right: image.right };
});
byId("seen").addEventListener("pointermove", (event) => {
  if (!moved) return;
  const [x, y] = pixelOf(event);
  const within = (value, most) => Math.max(-most, Math.min(most, Math.round(value)));
  moved.image.right = within(moved.right + x - moved.from[0], width);
  moved.image.down = within(moved.down + y - moved.from[1], height);
  refreshPlaced(false);
});
for (const ended of ["pointerup", "pointercancel"]) byId("seen").addEventListener(ended, () => (moved = null));

// Shows test images until there is another picture: as many of different classes as a picture has characters; or two
// of the same class that are recognized, if there are such, one after the other.
async function begin(samples) {
  if (about.singles > 1) {
    const others = samples.filter((sample, place) => samples.findIndex((one) => one.label === sample.label) === place);
    return place(others.slice(0, about.singles).map(placedAt));
  }
  const found = [];
  for (const sample of samples) {
    const look = await ask("/look", { pixels: sample.pixels });
    if (winner(look) !== sample.label) continue;
    const other = found.find((earlier) => earlier.sample.label === sample.label);
    found.push({ sample, look });
    if (other) {
      now.kept = { look };
      return place([placedAt(other.sample)]);
    }
  }
  now.kept = { look: found[0]?.look ?? (await ask("/look", { pixels: samples[0].pixels })) };
  return place([placedAt(found[1]?.sample ?? samples.at(-1))]);
}

// Uploads

const upload = latest(async (file) => {
  if (file.size > about.mostBytes) throw new Error(`${file.name} is too large; ${about.mostBytes / 2 ** 20} MiB are the most.`);
  const { pixels, note } = await ask("/upload", file.slice());
  say(note);
  now.placed = [];
  await setPicture(fromBase64(pixels));
});

// The rest of the page

function chooseTab(tab) {
  for (const other of tab.parentElement.children) {
    other.setAttribute("aria-selected", String(other === tab));
    const panel = byId(other.getAttribute("aria-controls"));
    if (panel) panel.hidden = other !== tab;
  }
}

// Says why a part has nothing to show.
function unable(part, why) {
  byId(`${part}-note`).textContent = why;
  byId(`${part}-note`).hidden = false;
  byId(`${part}-body`).hidden = true;
}

for (const tab of document.querySelectorAll("#input [role=tab]")) tab.addEventListener("click", () => chooseTab(tab));
for (const [id, map] of [["show-pushes", "pushes"], ["show-shares", "shares"]]) {
  byId(id).addEventListener("click", () => {
    chooseTab(byId(id));
    now.map = map;
    refreshVotes();
  });
}
for (const key of Object.keys(CHANGES)) {
  byId(key).addEventListener("input", () => {
    showChange();
    refreshLook();
  });
}
byId("swap").addEventListener("change", refreshLook);
byId("unchange").addEventListener("click", () => {
  unchange();
  refreshLook();
});
byId("follow").addEventListener("click", () => {
  now.pinned = null;
  showClasses();
  chooseCapsule();
  refreshVotes();
});
byId("reset").addEventListener("click", chooseCapsule);
byId("dimension").addEventListener("change", () => {
  now.dimension = Number(byId("dimension").value);
  showCapsule();
  refreshWalk();
});
byId("keep").addEventListener("click", () => {
  now.kept = { look: now.look };
  refreshBetween();
});
byId("walk").addEventListener("toggle", refreshWalk);
byId("between").addEventListener("toggle", refreshBetween);
byId("votes").addEventListener("toggle", refreshVotes);
byId("sample-class").append(...about.classes.map((_, label) => new Option(nameOf(label), label)));
byId("sample-class").addEventListener("change", () => {
  page = 0;
  refreshSamples();
});
byId("more-samples").addEventListener("click", () => {
  page += 1;
  refreshSamples();
});
byId("file").addEventListener("change", (event) => {
  if (event.target.files.length) upload(event.target.files[0]);
  event.target.value = "";
});
for (const kind of ["dragover", "dragleave", "drop"]) {
  byId("drop").addEventListener(kind, (event) => {
    event.preventDefault();
    byId("drop").classList.toggle("over", kind === "dragover");
    if (kind === "drop" && event.dataTransfer.files.length) upload(event.dataTransfer.files[0]);
  });
}

byId("title").textContent = about.title;
if (about.singles > 1) {
  byId("hint").textContent = "Draw two characters here, one over the other";
  byId("samples-note").textContent += ` Choose ${about.singles}, and move them with the mouse in the picture below.`;
}
byId("scores-why").textContent = about.dimensions ? WHY.capsules + (about.decoder ? WHY.drawings : "") : WHY.scores;
byId("classes").classList.toggle("plain", !about.decoder);
if (!about.dimensions) {
  unable("capsule", "This network has no capsules, so there are no dimensions to move. Its scores are above.");
} else if (!about.decoder) {
  byId("capsule-note").textContent = "This network has no decoder that could draw its capsules. These are their numbers.";
  byId("capsule-note").hidden = false;
  byId("capsule-body").firstElementChild.hidden = true; // says what the decoder does
  byId("capsule").classList.add("undrawn");
  for (const slider of byId("dimensions").querySelectorAll("input")) slider.disabled = true;
}
byId("walk").hidden = byId("between").hidden = !about.decoder;
if (!about.routing) unable("votes", "This network has no routing that the page can find, so there are no votes to show.");
if (!about.samples) {
  byId("samples-note").textContent = `There are no test images to choose from: ${about.whyNoSamples}`;
  byId("sample-class").parentElement.parentElement.hidden = true;
}
showChange();
showStrokes();
await refreshSamples();
document.body.dataset.ready = "yes";
