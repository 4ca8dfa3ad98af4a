(function () {
  "use strict";
  const figure = document.getElementById("feature-map");
  const data = JSON.parse(document.getElementById("map-data").textContent);
  const canvas = figure.querySelector(".map-canvas");
  const tip = figure.querySelector(".map-tip");
  const told = figure.querySelector(".map-told");
  const chooser = figure.querySelector(".map-class");
  const still = figure.querySelector(".map-still");
  // Names and mistakes say how they differ from those before them: see featcache/reports/packed_map.py.
  data.name.forEach((own, number) => {
    const shared = parseInt(own[0], 36);
    data.name[number] = (number ? data.name[number - 1].slice(0, shared) : "") + own.slice(1);
  });
  const wrong = {}, mistakes = [];
  data.wrong.steps.forEach((step, index) => {
    mistakes.push(step + (index ? mistakes[index - 1] : 0));
    wrong[mistakes[index]] = data.wrong.classes[index];
  });
  // From left to right: the order in which the arrow keys go.
  const order = data.x.map((_, number) => number).sort((a, b) => data.x[a] - data.x[b]);
  const place = [];
  order.forEach((number, index) => { place[number] = index; });
  const MARGIN = 12, NEAR = 14, MISTAKE = "#e0322f";
  let scale = 1, left = 0, top = 0, radius = 3, current = -1;

  const lowX = Math.min.apply(null, data.x), highX = Math.max.apply(null, data.x);
  const lowY = Math.min.apply(null, data.y), highY = Math.max.apply(null, data.y);

  function fit() {
    const width = canvas.clientWidth, height = Math.round(Math.max(280, width * 2 / 3));
    const dense = window.devicePixelRatio || 1;
    canvas.style.height = height + "px";
    canvas.width = Math.round(width * dense);
    canvas.height = Math.round(height * dense);
    scale = Math.min((width - 2 * MARGIN) / Math.max(1, highX - lowX),
      (height - 2 * MARGIN) / Math.max(1, highY - lowY));
    left = width / 2 - scale * (lowX + highX) / 2;
    top = height / 2 - scale * (lowY + highY) / 2;
    radius = data.x.length > 2000 ? 2.2 : width < 500 ? 2.6 : 3.6;
    paint();
  }

  function at(number) { return [left + scale * data.x[number], top + scale * data.y[number]]; }

  function isShown(number) { return chooser.value === "" || data.label[number] === Number(chooser.value); }

  // All but the ring is drawn once, on a canvas that is not shown: ten thousand points at every move would lag.
  const ground = document.createElement("canvas");

  function paint() {
    ground.width = canvas.width;
    ground.height = canvas.height;
    const brush = ground.getContext("2d"), dense = window.devicePixelRatio || 1;
    brush.setTransform(dense, 0, 0, dense, 0, 0);
    // The chosen class is drawn last, over the others, which stay as a faint ground.
    for (const front of [false, true]) {
      brush.globalAlpha = front ? 0.85 : 0.12;
      for (let number = 0; number < data.x.length; number++) {
        if (isShown(number) !== front) continue;
        brush.fillStyle = data.colours[data.label[number]];
        const [x, y] = at(number);
        brush.beginPath();
        brush.arc(x, y, radius, 0, 2 * Math.PI);
        brush.fill();
      }
    }
    brush.globalAlpha = 1;
    brush.strokeStyle = MISTAKE;
    brush.lineWidth = 2;
    for (const number of mistakes) {
      if (isShown(number)) cross(brush, at(number), radius * 1.7);
    }
    draw();
  }

  function draw() {
    const brush = canvas.getContext("2d"), dense = window.devicePixelRatio || 1;
    brush.setTransform(1, 0, 0, 1, 0, 0);
    brush.clearRect(0, 0, canvas.width, canvas.height);
    if (ground.width && ground.height) brush.drawImage(ground, 0, 0);
    if (current < 0) return;
    const [x, y] = at(current);
    brush.setTransform(dense, 0, 0, dense, 0, 0);
    brush.strokeStyle = getComputedStyle(figure).color;
    brush.lineWidth = 2;
    brush.beginPath();
    brush.arc(x, y, radius + 4, 0, 2 * Math.PI);
    brush.stroke();
  }

  function cross(brush, [x, y], arm) {
    brush.beginPath();
    brush.moveTo(x - arm, y - arm);
    brush.lineTo(x + arm, y + arm);
    brush.moveTo(x - arm, y + arm);
    brush.lineTo(x + arm, y - arm);
    brush.stroke();
  }

  function words(number) {
    const truth = data.classes[data.label[number]];
    const taken = wrong[number] === undefined ? "" : ", taken for " + data.classes[wrong[number]];
    return data.name[number] + ": " + truth + taken;
  }

  function photo(number) {
    const found = data.pictures[number];
    if (!found) return null;
    const element = document.createElement("div");
    element.className = "map-photo sheet" + found[0];
    element.style.width = found[3] + "px";
    element.style.height = found[4] + "px";
    element.style.backgroundPosition = -found[1] + "px " + -found[2] + "px";
    return element;
  }

  function show(number, aloud) {
    if (number === current) return;
    current = number;
    draw();
    tip.hidden = number < 0;
    if (number < 0) return;
    const picture = photo(number);
    tip.replaceChildren(...(picture ? [picture] : []), document.createTextNode(words(number)));
    const [x, y] = at(number);
    // To the other side of the point where it would leave the map.
    tip.style.left = Math.max(0, x > canvas.clientWidth / 2 ? x - tip.offsetWidth - 12 : x + 12) + "px";
    tip.style.top = Math.max(0, Math.min(y, canvas.clientHeight - tip.offsetHeight)) + "px";
    if (aloud) told.textContent = words(number);
  }

  function nearest(x, y) {
    let best = -1, least = NEAR * NEAR;
    for (let number = 0; number < data.x.length; number++) {
      if (!isShown(number)) continue;
      const [ownX, ownY] = at(number);
      const far = (ownX - x) * (ownX - x) + (ownY - y) * (ownY - y);
      if (far < least) { least = far; best = number; }
    }
    return best;
  }

  function step(by) {
    let index = current < 0 ? (by > 0 ? -1 : order.length) : place[current];
    do { index += by; } while (index >= 0 && index < order.length && !isShown(order[index]));
    if (index >= 0 && index < order.length) show(order[index], true);
  }

  function nextMistake() {
    const known = mistakes.filter(isShown);
    if (known.length) show(known.find((number) => number > current) ?? known[0], true);
  }

  canvas.addEventListener("pointermove", (event) => show(nearest(event.offsetX, event.offsetY), false));
  canvas.addEventListener("pointerdown", (event) => show(nearest(event.offsetX, event.offsetY), true));
  canvas.addEventListener("pointerleave", () => show(-1, false));
  canvas.addEventListener("blur", () => show(-1, false));
  canvas.addEventListener("keydown", (event) => {
    if (event.key === "ArrowRight") step(1);
    else if (event.key === "ArrowLeft") step(-1);
    else if (event.key === "m" || event.key === "M") nextMistake();
    else if (event.key === "Escape") show(-1, false);
    else return;
    event.preventDefault();
  });
  figure.querySelector(".map-next").addEventListener("click", nextMistake);
  chooser.addEventListener("change", () => { show(-1, false); paint(); });
  window.addEventListener("resize", fit);

  still.hidden = true;
  canvas.hidden = false;
  figure.querySelector(".map-controls").hidden = false;
  fit();
})();
