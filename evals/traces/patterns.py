"""What is taken out of every trace: addresses, numbers of people and accounts, keys and tokens.

Theory of operation. A pattern is a regular expression that finds candidates and a check of what
it found (a digit sum, a real address). Expressions repeat possessively (`++`, `{1,9}+`): what they
have read they do not give back, so one attempt costs what it reads. Attempts at neighbouring
places do not read the same run again: a look back keeps them from beginning within one, or the
run has a bound. So the time grows as the text does, whatever the text is; the tests count steps.

A pattern whose expression cannot match without one of its `needles` is not tried on a text that
has none, which most have not. The others begin with a class of characters, which the engine of
`re` looks for in one loop; so what must not stand before it is asked behind it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from evals.traces.checks import (
    LEAD_CHARS,
    cards,
    domain,
    given_secret,
    iban,
    ip,
    ipv6,
    named_phone,
    named_secret,
    phone,
    secret,
)

Span = tuple[int, int]


def _whole(found: str) -> Iterator[Span]:
    yield 0, len(found)


@dataclass(frozen=True, slots=True)
class Pattern:
    """One kind of thing.

    Attributes:
        name: what stands in its place, in brackets.
        regex: finds candidates, in its group `x`.
        parts: what of a candidate is one: none, all of it, or parts.
        needles: texts of which a match has one, in lower case; none: it is always tried.
        lead: characters before the group that are looked at, too.
        has_digit: what is one has a digit.

    """

    name: str
    regex: re.Pattern[str]
    parts: Callable[[str], Iterator[Span]] = _whole
    needles: tuple[str, ...] = ()
    lead: int = 0
    has_digit: bool = False

    def may_be_in(self, lowered: str, *, has_digit: bool) -> bool:
        """Whether a text, of which this is the lower case, is worth looking through."""
        if self.has_digit and not has_digit:
            return False
        # A loop: a generator costs more than the whole of it.
        for needle in self.needles:
            if needle in lowered:
                return True
        return not self.needles

    def spans(self, text: str) -> Iterator[Span]:
        """Where in a text it is."""
        for match in self.regex.finditer(text):
            begin = max(0, match.start("x") - self.lead)
            for first, last in self.parts(text[begin : match.end("x")]):
                yield begin + first, begin + last


def _pattern(
    name: str,
    expression: str,
    *needles: str,
    parts: Callable[[str], Iterator[Span]] = _whole,
    lead: int = 0,
    has_digit: bool = False,
) -> Pattern:
    return Pattern(name, re.compile(expression), parts, needles, lead, has_digit)


PRIVATE_KEY = _pattern(
    "private_key",
    r"(?P<x>-----BEGIN (?:[A-Z0-9]{1,12}+ ){0,2}?PRIVATE KEY(?: BLOCK)?+-----"
    r"(?:[^-]|-(?!----))*+(?:-----END [A-Z0-9 ]{0,60}+-----)?+)",
    "-----begin ",
)

JWT = _pattern(
    "jwt",
    r"(?<![\w.-])(?P<x>eyJ[\w-]{8,}+\.[\w-]{8,}+(?:\.[\w-]*+)?+)",
    "eyj",
)

# This product's own, and those of services whose keys say what they are.
API_KEY = _pattern(
    "api_key",
    r"(?<![A-Za-z0-9_-])(?P<x>(?:"
    r"pm-[0-9a-z]{4,32}+-[\w-]{16,}+"
    r"|sk-[\w-]{20,}+"
    r"|(?:sk|rk|pk)_(?:live|test)_\w{10,}+"
    r"|gh[pousr]_[A-Za-z0-9]{30,}+"
    r"|github_pat_\w{22,}+"
    r"|glpat-[\w-]{20,}+"
    r"|xox[abeoprs]-[A-Za-z0-9-]{10,}+"
    r"|hf_[A-Za-z0-9]{30,}+"
    r"|npm_[A-Za-z0-9]{36,}+"
    r"|AIza[\w-]{35,}+"
    r"|(?:AKIA|ASIA|AROA|AIDA|AGPA|ANPA|ANVA|AIPA)[A-Z0-9]{16}(?![A-Za-z0-9])"
    r"))",
    *("pm-", "sk-", "k_live_", "k_test_", "ghp_", "gho_", "ghu_", "ghs_", "ghr_", "github_pat_"),
    *("glpat-", "xox", "hf_", "npm_", "aiza"),
    *("akia", "asia", "aroa", "aida", "agpa", "anpa", "anva", "aipa"),
)

BEARER = _pattern(
    "token",
    r"(?i:(?<!\w)(?:bearer|basic|token) {1,4}+)(?P<x>[\w.~+/-]{12,}+={0,2}+)",
    *("bearer ", "basic ", "token "),
    parts=secret,
    has_digit=True,
)

# A word is one, too, where it is quoted.
NAMED_SECRET = _pattern(
    "secret",
    r"(?i:(?:api|access|secret|private|auth|client)[_-]?+(?:key|token|secret|access_key)"
    r"|passw(?:or)?+d|passphrase|secret)"
    r"\\?+[\"']?+ {0,4}+(?::|=>?+) {0,4}+\\?+[\"']?+(?P<x>[^\s\"',;\\]{4,}+(?:\\?+[\"'])?+)",
    *("key", "token", "secret", "passwd", "password", "passphrase"),
    parts=named_secret,
    lead=1,
)

# A word is a secret where only a secret has its place: in a query or a form, as an option, in the
# environment. In a sentence nothing tells it from other words.
PASSED_SECRET = _pattern(
    "secret",
    r"[?&-](?:(?<=[?&])|(?<=--))"
    r"(?i:(?:api|access|secret|private|auth|client|refresh)[_-]?+(?:key|token|secret)"
    r"|passw(?:or)?+d|pwd|passphrase|secret|token)[ =]"
    r"[\"']?+(?P<x>[^\s\"'&#;,()\[\]<>]{4,256}+)(?![(\[])",
    *("key", "token", "secret", "passw", "pwd", "passphrase"),
    parts=given_secret,
)

ENV_SECRET = _pattern(
    "secret",
    r"=(?:(?<=PASSWORD=)|(?<=PASSWD=)|(?<=PASSPHRASE=)|(?<=SECRET=))"
    r"[\"']?+(?P<x>[^\s\"'&#;,()\[\]<>]{4,256}+)(?![(\[])",
    *("password=", "passwd=", "passphrase=", "secret="),
    parts=given_secret,
)

URL_PASSWORD = _pattern(
    "password",
    r"://[^\s/:@\"']{0,64}+:(?P<x>[^\s/@\"']{1,256}+)@",
    "://",
)

EMAIL = _pattern(
    "email",
    r"(?<![\w.%+-])(?P<x>[\w.%+-]{1,254}+@[\w-]{1,63}+(?:\.[\w-]{1,63}+){1,8}+)",
    "@",
    parts=domain,
)

CARD = _pattern(
    "card",
    r"(?P<x>\d(?<!\d\d)(?<!\d\.\d)(?:(?: - |[ .-]?+)\d){12,}+)",
    parts=cards,
    has_digit=True,
)

# Looked for ahead: an account may begin within what only looked like one.
IBAN = _pattern(
    "iban",
    r"[A-Z](?<![A-Z0-9].)(?=(?P<x>[A-Z]\d{2}(?:[ -]?+[A-Z0-9]){11,40}+))",
    parts=iban,
    lead=1,
    has_digit=True,
)

PHONE = _pattern(
    "phone",
    r"(?P<x>[+(\d](?<![\w.,+/-].)(?:"
    r"(?<=\+)[1-9](?:[ ()./-]{0,3}+\d){6,14}+(?!\d)"
    r"|(?<=0)0[1-9](?:[ ()./-]{0,3}+\d){6,14}+(?!\d)"
    r"|(?:(?<=\()0|(?<=0))[1-9](?:[ ()/-]{0,3}+\d){6,12}+(?![\w.,-]?\d)"
    r"|(?:(?<=\()[2-9]|(?<=[2-9]))\d\d\)?+[ .-]{1,2}+\d{3}[ .-]\d{4}(?![\w-])"
    r"))",
    parts=phone,
    has_digit=True,
)

# Seven digits are a number to call only where they are said to be one, just before.
NAMED_PHONE = _pattern(
    "phone",
    r"(?P<x>[(\d](?<![\w.,+/-].)(?:(?<=\()\d|(?<=\d))(?:[ ()./-]{0,3}+\d){4,14}+(?![\w-]))",
    *("tel", "phone", "fon", "mobil", "handy", "cell", "fax", "whatsapp"),
    parts=named_phone,
    lead=LEAD_CHARS,
    has_digit=True,
)

# Of the United States' social security; numbers that are never given out are none.
SSN = _pattern(
    "ssn",
    r"(?P<x>\d(?<![\w.-].)(?<!9)\d\d(?<!000)(?<!666)-\d\d(?<!00)-\d{4}(?<!0000)(?![\w-]))",
    "-",
    has_digit=True,
)

IPV4 = _pattern(
    "ip",
    r"(?P<x>\d(?<![\w.:].)\d{0,2}+(?:\.\d{1,3}+){3}(?!\.?\d))",
    parts=ip,
    has_digit=True,
)

# Begins at its first colon: most hexadecimal digits are letters of words.
IPV6 = _pattern(
    "ip",
    r"(?P<x>:(?:[0-9A-Fa-f]{0,4}+:){1,7}+(?:[0-9A-Fa-f]{1,4}+)?+)(?![\w:])",
    ":",
    parts=ipv6,
    lead=5,
    has_digit=True,
)

PATTERNS = (
    PRIVATE_KEY,
    JWT,
    API_KEY,
    BEARER,
    NAMED_SECRET,
    PASSED_SECRET,
    ENV_SECRET,
    URL_PASSWORD,
    EMAIL,
    IBAN,
    CARD,
    SSN,
    PHONE,
    NAMED_PHONE,
    IPV4,
    IPV6,
)
"""In the order in which they name what several of them find."""
