import CryptoKit
import Foundation
import ImageIO
import TensorFlowLite

/// A row of the gallery: its name and the cosine of its embedding with the photo's.
struct Match: Identifiable {
    let id: Int
    let name: String
    let score: Float
}

/// What went wrong, for the person who holds the phone.
struct SearchError: LocalizedError {
    let errorDescription: String?
}

/// Searches the gallery of `retriever.tflite` by a photo. An actor, since an interpreter takes one call at a time.
actor PhotoSearch {
    /// What `retriever.json` says of the file beside it; its other fields are not needed here.
    private struct Sidecar: Decodable {
        let ids: [String]
        let k: Int
        let sha256: String
    }

    private static let maxPixels = 64_000_000

    private let runner: SignatureRunner
    private let names: [String]
    private let size: Int

    init() async throws {
        guard let path = Bundle.main.path(forResource: "retriever", ofType: "tflite"),
            let beside = Bundle.main.url(forResource: "retriever", withExtension: "json")
        else { throw SearchError(errorDescription: "retriever.tflite or retriever.json is not in the app") }
        let sidecar = try JSONDecoder().decode(Sidecar.self, from: Data(contentsOf: beside))
        let file = try Data(contentsOf: URL(fileURLWithPath: path), options: .alwaysMapped)
        guard SHA256.hash(data: file).map({ String(format: "%02x", $0) }).joined() == sidecar.sha256 else {
            let text = "retriever.tflite and retriever.json do not belong together: the checksum differs"
            throw SearchError(errorDescription: text)
        }
        names = sidecar.ids
        var options = Interpreter.Options()
        options.threadCount = 2
        let runner = try Interpreter(modelPath: path, options: options).signatureRunner(with: "search")
        self.runner = runner
        size = try runner.input(named: "image").shape.dimensions[1]
    }

    /// Returns the nearest rows of the gallery, best first.
    func search(_ photo: Data) throws -> [Match] {
        try runner.invoke(with: ["image": Data(pixels(of: photo))])
        let scores = try runner.output(named: "scores").data.withUnsafeBytes {
            Array($0.bindMemory(to: Float32.self))
        }
        let ids = try runner.output(named: "ids").data.withUnsafeBytes { Array($0.bindMemory(to: Int32.self)) }
        return zip(ids, scores).enumerated().map { place, row in
            Match(id: place, name: names[Int(row.0)], score: row.1)
        }
    }

    /// Returns a photo as the student takes it: upright, RGB as the file has it, squashed to the square.
    private func pixels(of photo: Data) throws -> [UInt8] {
        guard let source = CGImageSourceCreateWithData(photo as CFData, nil),
            let properties = CGImageSourceCopyPropertiesAtIndex(source, 0, nil) as? [CFString: Any],
            let columns = properties[kCGImagePropertyPixelWidth] as? Int,
            let rows = properties[kCGImagePropertyPixelHeight] as? Int
        else { throw SearchError(errorDescription: "the file is no photo that can be read") }
        guard columns * rows <= Self.maxPixels else {
            let text = "the photo has \(columns) x \(rows) pixels, more than 64 million"
            throw SearchError(errorDescription: text)
        }
        // A "thumbnail" as large as the photo: what turns by EXIF.
        let options: [CFString: Any] = [
            kCGImageSourceCreateThumbnailFromImageAlways: true,
            kCGImageSourceCreateThumbnailWithTransform: true,
            kCGImageSourceThumbnailMaxPixelSize: max(columns, rows),
        ]
        guard let image = CGImageSourceCreateThumbnailAtIndex(source, 0, options as CFDictionary) else {
            throw SearchError(errorDescription: "the photo cannot be decoded")
        }
        return try pillowResize(rgba(of: image), width: image.width, height: image.height, size: size)
    }

    /// Returns red, green, blue and a byte that is not used, row by row from the top.
    private func rgba(of image: CGImage) throws -> [UInt8] {
        // Drawn in the colour space that the photo has, nothing is converted: profiles are ignored, as in training.
        let own = image.colorSpace.flatMap { $0.model == .rgb && $0.supportsOutput ? $0 : nil }
        var bytes = [UInt8](repeating: 0, count: image.width * image.height * 4)
        let drawn = bytes.withUnsafeMutableBytes { buffer in
            let context = CGContext(
                data: buffer.baseAddress, width: image.width, height: image.height, bitsPerComponent: 8,
                bytesPerRow: image.width * 4, space: own ?? CGColorSpaceCreateDeviceRGB(),
                bitmapInfo: CGImageAlphaInfo.noneSkipLast.rawValue)
            context?.draw(image, in: CGRect(x: 0, y: 0, width: image.width, height: image.height))
            return context != nil
        }
        guard drawn else { throw SearchError(errorDescription: "the photo's colours cannot be read") }
        return bytes
    }
}
