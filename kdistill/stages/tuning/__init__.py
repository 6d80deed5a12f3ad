"""The stage `tune`: settings of training, tried and judged by the held-out answers at no further question."""
