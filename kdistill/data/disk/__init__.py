"""Photos to learn from that need not fit in memory."""
