"""Binary codes: the trainer, the fitting of its head, and exact search over bits."""
