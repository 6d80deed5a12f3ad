"""How long one image takes in each file of a run."""
