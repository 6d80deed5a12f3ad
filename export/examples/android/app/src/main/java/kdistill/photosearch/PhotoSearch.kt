package kdistill.photosearch

import android.content.Context
import android.graphics.Bitmap
import android.graphics.ImageDecoder
import android.net.Uri
import java.io.FileInputStream
import java.nio.ByteBuffer
import java.nio.ByteOrder
import java.nio.MappedByteBuffer
import java.nio.channels.FileChannel
import java.security.MessageDigest
import org.json.JSONObject
import org.tensorflow.lite.Interpreter

/** A row of the gallery: its name and the cosine of its embedding with the photo's. */
data class Match(val name: String, val score: Float)

/** Searches the gallery of `retriever.tflite` by a photo. One call at a time: an interpreter is not thread-safe. */
class PhotoSearch(private val context: Context) : AutoCloseable {
    private val interpreter: Interpreter
    private val names: List<String>
    private val k: Int
    private val size: Int

    init {
        val file = mapped("retriever.tflite")
        val sidecar = JSONObject(context.assets.open("retriever.json").bufferedReader().use { it.readText() })
        check(sha256(file) == sidecar.getString("sha256")) {
            "retriever.tflite and retriever.json do not belong together: the checksum differs"
        }
        val ids = sidecar.getJSONArray("ids")
        names = List(ids.length()) { ids.getString(it) }
        k = sidecar.getInt("k")
        interpreter = Interpreter(file, Interpreter.Options().setNumThreads(2))
        size = interpreter.getInputTensorFromSignature("image", "search").shape()[1]
    }

    /** Returns the nearest rows of the gallery, best first. */
    @Synchronized
    fun search(photo: Uri): List<Match> {
        val pixels = ByteBuffer.allocateDirect(size * size * 3).order(ByteOrder.nativeOrder())
        pixels.put(pixelsOf(photo)).rewind()
        val scores = FloatArray(k)
        val ids = IntArray(k)
        interpreter.runSignature(mapOf("image" to pixels), mapOf("scores" to scores, "ids" to ids), "search")
        return ids.indices.map { Match(names[ids[it]], scores[it]) }
    }

    override fun close() = interpreter.close()

    /** Returns a photo as the student takes it: upright, RGB as the file has it, squashed to the square. */
    private fun pixelsOf(photo: Uri): ByteArray {
        // Turns by EXIF; the bitmap keeps the colour space of the file, so no profile is applied, as in training.
        val source = ImageDecoder.createSource(context.contentResolver, photo)
        val decoded = ImageDecoder.decodeBitmap(source) { decoder, info, _ ->
            require(info.size.width.toLong() * info.size.height <= MAX_PIXELS) {
                "the photo has ${info.size.width} x ${info.size.height} pixels, more than 64 million"
            }
            decoder.allocator = ImageDecoder.ALLOCATOR_SOFTWARE
            decoder.isUnpremultipliedRequired = true
        }
        // Ten bits a channel come as another configuration.
        val bitmap =
            if (decoded.config == Bitmap.Config.ARGB_8888) decoded else decoded.copy(Bitmap.Config.ARGB_8888, false)
        // Bytes as they lie there: red, green, blue, alpha. getPixels would convert them to sRGB.
        val rgba = ByteArray(bitmap.width * bitmap.height * 4)
        bitmap.copyPixelsToBuffer(ByteBuffer.wrap(rgba))
        return pillowResize(rgba, bitmap.width, bitmap.height, size)
    }

    private fun mapped(asset: String): MappedByteBuffer =
        context.assets.openFd(asset).use { descriptor ->
            FileInputStream(descriptor.fileDescriptor).channel.use {
                it.map(FileChannel.MapMode.READ_ONLY, descriptor.startOffset, descriptor.declaredLength)
            }
        }

    private fun sha256(file: MappedByteBuffer): String {
        val digest = MessageDigest.getInstance("SHA-256")
        digest.update(file.duplicate())
        return digest.digest().joinToString("") { "%02x".format(it) }
    }

    private companion object {
        const val MAX_PIXELS = 64_000_000L
    }
}
