"""Services behind HTTP: what they are sent, what their statuses mean, how long they are waited for."""
