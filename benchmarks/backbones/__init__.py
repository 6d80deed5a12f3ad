"""Which networks can be shipped in which format."""
