"""Teachers and questions: selection, orders, pairs, and the expert of the grocery runs."""
