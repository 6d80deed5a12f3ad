"""The quality gate: every file against the Keras student before it is handed on."""
