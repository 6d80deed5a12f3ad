"""Deployment: files of a student, the retriever, the gate, other tools, the search page."""
