// The page: a photo from a file, the clipboard or the camera; prepared as featcache prepares it, run, and told.
import * as ort from "./onnxruntime-web.js";
import { decode, PhotoError, pixelsAreTrue } from "./decoding.js";
import { fit } from "./pixels.js";
import { verdict } from "./verdict.js";

const part = (name) => document.getElementById(name);
const made = (tag, content = {}, ...children) => {
  const element = Object.assign(document.createElement(tag), content);
  element.append(...children);
  return element;
};
// In which order the Pillow of whoever wrote this folder resamples, see pixels.js.
const tallFirst = document.documentElement.dataset.tallFirst === "true";
let description, session, shown = "", stream = null, turn = 0;

function say(text) {
  part("headline").textContent = text;
}

function tell(problem) {
  part("problem").textContent = problem;
  part("problem").hidden = !problem;
}

/** Run the network on a prepared picture; returns its first output and the distance, or null. */
async function run(picture) {
  const { name, height, width } = description.input;
  const tensor = new ort.Tensor("uint8", picture.data, [1, height, width, 3]);
  const first = session.outputNames[0];
  const wanted = session.outputNames.includes("distance") ? [first, "distance"] : [first];
  const found = await session.run({ [name]: tensor }, wanted);
  if (found[first].type !== "float32") throw new Error(`the network's output is ${found[first].type}, expected float32`);
  return { values: found[first].data, distance: found.distance ? found.distance.data[0] : null };
}

/** What the network makes of an encoded photo, and what it saw of it. */
async function classify(blob) {
  const image = await decode(blob, description.transforms);
  const picture = fit(image, description.transforms, { tallFirst });
  return { image, picture, ...(await run(picture)) };
}

function showPhoto(blob, name, { image, picture }) {
  URL.revokeObjectURL(shown);
  shown = URL.createObjectURL(blob);
  const photo = part("photo");
  photo.style.imageOrientation = description.transforms.exif === "apply" ? "from-image" : "none";
  photo.src = shown;
  photo.alt = name ? `The photo ${name}` : "The photo from the camera";
  const [left, top, width, height] = picture.seen;
  const whole = left <= 0 && top <= 0 && width >= image.width && height >= image.height;
  part("frame-says").textContent = whole ? "" : ", and the part that the network sees";
  part("frame").hidden = whole;
  const share = (value, of) => `${(100 * value) / of}%`;
  Object.assign(part("frame").style, {
    left: share(left, image.width), top: share(top, image.height),
    width: share(width, image.width), height: share(height, image.height),
  });
  const canvas = part("seen");
  [canvas.width, canvas.height] = [picture.width, picture.height];
  const pixels = new ImageData(picture.width, picture.height);
  for (let from = 0, to = 0; from < picture.data.length; from += 3, to += 4) {
    pixels.data.set([picture.data[from], picture.data[from + 1], picture.data[from + 2], 255], to);
  }
  canvas.getContext("2d").putImageData(pixels, 0, 0);
}

function showVerdict({ values, distance }) {
  const { headline, unknown, reasons, rows, hidden } = verdict(values, distance, description);
  say(headline);
  document.title = headline;
  part("answer-title").textContent = unknown ? "Unknown, and why" : "What it says";
  part("why").replaceChildren(...reasons.map((text) => made("p", { className: "notice", textContent: text })));
  const more = hidden ? `, the first ${rows.length} of ${rows.length + hidden}` : "";
  const what = { multiclass: "Classes", multilabel: "Labels", regression: "Numbers" }[description.task] ?? "Outputs";
  part("bars").caption.textContent = `${what}${more}`;
  part("bars").tBodies[0].replaceChildren(...rows.map(({ name, text, share }) => {
    const row = made("tr", {}, made("th", { scope: "row", textContent: name }));
    if (share !== null) {
      const bar = made("span");
      bar.style.width = `${100 * share}%`;
      row.append(made("td", { className: "bar" }, made("div", { className: "track", ariaHidden: "true" }, bar)));
    }
    row.append(made("td", { className: "num", textContent: text }));
    return row;
  }));
}

async function take(blob, name = "") {
  const own = ++turn; // of two photos given quickly the later one stays
  tell("");
  say("One moment …");
  await new Promise((resolve) => setTimeout(resolve)); // lets the line above be seen
  try {
    const found = await classify(blob);
    if (own !== turn) return;
    showPhoto(blob, name, found);
    showVerdict(found);
    part("answer").hidden = false;
  } catch (error) {
    if (own !== turn) return;
    part("answer").hidden = true;
    say("No answer");
    tell(error instanceof PhotoError ? error.message : `The photo could not be classified: ${error.message}`);
    if (!(error instanceof PhotoError)) console.error(error);
  }
}

// ---- the camera

const REFUSALS = {
  NotAllowedError: "The camera was refused: allow it for this page in the browser's settings (the sign beside its address), "
    + "or choose a photo.",
  NotFoundError: "There is no camera here; choose a photo.",
  NotReadableError: "Another program is using the camera: close that, or choose a photo.",
};

function stopCamera() {
  stream?.getTracks().forEach((track) => track.stop());
  stream = null;
  part("live").hidden = true;
  part("camera").disabled = false;
}

async function startCamera() {
  tell("");
  if (!navigator.mediaDevices?.getUserMedia) {
    tell("Browsers give the camera only to pages from localhost or over https; choose a photo.");
    return;
  }
  part("camera").disabled = true;
  try {
    stream = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "environment" } });
  } catch (error) {
    stopCamera();
    tell(REFUSALS[error.name] ?? `The camera cannot be used (${error.name}); choose a photo.`);
    return;
  }
  part("video").srcObject = stream;
  part("shoot").disabled = true; // until there is something to take
  part("live").hidden = false;
  await part("video").play();
  part("shoot").disabled = false;
  part("shoot").focus();
}

async function shoot() {
  const video = part("video"), canvas = made("canvas", { width: video.videoWidth, height: video.videoHeight });
  canvas.getContext("2d").drawImage(video, 0, 0);
  const blob = await new Promise((resolve) => canvas.toBlob(resolve, "image/png"));
  if (blob) await take(blob);
}

// ---- files, the clipboard, and what is dropped

const photoIn = (files) => [...(files ?? [])].find((file) => file.type.startsWith("image/")) ?? files?.[0];

function listen() {
  part("choose").addEventListener("click", () => part("file").click());
  part("file").addEventListener("change", ({ target }) => {
    const file = target.files[0];
    if (file) take(file, file.name);
    target.value = ""; // so that the same file can be chosen again
  });
  part("camera").addEventListener("click", startCamera);
  part("shoot").addEventListener("click", shoot);
  part("stop").addEventListener("click", () => { stopCamera(); part("camera").focus(); });
  document.addEventListener("paste", ({ clipboardData }) => {
    const file = photoIn(clipboardData.files);
    if (file) take(file, file.name);
    else tell("There is no photo in the clipboard: copy the photo itself, not its address.");
  });
  const root = document.documentElement;
  document.addEventListener("dragover", (event) => {
    event.preventDefault();
    root.classList.add("dropping");
  });
  document.addEventListener("dragleave", ({ relatedTarget }) => { if (!relatedTarget) root.classList.remove("dropping"); });
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    root.classList.remove("dropping");
    const file = photoIn(event.dataTransfer.files);
    if (file) take(file, file.name);
    else tell("What was dropped is no file: drop a photo from this computer, or save it first.");
  });
}

// ---- the start

function fact(name, text) {
  part("facts").append(made("dt", { textContent: name }), made("dd", { textContent: text }));
}

function describe() {
  const { classes, task, steps, input, unknown } = description;
  fact("Task", { multiclass: `one of ${classes.length} classes`, multilabel: `any of ${classes.length} labels`,
    regression: `${classes.length === 1 ? "a number" : `${classes.length} numbers`}` }[task] ?? task);
  const { below_probability: least, beyond_distance: farthest } = unknown ?? {};
  const when = [
    ...(least == null ? [] : [`no answer is as probable as ${(100 * least).toFixed(1)} %`]),
    ...(farthest == null ? [] : ["a photo is unlike those that it has learned from"]),
  ];
  fact("Says “unknown”", when.length ? `where ${when.join(", or ")}` : "never");
  fact("Sees", `${input.width}×${input.height} pixels`);
  part("steps").replaceChildren(...steps.map((text) => made("li", { textContent: text })));
  part("classes").textContent = classes.join(", ");
}

/** Keep all files, so that the page opens without a network; says what became of it. */
async function keep() {
  if (!("serviceWorker" in navigator)) {
    return window.isSecureContext ? "no: this browser does not keep pages" : "no: that needs localhost or https";
  }
  try {
    await navigator.serviceWorker.register("service-worker.js");
    await navigator.serviceWorker.ready;
    return "yes, from now on";
  } catch (error) {
    return `no: ${error.message}`;
  }
}

async function fetched(name) {
  const answer = await fetch(name);
  if (!answer.ok) throw new Error(`${name} is not there (${answer.status})`);
  return answer;
}

async function start() {
  part("not-started").hidden = true;
  say("One moment: the network is being loaded");
  try {
    const { model, runtime } = document.documentElement.dataset;
    description = await (await fetched("preprocessing.json")).json();
    ort.env.wasm.numThreads = 1; // several need headers (COOP, COEP) that plain servers do not send
    ort.env.wasm.wasmPaths = { wasm: new URL(runtime, document.baseURI).href };
    session = await ort.InferenceSession.create(new URL(model, document.baseURI).href);
  } catch (error) {
    say("The network could not be loaded");
    part("give").hidden = false;
    part("give").querySelectorAll("button").forEach((button) => { button.disabled = true; });
    tell(`${error.message}. Write the folder again with featcache export --web, and serve all of it.`);
    console.error(error);
    return;
  }
  describe();
  listen();
  say(description.task === "regression" ? "Which number?" : "Which is it?");
  if (!pixelsAreTrue()) {
    tell("This browser changes the pixels that pages read, against being recognised: answers may be wrong. Allow this page to "
      + "read canvases, or use another browser.");
  }
  part("give").hidden = part("about").hidden = false;
  fact("Works offline", await keep());
  document.documentElement.dataset.state = "ready";
}

// For tests, and for whoever tries it on many photos: featcache.classify(blob) on the console.
window.featcache = { classify, ready: start() };
