"""What a terminal sees: progress, and no chatter of native libraries."""
