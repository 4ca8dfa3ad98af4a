// Resize and crop as featcache does with Pillow, to the last bit: featcache/images/resizing.py in JavaScript.
//
// A picture here is {width, height, data}: 8-bit RGB without gaps, row by row. The arithmetic is that of Pillow's
// src/libImaging/Resample.c: the weights of each output column and row are computed in double precision, rounded to
// fixed point with 22 bits behind the point, and the picture is resampled across, rounded to 8 bits, then down (tall
// ones down first, see `resize`).

const PRECISION_BITS = 32 - 8 - 2;
const WHOLE_RESIZE_PIXELS = 2 ** 24; // as _WHOLE_RESIZE_PIXELS in resizing.py

const sinc = (x) => (x === 0 ? 1 : Math.sin(x * Math.PI) / (x * Math.PI));
const A = -0.5; // the free parameter of the cubic (Keys, 1981)
const FILTERS = {
  bilinear: { support: 1, weight: (x) => Math.max(0, 1 - Math.abs(x)) },
  bicubic: {
    support: 2,
    weight: (given) => {
      const x = Math.abs(given);
      if (x < 1) return ((A + 2) * x - (A + 3)) * x * x + 1;
      return x < 2 ? (((x - 5) * x + 8) * x - 4) * A : 0;
    },
  },
  lanczos: { support: 3, weight: (x) => (x >= -3 && x < 3 ? sinc(x) * sinc(x / 3) : 0) },
};

/** The weights of output pixels `first` to `first + count` of `outSize`, which cover `from` to `to` of the input. */
function weights(inSize, from, to, outSize, filter, first, count) {
  // Pillow takes the box as float32, and their difference is one, too.
  const scale = Math.fround(to - from) / outSize;
  const filterScale = Math.max(scale, 1); // antialiasing: where it shrinks, the filter grows with the pixels
  const support = filter.support * filterScale;
  const most = Math.ceil(support) * 2 + 1;
  const starts = new Int32Array(count), counts = new Int32Array(count), values = new Int32Array(count * most);
  const exact = new Float64Array(most);
  for (let number = 0; number < count; number++) {
    const centre = from + (first + number + 0.5) * scale;
    const start = Math.max(0, Math.trunc(centre - support + 0.5));
    const length = Math.min(inSize, Math.trunc(centre + support + 0.5)) - start;
    let sum = 0;
    for (let tap = 0; tap < length; tap++) {
      exact[tap] = filter.weight((tap + start - centre + 0.5) * (1 / filterScale));
      sum += exact[tap];
    }
    for (let tap = 0; tap < length; tap++) {
      const weight = (sum === 0 ? exact[tap] : exact[tap] / sum) * (1 << PRECISION_BITS);
      values[number * most + tap] = Math.trunc(weight < 0 ? weight - 0.5 : weight + 0.5);
    }
    starts[number] = start;
    counts[number] = length;
  }
  return { starts, counts, values, most };
}

const clip8 = (sum) => Math.min(255, Math.max(0, sum >> PRECISION_BITS));

/** Which of the input's pixels the weights reach: the first, and the one behind the last. */
const reach = ({ starts, counts }) => [
  starts.reduce((first, start) => Math.min(first, start)),
  starts.reduce((end, start, number) => Math.max(end, start + counts[number]), 0),
];

/** Resample the rows from `top` to `bottom`; the picture's first column is the weights' column `first`. */
function across({ width, data }, { starts, counts, values, most }, first, top, bottom) {
  const columns = starts.length, out = new Uint8Array(columns * (bottom - top) * 3);
  for (let y = top, to = 0; y < bottom; y++) {
    for (let x = 0; x < columns; x++, to += 3) {
      let red = 1 << (PRECISION_BITS - 1), green = red, blue = red;
      let from = (y * width + starts[x] - first) * 3;
      for (let tap = x * most, end = tap + counts[x]; tap < end; tap++, from += 3) {
        const weight = values[tap];
        red += data[from] * weight;
        green += data[from + 1] * weight;
        blue += data[from + 2] * weight;
      }
      out[to] = clip8(red);
      out[to + 1] = clip8(green);
      out[to + 2] = clip8(blue);
    }
  }
  return { width: columns, height: bottom - top, data: out };
}

/** Resample the columns; the picture's first row is the weights' row `first`. */
function down({ width, data }, { starts, counts, values, most }, first) {
  const rows = starts.length, line = width * 3, out = new Uint8Array(rows * line), sums = new Int32Array(line);
  for (let y = 0; y < rows; y++) {
    sums.fill(1 << (PRECISION_BITS - 1));
    for (let tap = 0; tap < counts[y]; tap++) {
      const weight = values[y * most + tap], from = (starts[y] - first + tap) * line;
      for (let place = 0; place < line; place++) sums[place] += data[from + place] * weight;
    }
    for (let place = 0; place < line; place++) out[y * line + place] = clip8(sums[place]);
  }
  return { width, height: rows, data: out };
}

/** Which input pixel each output pixel is, as Pillow's ImagingScaleAffine adds them up. */
function nearestPlaces(inSize, from, to, outSize, first, count) {
  const step = Math.fround(to - from) / outSize;
  const places = new Int32Array(count);
  let place = from + step * 0.5;
  for (let number = 0; number < first + count; number++, place += step) {
    if (number >= first) places[number - first] = place < 0 || place >= inSize ? -1 : Math.trunc(place);
  }
  return places;
}

function nearest(image, columns, rows) {
  const out = new Uint8Array(columns.length * rows.length * 3);
  let to = 0;
  for (const y of rows) {
    for (const x of columns) {
      const from = (y * image.width + x) * 3;
      // What lies outside stays black.
      for (let channel = 0; channel < 3; channel++, to++) out[to] = x < 0 || y < 0 ? 0 : image.data[from + channel];
    }
  }
  return { width: columns.length, height: rows.length, data: out };
}

/**
 * Image.resize((width, height), method, box), and of that the window [left, top, width, height].
 *
 * Only what the window is made of is computed. `tallFirst`: since its version 13 Pillow resamples down before across
 * where the height shrinks by more than twice what the width does, in pixels (python-pillow/Pillow#9549).
 */
export function resize(image, width, height, method, { box = null, window = [0, 0, width, height], tallFirst = true } = {}) {
  const [x0, y0, x1, y1] = (box ?? [0, 0, image.width, image.height]).map(Math.fround);
  const [left, top, windowWidth, windowHeight] = window;
  if (method === "nearest") {
    return nearest(
      image,
      nearestPlaces(image.width, x0, x1, width, left, windowWidth),
      nearestPlaces(image.height, y0, y1, height, top, windowHeight),
    );
  }
  const filter = FILTERS[method];
  if (!filter) throw new Error(`interpolation is ${method}, expected bilinear, bicubic, lanczos or nearest`);
  // A side that stays as it is is not resampled at all; there only the window is cut out.
  const keepsWidth = width === image.width && x0 === 0 && x1 === width;
  const keepsHeight = height === image.height && y0 === 0 && y1 === height;
  if (keepsWidth && keepsHeight) return crop(image, left, top, windowWidth, windowHeight);
  const columns = keepsWidth ? null : weights(image.width, x0, x1, width, filter, left, windowWidth);
  const rows = keepsHeight ? null : weights(image.height, y0, y1, height, filter, top, windowHeight);
  if (!rows) return across(image, columns, 0, top, top + windowHeight);
  const [firstRow, endRow] = reach(rows);
  if (!columns) return down(crop(image, left, firstRow, windowWidth, endRow - firstRow), rows, firstRow);
  if (tallFirst && image.height > height && image.height - height > 2 * (image.width - width)) {
    const [firstColumn, endColumn] = reach(columns);
    const part = crop(image, firstColumn, firstRow, endColumn - firstColumn, endRow - firstRow);
    return across(down(part, rows, firstRow), columns, firstColumn, 0, windowHeight);
  }
  return down(across(image, columns, 0, firstRow, endRow), rows, firstRow);
}

/** Image.crop: what lies outside of the picture is black. */
export function crop(image, left, top, width, height) {
  const out = new Uint8Array(width * height * 3);
  const start = Math.max(0, left), end = Math.min(image.width, left + width);
  for (let y = Math.max(0, top); start < end && y < Math.min(image.height, top + height); y++) {
    const row = image.data.subarray((y * image.width + start) * 3, (y * image.width + end) * 3);
    out.set(row, ((y - top) * width + start - left) * 3);
  }
  return { width, height, data: out };
}

/** Python's round: halves go to the even number. */
export function roundHalfEven(value) {
  const below = Math.floor(value), rest = value - below;
  if (rest !== 0.5) return rest < 0.5 ? below : below + 1;
  return below % 2 === 0 ? below : below + 1;
}

/** Height and width of the whole picture after the resize of "center": _resized_size in resizing.py. */
function resizedSize(image, transforms) {
  const [toHeight, toWidth] = transforms.input_size.map((side) => Math.floor(side / transforms.crop_pct));
  if (toHeight !== toWidth) {
    const ratio = Math.min(image.height / toHeight, image.width / toWidth);
    return [roundHalfEven(image.height / ratio), roundHalfEven(image.width / ratio)];
  }
  if (image.width <= image.height) return [Math.trunc((toWidth * image.height) / image.width), toWidth];
  return [toHeight, Math.trunc((toHeight * image.width) / image.height)];
}

/**
 * What the network sees of a picture: `fit` in resizing.py.
 *
 * `tallFirst` as for `resize`. Returns the picture of transforms.input_size, and `seen`: [left, top, width, height] of the part of the given
 * picture that it shows, in the given picture's pixels.
 */
export function fit(image, transforms, { tallFirst = true } = {}) {
  const [height, width] = transforms.input_size;
  const { crop_mode: mode, crop_pct: share, interpolation: method } = transforms;
  if (mode === "squash") {
    // The margins are rounded down, as tf.image.central_crop does.
    const [left, top] = share === 1 ? [0, 0] : [image.width, image.height].map((side) => Math.trunc((side - side * share) / 2));
    const seen = [left, top, image.width - 2 * left, image.height - 2 * top];
    const central = left || top ? crop(image, ...seen) : image;
    return { ...resize(central, width, height, method, { tallFirst }), seen };
  }
  if (mode === "crop_or_pad") {
    const left = Math.trunc((image.width - width) / 2), top = Math.trunc((image.height - height) / 2);
    return { ...crop(image, left, top, width, height), seen: [left, top, width, height] };
  }
  if (mode !== "center") throw new Error(`crop_mode is ${mode}, expected center, squash or crop_or_pad`);
  const [newHeight, newWidth] = resizedSize(image, transforms);
  const left = roundHalfEven((newWidth - width) / 2), top = roundHalfEven((newHeight - height) / 2);
  const wide = image.width / newWidth, high = image.height / newHeight;
  const seen = [left * wide, top * high, width * wide, height * high];
  if (newHeight * newWidth <= WHOLE_RESIZE_PIXELS) {
    const window = [left, top, width, height];
    return { ...resize(image, newWidth, newHeight, method, { window, tallFirst }), seen };
  }
  const right = Math.min((left + width) * wide, image.width), bottom = Math.min((top + height) * high, image.height);
  const box = [left * wide, top * high, right, bottom];
  return { ...resize(image, width, height, method, { box, tallFirst }), seen };
}

// How a picture that was stored with EXIF's orientation 2 to 8 is turned upright: for each the steps to the next
// column and to the next row of the upright picture, and the corner where its first pixel is, in the stored one.
const TURNS = {
  2: (w, h) => [w, h, w - 1, -1, w],
  3: (w, h) => [w, h, w * h - 1, -1, -w],
  4: (w, h) => [w, h, (h - 1) * w, 1, -w],
  5: (w, h) => [h, w, 0, w, 1],
  6: (w, h) => [h, w, (h - 1) * w, -w, 1],
  7: (w, h) => [h, w, w * h - 1, -w, -1],
  8: (w, h) => [h, w, w - 1, w, -1],
};

/** Turn a picture upright that was stored with this orientation; 1 and what makes no sense leave it as it is. */
export function upright(image, orientation) {
  const turn = TURNS[orientation];
  if (!turn) return image;
  const [width, height, corner, toNextColumn, toNextRow] = turn(image.width, image.height);
  const out = new Uint8Array(image.data.length);
  for (let y = 0, to = 0; y < height; y++) {
    for (let x = 0; x < width; x++, to += 3) {
      const from = (corner + x * toNextColumn + y * toNextRow) * 3;
      out[to] = image.data[from];
      out[to + 1] = image.data[from + 1];
      out[to + 2] = image.data[from + 2];
    }
  }
  return { width, height, data: out };
}

/** RGBA to RGB: over white as Pillow's paste with a mask rounds it, or ("drop") without the alpha. */
export function withoutAlpha(rgba, rule, out) {
  const white = !rule.startsWith("drop");
  for (let from = 0, to = 0; from < rgba.length; from += 4, to += 3) {
    const alpha = rgba[from + 3];
    for (let channel = 0; channel < 3; channel++) {
      const value = rgba[from + channel];
      if (!white || alpha === 255) {
        out[to + channel] = value;
      } else {
        const sum = 255 * (255 - alpha) + value * alpha + 128;
        out[to + channel] = ((sum >> 8) + sum) >> 8;
      }
    }
  }
}
