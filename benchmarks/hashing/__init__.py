"""Binary codes against the float32 student."""
