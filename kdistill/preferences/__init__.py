"""Teachers that only compare: orders, pairs, and the ranker that learns from them."""
