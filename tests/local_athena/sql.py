"""SQL as a list of tokens: enough to tell one statement from two, and to read the DDL that `ddl` translates."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum, auto

TOKEN = re.compile(
    r"""
    (?P<SPACE>\s+|--[^\n]*|/\*.*?\*/)
    |(?P<STRING>'(?:[^']|'')*')
    |(?P<QUOTED>"(?:[^"]|"")*")
    |(?P<BACKTICKED>`(?:[^`]|``)*`)
    |(?P<WORD>[A-Za-z_][A-Za-z0-9_]*)
    |(?P<NUMBER>\d[A-Za-z0-9_.]*)
    |(?P<SYMBOL>.)
    """,
    re.VERBOSE | re.DOTALL,
)


class SqlError(Exception):
    """A statement that cannot be read; the message is Athena's to its user."""


class Kind(Enum):
    """What a token is."""

    STRING = auto()
    QUOTED = auto()
    BACKTICKED = auto()
    WORD = auto()
    NUMBER = auto()
    SYMBOL = auto()
    END = auto()


@dataclass(frozen=True)
class Token:
    """A piece of a statement that is neither space nor comment, and where it stands."""

    kind: Kind
    text: str
    start: int
    end: int

    @property
    def value(self) -> str:
        """Without its quotes; what was doubled inside them is single."""
        if self.kind in (Kind.STRING, Kind.QUOTED, Kind.BACKTICKED):
            return self.text[1:-1].replace(self.text[0] * 2, self.text[0])
        return self.text

    def is_word(self, word: str) -> bool:
        return self.kind is Kind.WORD and self.text.lower() == word

    def is_symbol(self, symbol: str) -> bool:
        return self.kind is Kind.SYMBOL and self.text == symbol


def tokenize(sql: str) -> list[Token]:
    """All tokens, without comments and spaces."""
    return [
        Token(Kind[match.lastgroup], match.group(), match.start(), match.end())
        for match in TOKEN.finditer(sql)
        if match.lastgroup is not None and match.lastgroup != "SPACE"
    ]


def single_statement(sql: str) -> tuple[str, list[Token]]:
    """The one statement of a text, without a closing semicolon, and its tokens; comments before it stay.

    Athena takes one statement a query, and says so in these words.
    """
    tokens = tokenize(sql)
    while tokens and tokens[-1].is_symbol(";"):
        sql = sql[: tokens.pop().start]
    if not tokens:
        raise SqlError("Query string is empty")
    if any(token.is_symbol(";") for token in tokens):
        raise SqlError(f"Only one sql statement is allowed. Got: {sql}")
    return sql, tokens


class Reader:
    """Reads tokens from left to right; what does not fit is a SqlError that names line and column."""

    def __init__(self, sql: str, tokens: list[Token]) -> None:
        self.sql = sql
        self.tokens = [*tokens, Token(Kind.END, "<EOF>", len(sql), len(sql))]
        self.position = 0

    @property
    def current(self) -> Token:
        return self.tokens[self.position]

    @property
    def at_end(self) -> bool:
        return self.current.kind is Kind.END

    def next(self) -> Token:
        token = self.current
        if token.kind is Kind.END:
            raise self.error()
        self.position += 1
        return token

    def accept(self, *words: str) -> bool:
        """Whether these words (or symbols) stand here; if so, go past them."""
        ahead = self.tokens[self.position : self.position + len(words)]
        if len(ahead) == len(words) and all(
            token.is_word(word) or token.is_symbol(word) for token, word in zip(ahead, words, strict=True)
        ):
            self.position += len(words)
            return True
        return False

    def expect(self, *words: str) -> None:
        if not self.accept(*words):
            raise self.error()

    def expect_end(self) -> None:
        if not self.at_end:
            raise self.error()

    def rest(self) -> str:
        """The text from here on, comments included."""
        return self.sql[self.current.start :]

    def error(self) -> SqlError:
        token = self.current
        line = self.sql.count("\n", 0, token.start) + 1
        column = token.start - (self.sql.rfind("\n", 0, token.start) + 1)
        return SqlError(f"FAILED: ParseException line {line}:{column} cannot recognize input near '{token.text}'")
