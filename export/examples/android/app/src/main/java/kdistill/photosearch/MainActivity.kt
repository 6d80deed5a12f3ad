package kdistill.photosearch

import android.net.Uri
import android.os.Bundle
import android.widget.Button
import android.widget.ImageView
import android.widget.LinearLayout
import android.widget.ScrollView
import android.widget.TextView
import androidx.activity.ComponentActivity
import androidx.activity.result.PickVisualMediaRequest
import androidx.activity.result.contract.ActivityResultContracts.PickVisualMedia
import java.util.Locale
import java.util.concurrent.Executors

/** A button, the chosen photo, and the names and scores of its neighbours. */
class MainActivity : ComponentActivity() {
    // Decoding and searching stay off the thread that draws.
    private val worker = Executors.newSingleThreadExecutor()
    private val search by lazy { PhotoSearch(applicationContext) }
    private lateinit var photo: ImageView
    private lateinit var answer: TextView

    private val picker = registerForActivityResult(PickVisualMedia()) { uri -> uri?.let(::show) }

    override fun onCreate(savedInstanceState: Bundle?) {
        super.onCreate(savedInstanceState)
        photo = ImageView(this).apply { adjustViewBounds = true }
        answer = TextView(this)
        val choose = Button(this).apply {
            text = "Choose a photo"
            setOnClickListener { picker.launch(PickVisualMediaRequest(PickVisualMedia.ImageOnly)) }
        }
        val column = LinearLayout(this).apply {
            orientation = LinearLayout.VERTICAL
            listOf(choose, photo, answer).forEach(::addView)
        }
        setContentView(ScrollView(this).apply {
            fitsSystemWindows = true
            addView(column)
        })
    }

    override fun onDestroy() {
        worker.shutdown()
        super.onDestroy()
    }

    private fun show(uri: Uri) {
        photo.setImageURI(uri)
        answer.text = "Searching"
        worker.execute {
            val text = try {
                search.search(uri).joinToString("\n") { String.format(Locale.ROOT, "%.4f  %s", it.score, it.name) }
            } catch (error: Exception) {
                error.message ?: error.toString()
            }
            runOnUiThread { answer.text = text }
        }
    }
}
