"""What stages open: data, photos, networks, and what they were made from."""
