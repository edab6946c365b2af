import pytest
from marked_block import comments, with_block

from jaxmlp import ArgumentError

BEGIN, END = comments("growth")


def test_what_stands_between_the_comments_is_replaced_and_nothing_else() -> None:
    text = f"above\n{BEGIN}\nold\n{END}\nbelow\n"
    assert with_block(text, "growth", "new", "README.md") == f"above\n{BEGIN}\nnew\n{END}\nbelow\n"


@pytest.mark.parametrize(
    "text", ["", BEGIN, f"{END}\n{BEGIN}", f"{BEGIN}\n{BEGIN}\n{END}", "".join(comments("stream"))]
)
def test_a_file_without_the_two_comments_is_refused(text: str) -> None:
    with pytest.raises(ArgumentError, match=r"README\.md needs the line <!-- growth: begin -->"):
        with_block(text, "growth", "new", "README.md")
