"""The stages of a run: a registry, the record of what each was made from, and what runs them."""
