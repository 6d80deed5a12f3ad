"""HTTP itself: requests, what their statuses mean, when they may start, and what a service says in an error."""
