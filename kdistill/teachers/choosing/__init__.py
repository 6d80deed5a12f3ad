"""Which questions are worth asking, and what they would cost."""
