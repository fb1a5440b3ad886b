"""Tables in README files: where they stand, how they are replaced, what is said when they cannot be."""

from pathlib import Path

import pytest

import minast
from minast.bench import readme

BEGIN, END = readme.markers("sass")
OTHER = "\n".join(readme.markers("launches"))


@pytest.fixture
def page(tmp_path):
    """A README with a table, another one, and the marker's text inside of a sentence."""
    path = tmp_path / "README.md"
    path.write_text(f"# x\n\n{BEGIN}\nold\n{END}\n\n{OTHER}\nthe line {BEGIN} stands above\n", encoding="utf-8")
    return path


def test_the_table_is_replaced_and_nothing_else(page):
    for text in ("| a |\n| µ |", "\n| a |\n| µ |\n\n"):
        readme.write(page, "sass", text)
        assert readme.read(page, "sass") == "| a |\n| µ |"
    expected = f"# x\n\n{BEGIN}\n| a |\n| µ |\n{END}\n\n{OTHER}\nthe line {BEGIN} stands above\n"
    assert page.read_text(encoding="utf-8") == expected and readme.read(page, "launches") == ""


@pytest.mark.parametrize("text", ["", BEGIN, END, f"{END}\n{BEGIN}", f"{BEGIN}\n{END}\n{BEGIN}\n{END}"])
def test_without_both_lines_once_and_in_order_nothing_is_written(page, text):
    page.write_text(text)
    for use in (lambda: readme.write(page, "sass", "new"), lambda: readme.find(page, readme.GPU, "sass")):
        with pytest.raises(minast.Error, match=rf"README\.md: the table needs the lines {BEGIN} and {END}"):
            use()
    assert page.read_text() == text


def test_which_of_several_tables_a_file_has(page):
    assert readme.find(page, "sass", "launches") == readme.find(page, "cpu", "sass") == "sass"


def test_what_is_no_readme_gets_a_sentence(tmp_path):
    with pytest.raises(minast.Error, match=r"none\.md: No such file"):
        readme.read(tmp_path / "none.md", "sass")
    (tmp_path / "picture.png").write_bytes(b"\x89PNG\xff")
    with pytest.raises(minast.Error, match="is not a UTF-8 text file"):
        readme.write(tmp_path / "picture.png", "sass", "new")


def test_a_table_is_written_whole_or_not_at_all(page, monkeypatch):
    before = page.read_text()

    def full(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("minast.storage.files.os.fsync", full)
    with pytest.raises(minast.Error, match=r"README\.md cannot be written: No space left"):
        readme.write(page, "sass", "new")
    assert page.read_text() == before and [p.name for p in page.parent.iterdir()] == ["README.md"]


def test_the_projects_own_tables():
    root = Path(__file__).resolve().parents[2]
    assert readme.find(root / "README.md", readme.GPU, readme.CPU) == readme.CPU
    assert readme.find(readme.of_kernels(), readme.GPU, readme.CPU) == readme.GPU
    for table in ("registers", "sass", "launches", "precision"):
        assert "| --- |" in readme.read(readme.of_kernels(), table)
