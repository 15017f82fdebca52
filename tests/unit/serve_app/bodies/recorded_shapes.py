"""Conversations as clients send them, turn by turn: what changes, and where it stands.

Each is written in our own words in the shape of recorded traffic. A maker takes the
number of the turn and gives the request of that turn: the whole conversation so far,
with everything that its client writes anew each time.
"""

from __future__ import annotations

RULES = (
    "# How to work\n"
    "1. Read before you write, and keep changes small.\n"
    "2. Run the tests after every change; 3 failures in a row are a reason to ask.\n"
    "Answer in fewer than 4 lines unless the user wants more. Use Python 3.11.\n"
)
HASHES = ("1f2e3d4", "77aa0b1c9", "0badc0de", "a9b8c7d", "42ab42a")
NONCES = ("36ee5", "0aaa9", "fffff", "12345", "a1b2c")
TOOLS = [
    {"name": "Read", "description": "Read a file.", "input_schema": {"type": "object"}},
    {"name": "Search", "description": "Search the web. It is 2026.", "input_schema": {}},
]


def history(first: object, turn: int, *, user: str = "user") -> list[dict]:
    """The first user turn as it was sent, then `turn` answers and further questions."""
    messages = [{"role": user, "content": first}]
    for number in range(turn):
        messages.append({"role": "assistant", "content": f"Done with part {number}."})
        messages.append({"role": user, "content": f"And part {number + 1}?"})
    return messages


def terminal_agent(turn: int, question: str = "Fix the parser.", project: str = "shop") -> dict:
    """An agent on /v1/messages: a billing header, an environment and git's status.

    System blocks are a list; the first user turn has the agent's reminders before the words.
    """
    header = (
        f"x-anthropic-billing-header: cc_version=2.1.37.{NONCES[turn][:3]}; "
        f"cc_entrypoint=cli; cch={NONCES[turn]};"
    )
    changed = "".join(f"M src/file_{n}.py\n" for n in range(turn)) or "(clean)\n"
    commits = "".join(f"{h} Part {n} of the work\n" for n, h in enumerate(HASHES[: turn + 1]))
    environment = (
        f"<env>\nWorking directory: /home/me/{project}\nIs directory a git repo: Yes\n"
        f"Platform: linux\nToday's date: 2026-11-{28 + turn // 3}\n</env>\n"
        f"Token budget: {200_000 - 1234 * turn} left.\n\n"
        "gitStatus: The repository when this was written; it may have changed.\n"
        f"Current branch: {'main' if turn < 2 else 'fix-parser'}\n\n"
        "Main branch (for pull requests): main\n\nGit user: Me\n\n"
        f"Status:\n{changed}\nRecent commits:\n{commits}\n"
        "# Tone\nBe brief and friendly.\n"
    )
    reminder = (
        "<system-reminder>\n# currentDate\nToday's date is 2026-11-"
        f"{28 + turn // 3}.\n{turn} tools are ready.\n</system-reminder>"
    )
    first = [{"type": "text", "text": reminder}, {"type": "text", "text": question}]
    return {
        "system": [
            {"type": "text", "text": header},
            {"type": "text", "text": f"You help in a terminal.\n{RULES}"},
            {"type": "text", "text": environment, "cache_control": {"type": "ephemeral"}},
        ],
        "messages": history(first, turn),
        "tools": TOOLS,
        "max_tokens": 64,
    }


def editor_agent(turn: int, question: str = "Rename the class.", project: str = "shop") -> dict:
    """An agent on /v1/chat/completions in an editor: state of the editor on every side."""
    system = (
        f"You work in an editor.\n{RULES}"
        f"SYSTEM INFORMATION\nHome: /home/me\nProject: /home/me/{project}\n"
        f"Time of this message: 11/29/2026, 10:0{turn}:33 AM (Europe/Berlin, UTC+1:00)\n"
        f"You have {turn + 1} file{'s' if turn else ''} open and {12_345 + turn * 999:,} / 200K "
        f"tokens used ({6 + turn}%).\n"
        f"Task id: 550e8400-e29b-41d4-a716-44665544000{turn}\n"
    )
    first = (
        f"<task>\n{question}\n</task>\n\n<environment_details>\n# Open Tabs\nsrc/a.py\n\n"
        "# Current Time\n11/29/2026, 10:00:33 AM (Europe/Berlin, UTC+1:00)\n"
        "</environment_details>"
    )
    return {
        "messages": [{"role": "system", "content": system}, *history(first, turn)],
        "max_tokens": 64,
    }


def responses_agent(turn: int, question: str = "Write a test.", project: str = "shop") -> dict:
    """An agent on /v1/responses: its own messages stand before the user's, as the user's."""
    environment = (
        f"<environment_context>\n  <cwd>/home/me/{project}</cwd>\n  <shell>bash</shell>\n"
        f"  <current_date>2026-11-{28 + turn // 3}</current_date>\n</environment_context>"
    )
    guide = (
        f"# AGENTS.md instructions for /home/me/{project}\n\n"
        "<INSTRUCTIONS>\nTidy up.\n</INSTRUCTIONS>"
    )
    items = [
        {"type": "message", "role": "developer", "content": "Ask before you delete."},
        {"type": "message", "role": "user", "content": [{"type": "input_text", "text": guide}]},
        {
            "type": "message",
            "role": "user",
            "content": [{"type": "input_text", "text": environment}],
        },
        {"type": "message", "role": "user", "content": [{"type": "input_text", "text": question}]},
    ]
    for number in range(turn):
        items += [
            {"type": "reasoning", "summary": []},
            {"type": "function_call", "call_id": f"call_{number}", "name": "ls", "arguments": "{}"},
            {"type": "function_call_output", "call_id": f"call_{number}", "output": "a.py"},
            {"type": "message", "role": "user", "content": f"And part {number}?"},
        ]
    return {
        "instructions": f"You are an agent.\n{RULES}\nToday is {_long_date(turn)}.",
        "input": items,
        "max_output_tokens": 64,
        "store": False,
    }


def chat_page(turn: int, question: str = "Where is Paris?", project: str = "shop") -> dict:
    """A chat page with a clock in its system prompt, written by the server's template."""
    system = (
        f"You are the assistant of the {project}. Be kind, and name your sources; "
        "prices are in euros, and shipping takes 3 to 5 days.\n"
        f"It is {_long_date(turn)}, {9 + turn}:5{turn} {'AM' if turn < 3 else 'PM'}. "
        "The user speaks English.\n"
        f"Current date: 2026-11-{25 + turn} ({turn})\n**Current Time:** {9 + turn}:5{turn}:07\n"
        "Opening days: Monday to Friday. Answers about them are exact.\n"
    )
    return {
        "messages": [{"role": "system", "content": system}, *history(question, turn)],
        "max_tokens": 64,
    }


def _long_date(turn: int) -> str:
    days = ("Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
    return f"{days[turn]}, {25 + turn} November 2026"


CLIENTS = {
    "terminal agent": ("/v1/messages", terminal_agent),
    "editor agent": ("/v1/chat/completions", editor_agent),
    "responses agent": ("/v1/responses", responses_agent),
    "chat page": ("/v1/chat/completions", chat_page),
}
TURNS = 5
