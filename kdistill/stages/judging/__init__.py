"""The stage `evaluate`: the rules of judging, and whose rows stand in the table."""
