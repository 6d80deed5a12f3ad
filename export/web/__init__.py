"""The search page: static files that embed and search on the visitor's own machine."""
