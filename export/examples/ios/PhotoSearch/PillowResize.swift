// The resize that the student was trained with: Pillow's antialiased bilinear, to the last bit (its file
// src/libImaging/Resample.c; export/web/static/resize.js is the same in JavaScript). Core Graphics scales otherwise,
// which moves embeddings. Two passes with the picture between them rounded to 8 bits; weights of a triangle that widens
// with the reduction, in fixed point.

import Foundation

/// Fractional bits of a weight: 32, less 8 for the pixel and 2 for the sum.
private let precisionBits: Int32 = 22
private let one: Int32 = 1 << precisionBits
private let half: Int32 = 1 << (precisionBits - 1)

/// Which source pixels make each target pixel, and with which weights: `taps` for each.
private struct TriangleWeights {
    let taps: Int
    var starts: [Int]
    var counts: [Int]
    var weights: [Int32]

    init(from: Int, to: Int) {
        let scale = Double(from) / Double(to)
        let reach = max(scale, 1)
        taps = Int(ceil(reach)) * 2 + 1
        starts = [Int](repeating: 0, count: to)
        counts = starts
        weights = [Int32](repeating: 0, count: to * taps)
        var row = [Double](repeating: 0, count: taps)
        for target in 0..<to {
            let centre = (Double(target) + 0.5) * scale
            let start = max(Int(centre - reach + 0.5), 0)
            let count = min(Int(centre + reach + 0.5), from) - start
            var sum = 0.0
            for tap in 0..<count {
                row[tap] = max(1 - abs((Double(start + tap) - centre + 0.5) * (1 / reach)), 0)
                sum += row[tap]
            }
            for tap in 0..<count {
                weights[target * taps + tap] = Int32(0.5 + row[tap] / sum * Double(one))
            }
            starts[target] = start
            counts[target] = count
        }
    }
}

/// One pass: resizes along one axis. Source pixels lie `step` bytes apart along the axis and `stride` across it, those
/// of the target, which is RGB, `targetStep` and `targetStride`.
private func resizeAxis(
    _ source: [UInt8], step: Int, stride: Int, lines: Int, from: Int, to: Int, targetStep: Int, targetStride: Int
) -> [UInt8] {
    let axis = TriangleWeights(from: from, to: to)
    var target = [UInt8](repeating: 0, count: lines * to * 3)
    for line in 0..<lines {
        for at in 0..<to {
            for channel in 0..<3 {
                var sum = half
                var index = line * stride + axis.starts[at] * step + channel
                for tap in at * axis.taps..<at * axis.taps + axis.counts[at] {
                    sum += Int32(source[index]) * axis.weights[tap]
                    index += step
                }
                // Weights are at least 0 and sum to one but for rounding: only the upper end needs a limit.
                target[line * targetStride + at * targetStep + channel] = UInt8(min(sum >> precisionBits, 255))
            }
        }
    }
    return target
}

/// Returns RGB [size, size, 3] of RGBA [height, width, 4]; the aspect ratio is not kept, alpha is dropped.
func pillowResize(_ rgba: [UInt8], width: Int, height: Int, size: Int) -> [UInt8] {
    // Since its version 13 Pillow reduces the height of tall pictures first, which moves some bytes by one.
    if height > size && height - size > 2 * (width - size) {
        let low = resizeAxis(
            rgba, step: width * 4, stride: 4, lines: width, from: height, to: size,
            targetStep: width * 3, targetStride: 3)
        return resizeAxis(
            low, step: 3, stride: width * 3, lines: size, from: width, to: size,
            targetStep: 3, targetStride: size * 3)
    }
    let narrow = resizeAxis(
        rgba, step: 4, stride: width * 4, lines: height, from: width, to: size,
        targetStep: 3, targetStride: size * 3)
    return resizeAxis(
        narrow, step: size * 3, stride: 3, lines: size, from: height, to: size,
        targetStep: size * 3, targetStride: 3)
}
