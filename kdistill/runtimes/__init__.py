"""One opener for each kind of model file."""
