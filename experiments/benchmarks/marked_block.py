"""A block of a file that a script writes, between two comments which name it."""

from jaxmlp import ArgumentError


def comments(block: str) -> tuple[str, str]:
    """Write the comments that a block stands between."""
    return f"<!-- {block}: begin -->", f"<!-- {block}: end -->"


def with_block(text: str, block: str, new: str, file: str) -> str:
    """Put new text in place of what stands between the two comments."""
    begin, end = comments(block)
    if text.count(begin) != 1 or text.count(end) != 1 or text.index(begin) > text.index(end):
        raise ArgumentError(f"{file} needs the line {begin} and, below it, the line {end}, once each")
    before, _, rest = text.partition(begin)
    return f"{before}{begin}\n{new}\n{end}{rest.partition(end)[2]}"
