"""Numbers in sentences."""


def counted(number: int, what: str) -> str:
    """Returns "1 question", "2 questions", "1,024 questions"."""
    return f"{number:,d} {what}" if number == 1 else f"{number:,d} {what}s"
