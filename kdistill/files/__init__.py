"""Files: whole or absent when written, refused before they harm when read."""
