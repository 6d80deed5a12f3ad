plugins {
    // Compiles Kotlin itself, without another plugin.
    id("com.android.application") version "9.1.0" apply false
}
