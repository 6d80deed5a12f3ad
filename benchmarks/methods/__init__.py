"""Every way of training on equal terms."""
