// From a file of any kind that the browser reads to upright pixels.

/** Larger pictures are refused, as in the Python library. */
const MAX_PIXELS = 100_000_000;

/** A file that cannot be searched with; the message is meant for the visitor. */
export class BadPhoto extends Error {}

/**
 * Decodes a photo. Orientation by EXIF is applied; colour profiles are not, since the student never saw them applied.
 * @param {Blob} blob
 * @param {string} name stands in messages
 * @returns {Promise<ImageData>} RGBA
 * @throws {BadPhoto}
 */
export async function decode(blob, name) {
  if (blob.size === 0) {
    throw new BadPhoto(`“${name}” is empty.`);
  }
  let bitmap;
  try {
    bitmap = await createImageBitmap(blob, {
      imageOrientation: "from-image",
      colorSpaceConversion: "none",
      premultiplyAlpha: "none",
    });
  } catch {
    throw new BadPhoto(`“${name}” is not a picture that this browser can read. Try a JPEG, PNG or WebP file.`);
  }
  const { width, height } = bitmap;
  if (width * height > MAX_PIXELS) {
    bitmap.close();
    throw new BadPhoto(`“${name}” has ${width} × ${height} pixels, more than the 100 million that are accepted.`);
  }
  const context = new OffscreenCanvas(width, height).getContext("2d", { willReadFrequently: true });
  context.drawImage(bitmap, 0, 0);
  const image = context.getImageData(0, 0, width, height);
  if (!isOpaque(image.data)) {
    readStraight(bitmap, image.data);
  }
  bitmap.close();
  return image;
}

function isOpaque(data) {
  for (let index = 3; index < data.length; index += 4) {
    if (data[index] !== 255) {
      return false;
    }
  }
  return true;
}

/**
 * Reads colours as they stand in the file. A canvas stores them multiplied by alpha, which loses those of transparent
 * pixels, while the Python library drops alpha and keeps the colours. Without WebGL the canvas's pixels remain.
 * @param {ImageBitmap} bitmap
 * @param {Uint8ClampedArray} data is overwritten
 */
function readStraight(bitmap, data) {
  const { width, height } = bitmap;
  const gl = new OffscreenCanvas(1, 1).getContext("webgl2");
  if (!gl || Math.max(width, height) > gl.getParameter(gl.MAX_TEXTURE_SIZE)) {
    return;
  }
  gl.bindTexture(gl.TEXTURE_2D, gl.createTexture());
  gl.texImage2D(gl.TEXTURE_2D, 0, gl.RGBA, gl.RGBA, gl.UNSIGNED_BYTE, bitmap);
  gl.bindFramebuffer(gl.FRAMEBUFFER, gl.createFramebuffer());
  gl.framebufferTexture2D(
    gl.FRAMEBUFFER,
    gl.COLOR_ATTACHMENT0,
    gl.TEXTURE_2D,
    gl.getParameter(gl.TEXTURE_BINDING_2D),
    0,
  );
  const pixels = new Uint8Array(data.length);
  gl.readPixels(0, 0, width, height, gl.RGBA, gl.UNSIGNED_BYTE, pixels);
  if (gl.getError() === gl.NO_ERROR) {
    data.set(pixels);
  }
  // Browsers allow few contexts at a time.
  gl.getExtension("WEBGL_lose_context")?.loseContext();
}
