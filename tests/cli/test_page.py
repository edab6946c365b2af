"""The page of a run tells of it in one file, whatever its names are made of."""

import base64
import html.parser
from pathlib import Path

from command_runs import train_ok

from jaxmlp.cli.page import PAGE, write_page


class Page(html.parser.HTMLParser):
    """The texts of a page, and the sources of its pictures."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.texts: list[str] = []
        self.pictures: list[str] = []
        self.feed(text)

    def handle_data(self, data: str) -> None:
        self.texts.append(data)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag not in ("script", "link")
        self.pictures += [value or "" for name, value in attrs if name == "src"]


def test_names_are_texts_and_not_a_part_of_the_page(tmp_path: Path) -> None:
    wicked = "<script>alert(1)</script>&amp;"
    write_page(tmp_path, wicked, [("Columns", [["column"], [wicked]])], [wicked], wicked)
    assert Page((tmp_path / PAGE).read_text(encoding="utf-8")).texts.count(wicked) == 5


def test_a_run_has_a_page_with_settings_columns_scores_and_its_pictures(tmp_path: Path) -> None:
    table = tmp_path / "pets.csv"
    rows = [
        f"{number % 7},{'red' if number % 3 else 'blue'},{'dog' if number % 2 else 'cat'}"
        for number in range(60)
    ]
    table.write_text("\n".join(["age,colour,pet", *rows]) + "\n", encoding="utf-8")
    train_ok(tmp_path / "run", "--dataset", table, "--target", "pet", "--epochs", "2", "--hidden", "4")
    page = Page((tmp_path / "run" / PAGE).read_text(encoding="utf-8"))
    assert {"Settings", "learning_rate", "Columns", "colour", "Scores", "balanced accuracy", "Classes"} <= {
        *page.texts
    }
    drawn = [path.read_bytes() for path in sorted((tmp_path / "run").glob("*.png"))]
    assert [base64.b64decode(each.partition(",")[2]) for each in page.pictures] == drawn
    assert len(drawn) >= 4
