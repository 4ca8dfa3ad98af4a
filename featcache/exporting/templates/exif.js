// How a photo was stored: EXIF's orientation, found in its bytes and taken out of them.
//
// Browsers turn photos by themselves while they decode them, and do not agree on how to forbid it. With the number taken
// out, all of them give the pixels as they were stored, and pixels.js turns them, or does not, as the classifier says.

const ORIENTATION = 0x0112;
const EXIF = [0x45, 0x78, 0x69, 0x66, 0, 0]; // "Exif" and two zeros
const latin1 = new TextDecoder("latin1");

const startsWith = (bytes, at, head) => head.every((byte, place) => bytes[at + place] === byte);
const text = (bytes, from, to) => latin1.decode(bytes.subarray(from, to));

/** Where the orientation of a TIFF block lies: {number, at, size, little}; null where it says nothing that makes sense. */
function inTiff(bytes, from, to) {
  const view = new DataView(bytes.buffer, bytes.byteOffset + from, Math.max(0, to - from));
  try {
    const order = view.getUint16(0), little = order === 0x4949;
    if ((!little && order !== 0x4d4d) || view.getUint16(2, little) !== 42) return null;
    const directory = view.getUint32(4, little), entries = view.getUint16(directory, little);
    for (let entry = directory + 2; entry < directory + 2 + entries * 12; entry += 12) {
      if (view.getUint16(entry, little) !== ORIENTATION) continue;
      const type = view.getUint16(entry + 2, little);
      if (view.getUint32(entry + 4, little) !== 1 || (type !== 3 && type !== 4)) return null;
      const number = type === 3 ? view.getUint16(entry + 8, little) : view.getUint32(entry + 8, little);
      return { number, at: from + entry + 8, size: type === 3 ? 2 : 4, little };
    }
  } catch (error) {
    if (!(error instanceof RangeError)) throw error; // the block ends before what it announces
  }
  return null;
}

function blank(bytes, { at, size, little }) {
  bytes.fill(0, at, at + size);
  bytes[little ? at : at + size - 1] = 1;
}

/** As Pillow: XMP speaks where EXIF does not. */
const inXmp = (xmp) => Number(/tiff:Orientation(?:="|>)([0-9])/.exec(xmp)?.[1] ?? 1);

function fromJpeg(bytes) {
  let found = null, xmp = "";
  for (let at = 2; at + 4 <= bytes.length && bytes[at] === 0xff; ) {
    const marker = bytes[at + 1];
    if (marker === 0xff) { at += 1; continue; } // padding
    if (marker === 0xda || marker === 0xd9) break; // pixels follow, or nothing
    if (marker === 0x01 || (marker >= 0xd0 && marker <= 0xd7)) { at += 2; continue; } // markers without a length
    const end = Math.min(bytes.length, at + 2 + bytes[at + 2] * 256 + bytes[at + 3]);
    if (marker === 0xe1 && startsWith(bytes, at + 4, EXIF)) {
      const own = inTiff(bytes, at + 10, end);
      if (own) blank(bytes, own);
      found ??= own;
    } else if (marker === 0xe1) {
      xmp ||= text(bytes, at + 4, end);
    }
    at = end;
  }
  return found?.number ?? inXmp(xmp);
}

/** Leave out the chunk eXIf: its checksum would have to be made anew. */
function fromPng(bytes) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const kept = [bytes.subarray(0, 8)];
  let number = null, xmp = "", at = 8;
  while (at + 12 <= bytes.length) {
    const end = Math.min(bytes.length, at + 12 + view.getUint32(at)), kind = text(bytes, at + 4, at + 8);
    if (kind === "eXIf") number ??= inTiff(bytes, at + 8, end - 4)?.number ?? null;
    else kept.push(bytes.subarray(at, end));
    if (kind === "iTXt" && text(bytes, at + 8, at + 25) === "XML:com.adobe.xmp") xmp ||= text(bytes, at + 25, end);
    at = end;
  }
  kept.push(bytes.subarray(at));
  return { orientation: number ?? inXmp(xmp), parts: kept };
}

function fromWebp(bytes) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  let number = null, xmp = "";
  for (let at = 12; at + 8 <= bytes.length; ) {
    const length = view.getUint32(at + 4, true), end = Math.min(bytes.length, at + 8 + length);
    const kind = text(bytes, at, at + 4);
    if (kind === "XMP ") xmp ||= text(bytes, at + 8, end);
    if (kind === "EXIF") {
      const found = inTiff(bytes, at + 8 + (startsWith(bytes, at + 8, EXIF) ? EXIF.length : 0), end);
      if (found) blank(bytes, found);
      number ??= found?.number ?? null;
    }
    at += 8 + length + (length % 2);
  }
  return number ?? inXmp(xmp);
}

/**
 * Take the orientation out of an encoded photo.
 *
 * Returns {orientation, parts, format}: EXIF's number (1 is upright), the bytes without it, for a Blob, and "jpeg",
 * "png", "webp" or "". Other formats are left as they are.
 */
export function takeOrientation(given) {
  if (startsWith(given, 0, [0xff, 0xd8, 0xff])) {
    const bytes = given.slice();
    return { orientation: fromJpeg(bytes), parts: [bytes], format: "jpeg" };
  }
  if (startsWith(given, 0, [0x89, 0x50, 0x4e, 0x47])) return { ...fromPng(given), format: "png" };
  if (text(given, 0, 4) === "RIFF" && text(given, 8, 12) === "WEBP") {
    const bytes = given.slice();
    return { orientation: fromWebp(bytes), parts: [bytes], format: "webp" };
  }
  return { orientation: 1, parts: [given], format: "" };
}

/** Whether a photo is a PNG of 16-bit grey, which browsers make 8-bit in their own way. */
export function isSixteenBitGrey(bytes) {
  const grey = bytes[25] === 0 || bytes[25] === 4;
  return startsWith(bytes, 0, [0x89, 0x50, 0x4e, 0x47]) && bytes[24] === 16 && grey;
}
