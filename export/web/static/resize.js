// The resize that the student was trained with: Pillow's antialiased bilinear, to the last bit.
// A canvas scales otherwise (no or another low-pass filter), which moves embeddings enough to change answers.
//
// As Pillow does it for 8-bit pixels (its file src/libImaging/Resample.c): two passes with the picture between them
// rounded to 8 bits; weights of a triangle that widens with the reduction, in fixed point.

/** Fractional bits of a weight: 32, less 8 for the pixel and 2 for the sum. */
const PRECISION_BITS = 22;
const ONE = 1 << PRECISION_BITS;
const HALF = 1 << (PRECISION_BITS - 1);

/**
 * Which source pixels make each target pixel, and with which weights.
 * @param {number} from source length
 * @param {number} to target length
 * @returns {{starts: Int32Array, counts: Int32Array, weights: Int32Array, taps: number}} `weights` holds `taps`
 *   entries for each target pixel.
 */
function triangleWeights(from, to) {
  const scale = from / to;
  const reach = Math.max(scale, 1);
  const taps = Math.ceil(reach) * 2 + 1;
  const starts = new Int32Array(to);
  const counts = new Int32Array(to);
  const weights = new Int32Array(to * taps);
  const row = new Float64Array(taps);
  for (let target = 0; target < to; target++) {
    const centre = (target + 0.5) * scale;
    const start = Math.max(Math.trunc(centre - reach + 0.5), 0);
    const count = Math.min(Math.trunc(centre + reach + 0.5), from) - start;
    let sum = 0;
    for (let tap = 0; tap < count; tap++) {
      row[tap] = Math.max(1 - Math.abs((start + tap - centre + 0.5) * (1 / reach)), 0);
      sum += row[tap];
    }
    for (let tap = 0; tap < count; tap++) {
      weights[target * taps + tap] = Math.trunc(0.5 + (row[tap] / sum) * ONE);
    }
    starts[target] = start;
    counts[target] = count;
  }
  return { starts, counts, weights, taps };
}

/**
 * One pass: resizes along one axis. Pixels `step` apart along the axis, lines `stride` apart across it.
 * @param {Uint8Array | Uint8ClampedArray} source
 * @param {{step: number, stride: number, lines: number, from: number}} layout of the source
 * @param {number} to target length
 * @param {(line: number, target: number) => number} place index of the first of three target bytes
 * @param {Uint8Array} target RGB
 */
function resizeAxis(source, { step, stride, lines, from }, to, place, target) {
  const { starts, counts, weights, taps } = triangleWeights(from, to);
  for (let line = 0; line < lines; line++) {
    for (let at = 0; at < to; at++) {
      let red = HALF;
      let green = HALF;
      let blue = HALF;
      let index = line * stride + starts[at] * step;
      const first = at * taps;
      for (let tap = first; tap < first + counts[at]; tap++, index += step) {
        const weight = weights[tap];
        red += source[index] * weight;
        green += source[index + 1] * weight;
        blue += source[index + 2] * weight;
      }
      // Weights are at least 0 and sum to ONE but for rounding: only the upper end needs a limit.
      const out = place(line, at);
      target[out] = Math.min(red >> PRECISION_BITS, 255);
      target[out + 1] = Math.min(green >> PRECISION_BITS, 255);
      target[out + 2] = Math.min(blue >> PRECISION_BITS, 255);
    }
  }
}

/** Resizes the columns of a picture of `channels` bytes a pixel: [height, width] to RGB [height, to]. */
function resizeRows({ data, width, height, channels }, to) {
  const target = new Uint8Array(height * to * 3);
  const layout = { step: channels, stride: width * channels, lines: height, from: width };
  resizeAxis(data, layout, to, (line, at) => (line * to + at) * 3, target);
  return { data: target, width: to, height, channels: 3 };
}

/** The same along the other axis: [height, width] to RGB [to, width]. */
function resizeColumns({ data, width, height, channels }, to) {
  const target = new Uint8Array(to * width * 3);
  const layout = { step: width * channels, stride: channels, lines: width, from: height };
  resizeAxis(data, layout, to, (line, at) => (at * width + line) * 3, target);
  return { data: target, width, height: to, channels: 3 };
}

/**
 * Resizes to a square; the aspect ratio is not kept.
 * @param {{data: Uint8Array | Uint8ClampedArray, width: number, height: number}} image RGBA; alpha is dropped
 * @param {number} size side of the square
 * @param {boolean} tallFirst reduce the height of tall pictures first, as Pillow does since version 13
 * @returns {Uint8Array} RGB, size x size
 */
export function resize(image, size, tallFirst) {
  const { data, width, height } = image; // an ImageData's fields are no properties of its own
  const picture = { data, width, height, channels: 4 };
  // A pass between equal lengths changes nothing but the number of channels.
  const tall = tallFirst && height > size && height - size > 2 * (width - size);
  const result = tall ? resizeRows(resizeColumns(picture, size), size) : resizeColumns(resizeRows(picture, size), size);
  return result.data;
}
