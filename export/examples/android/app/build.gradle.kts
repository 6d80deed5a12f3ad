plugins {
    id("com.android.application")
}

android {
    namespace = "kdistill.photosearch"
    compileSdk = 36

    defaultConfig {
        applicationId = "kdistill.photosearch"
        minSdk = 28 // ImageDecoder
        targetSdk = 36
        versionCode = 1
        versionName = "1.0"
    }

    // The file is mapped into memory, which a compressed one cannot be.
    androidResources {
        noCompress += "tflite"
    }
}

dependencies {
    implementation("androidx.activity:activity-ktx:1.10.1")
    implementation("com.google.ai.edge.litert:litert:2.3.0")
}
