"""The page's table is that of the code."""

from serve_app.advice.page import PAGE, table, with_table


def test_the_pages_table_is_in_step_with_the_code():
    page = PAGE.read_text()

    assert with_table(page) == page, "python -m serve_app.advice.page writes it anew"


def test_no_cell_breaks_the_table():
    columns = {line.count("|") for line in table().splitlines()}

    assert len(columns) == 1
