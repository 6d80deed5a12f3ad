"""A gallery for other search tools."""
