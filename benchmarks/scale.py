"""x"""


def write() -> None:
    """Nothing yet."""
