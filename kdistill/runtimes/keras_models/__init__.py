"""Opening Keras files, those of other packages among them, without running what they hold."""
