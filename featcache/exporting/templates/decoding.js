// Encoded photos to pixels with the browser's decoders: as stored, without colour management, with their own alpha.
import { isSixteenBitGrey, takeOrientation } from "./exif.js";
import { upright, withoutAlpha } from "./pixels.js";

const TILE = 2048; // pixels; canvases have limits on phones
const MOST_PIXELS = 178_956_970; // as featcache: MAX_PIXELS in featcache/images/decoding.py

/** A photo that cannot be read; its message is for the reader. */
export class PhotoError extends Error {}

function canvasOf(width, height) {
  const canvas = document.createElement("canvas");
  canvas.width = width;
  canvas.height = height;
  return canvas;
}

/** Some browsers change the pixels that pages read, against being recognised by them. */
export function pixelsAreTrue() {
  const side = 16, context = canvasOf(side, side).getContext("2d", { willReadFrequently: true });
  const written = context.createImageData(side, side);
  written.data.forEach((_, place) => { written.data[place] = place % 4 === 3 ? 255 : (place * 89) % 256; });
  context.putImageData(written, 0, 0);
  return context.getImageData(0, 0, side, side).data.every((value, place) => value === written.data[place]);
}

/** RGBA of a part of a bitmap; canvases hold colours multiplied by alpha, so that these are rounded where it is not 255. */
function readTile(context, bitmap, left, top, width, height) {
  context.clearRect(0, 0, width, height);
  context.drawImage(bitmap, left, top, width, height, 0, 0, width, height);
  return context.getImageData(0, 0, width, height).data;
}

/** RGBA of a whole bitmap through WebGL, which keeps colours and alpha apart; null where there is none, or too small. */
function readExactly(bitmap) {
  const gl = canvasOf(1, 1).getContext("webgl");
  if (!gl) return null;
  try {
    if (Math.max(bitmap.width, bitmap.height) > gl.getParameter(gl.MAX_TEXTURE_SIZE)) return null;
    gl.pixelStorei(gl.UNPACK_PREMULTIPLY_ALPHA_WEBGL, false);
    gl.pixelStorei(gl.UNPACK_COLORSPACE_CONVERSION_WEBGL, gl.NONE);
    gl.bindTexture(gl.TEXTURE_2D, gl.createTexture());
    gl.texImage2D(gl.TEXTURE_2D, 0, gl.RGBA, gl.RGBA, gl.UNSIGNED_BYTE, bitmap);
    gl.bindFramebuffer(gl.FRAMEBUFFER, gl.createFramebuffer());
    const texture = gl.getParameter(gl.TEXTURE_BINDING_2D);
    gl.framebufferTexture2D(gl.FRAMEBUFFER, gl.COLOR_ATTACHMENT0, gl.TEXTURE_2D, texture, 0);
    if (gl.checkFramebufferStatus(gl.FRAMEBUFFER) !== gl.FRAMEBUFFER_COMPLETE) return null;
    const rgba = new Uint8Array(bitmap.width * bitmap.height * 4);
    gl.readPixels(0, 0, bitmap.width, bitmap.height, gl.RGBA, gl.UNSIGNED_BYTE, rgba);
    return gl.getError() === gl.NO_ERROR ? rgba : null;
  } finally {
    gl.getExtension("WEBGL_lose_context")?.loseContext();
  }
}

function rgbOf(bitmap, rule) {
  const { width, height } = bitmap, data = new Uint8Array(width * height * 3);
  const context = canvasOf(Math.min(TILE, width), Math.min(TILE, height)).getContext("2d", { willReadFrequently: true });
  context.imageSmoothingEnabled = false;
  let transparent = false;
  for (let top = 0; top < height; top += TILE) {
    for (let left = 0; left < width; left += TILE) {
      const wide = Math.min(TILE, width - left), high = Math.min(TILE, height - top);
      const rgba = readTile(context, bitmap, left, top, wide, high), rgb = new Uint8Array(wide * high * 3);
      for (let place = 3; !transparent && place < rgba.length; place += 4) transparent = rgba[place] !== 255;
      withoutAlpha(rgba, rule, rgb);
      for (let y = 0; y < high; y++) {
        data.set(rgb.subarray(y * wide * 3, (y + 1) * wide * 3), ((top + y) * width + left) * 3);
      }
    }
  }
  const exact = transparent ? readExactly(bitmap) : null;
  if (exact) withoutAlpha(exact, rule, data);
  return { width, height, data };
}

/**
 * Decode a photo to the RGB picture that featcache would decode.
 *
 * `transforms` are those of preprocessing.json; `exif` and `rgb` matter here. Raises PhotoError.
 */
export async function decode(blob, transforms) {
  const bytes = new Uint8Array(await blob.arrayBuffer());
  if (!bytes.length) throw new PhotoError("The file is empty; copy or download it again.");
  if (transforms.rgb.includes("range=") && isSixteenBitGrey(bytes)) {
    throw new PhotoError(
      `This photo is 16-bit grey, and the classifier reads such ones as ${transforms.rgb}, which no browser can. Classify `
        + "it with featcache predict.",
    );
  }
  const { orientation, parts } = takeOrientation(bytes);
  let bitmap;
  try {
    bitmap = await createImageBitmap(new Blob(parts, { type: blob.type }), {
      colorSpaceConversion: "none",
      premultiplyAlpha: "none",
    });
  } catch {
    throw new PhotoError(
      "This browser cannot read the file as a photo. Browsers read JPEG, PNG, WebP, GIF, BMP and mostly AVIF; save TIFF "
        + "and HEIC as JPEG first.",
    );
  }
  try {
    if (bitmap.width * bitmap.height > MOST_PIXELS) {
      throw new PhotoError(`The photo has ${bitmap.width}×${bitmap.height} pixels, which are too many; make it smaller.`);
    }
    const image = rgbOf(bitmap, transforms.rgb);
    return transforms.exif === "apply" ? upright(image, orientation) : image;
  } finally {
    bitmap.close();
  }
}
