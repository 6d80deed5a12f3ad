"""The search page in a browser against the native interpreter."""
