package kdistill.photosearch

import kotlin.math.abs
import kotlin.math.ceil
import kotlin.math.max
import kotlin.math.min

// The resize that the student was trained with: Pillow's antialiased bilinear, to the last bit (its file
// src/libImaging/Resample.c; export/web/static/resize.js is the same in JavaScript). A Bitmap scales otherwise, which
// moves embeddings. Two passes with the picture between them rounded to 8 bits; weights of a triangle that widens with
// the reduction, in fixed point.

/** Fractional bits of a weight: 32, less 8 for the pixel and 2 for the sum. */
private const val PRECISION_BITS = 22
private const val ONE = 1 shl PRECISION_BITS
private const val HALF = 1 shl (PRECISION_BITS - 1)

/** Which source pixels make each target pixel, and with which weights: `taps` for each. */
private class TriangleWeights(from: Int, to: Int) {
    private val scale = from.toDouble() / to
    private val reach = max(scale, 1.0)
    val taps = ceil(reach).toInt() * 2 + 1
    val starts = IntArray(to)
    val counts = IntArray(to)
    val weights = IntArray(to * taps)

    init {
        val row = DoubleArray(taps)
        for (target in 0 until to) {
            val centre = (target + 0.5) * scale
            val start = max((centre - reach + 0.5).toInt(), 0)
            val count = min((centre + reach + 0.5).toInt(), from) - start
            var sum = 0.0
            for (tap in 0 until count) {
                row[tap] = max(1 - abs((start + tap - centre + 0.5) * (1 / reach)), 0.0)
                sum += row[tap]
            }
            for (tap in 0 until count) weights[target * taps + tap] = (0.5 + row[tap] / sum * ONE).toInt()
            starts[target] = start
            counts[target] = count
        }
    }
}

/**
 * One pass: resizes along one axis. Source pixels lie `step` bytes apart along the axis and `stride` across it, those
 * of the target, which is RGB, `targetStep` and `targetStride`.
 */
private fun resizeAxis(
    source: ByteArray,
    step: Int,
    stride: Int,
    lines: Int,
    from: Int,
    to: Int,
    targetStep: Int,
    targetStride: Int,
): ByteArray {
    val axis = TriangleWeights(from, to)
    val target = ByteArray(lines * to * 3)
    for (line in 0 until lines) {
        for (at in 0 until to) {
            for (channel in 0 until 3) {
                var sum = HALF
                var index = line * stride + axis.starts[at] * step + channel
                for (tap in at * axis.taps until at * axis.taps + axis.counts[at]) {
                    sum += (source[index].toInt() and 0xff) * axis.weights[tap]
                    index += step
                }
                // Weights are at least 0 and sum to ONE but for rounding: only the upper end needs a limit.
                target[line * targetStride + at * targetStep + channel] = min(sum shr PRECISION_BITS, 255).toByte()
            }
        }
    }
    return target
}

/** Returns RGB [size, size, 3] of RGBA [height, width, 4]; the aspect ratio is not kept, alpha is dropped. */
fun pillowResize(rgba: ByteArray, width: Int, height: Int, size: Int): ByteArray {
    // Since its version 13 Pillow reduces the height of tall pictures first, which moves some bytes by one.
    if (height > size && height - size > 2 * (width - size)) {
        val low = resizeAxis(rgba, width * 4, 4, width, height, size, targetStep = width * 3, targetStride = 3)
        return resizeAxis(low, 3, width * 3, size, width, size, targetStep = 3, targetStride = size * 3)
    }
    val narrow = resizeAxis(rgba, 4, width * 4, height, width, size, targetStep = 3, targetStride = size * 3)
    return resizeAxis(narrow, size * 3, 3, size, height, size, targetStep = size * 3, targetStride = 3)
}
