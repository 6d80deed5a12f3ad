"""A student in the teacher's own space: its dimensions, the vectors that are known, and maps into it."""
