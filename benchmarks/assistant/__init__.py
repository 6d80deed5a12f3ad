"""What an assistant is worth, for our method and for every rival."""
