"""A gallery of any size as a matrix on disk: a resumable job and its command."""
