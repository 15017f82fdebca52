"""Which requests nobody waits for."""

import pytest

from router.agents.background import SHORT_TOKENS, Background, Marks, find_background


@pytest.mark.parametrize(
    ("marks", "found"),
    [
        (Marks(), None),
        (Marks(asked=True), Background.ASKED),
        (Marks(is_sub_agent=True, has_tools=True), Background.SUB_AGENT),
        (Marks(writes_title=True, output_tokens=32_000), Background.TITLE),
        (Marks(writes_title=True, has_tools=True), None),
        (Marks(model="claude-3-5-haiku-20241022", has_tools=True), Background.SMALL_MODEL),
        (Marks(model="GPT-5-Mini"), Background.SMALL_MODEL),
        (Marks(model="gemini-pro"), None),
        (Marks(is_agent=True, output_tokens=SHORT_TOKENS), Background.SHORT),
        (Marks(is_agent=True, output_tokens=SHORT_TOKENS + 1), None),
        (Marks(is_agent=True, output_tokens=1, has_tools=True), None),
        (Marks(output_tokens=1), None),
    ],
)
def test_a_request_is_known_by_its_marks(marks, found):
    """A short answer alone is a classifier's, too: only a coding agent's counts."""
    assert find_background(marks) is found


def test_what_the_client_says_outright_holds():
    """`x-pointsman-background: 0` lifts every other mark."""
    marks = Marks(asked=False, is_sub_agent=True, writes_title=True, model="haiku")

    assert find_background(marks) is None
