"""The stage `assist`: the assistant learns the answers and answers for the whole pool."""
