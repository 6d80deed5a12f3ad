"""The stage `ask`: which questions are asked, and the answers kept."""
