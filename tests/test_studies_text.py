"""Sentences of real text are prose, each once."""

import types

from studies import text

PROSE = "Levels of a random matrix repel each other, and nothing else does."
OTHER = "The second sentence says that the bulk holds most of them."


def test_sentences_are_prose_of_eight_to_fifty_words():
    code = "Call `f(x)` on each of the seven rows of the first table."
    short, long = "Too short.", "A " + "very " * 60 + "long sentence."
    page = f"{PROSE}\n{OTHER} {short}\n\n{code} {long}\n\nno capital at the start of this one, and so it is left out."
    assert list(text.sentences(page)) == [PROSE, OTHER]


def test_docstrings_are_those_of_a_modules_own_public_things(monkeypatch):
    module = types.ModuleType("speaking", f"Head of the module.\n\n{PROSE}")

    class Public:
        """Nothing here."""

        def method(self):
            """Short. The second sentence says that the bulk holds most of them."""

        def _hidden(self):
            """A private method says something that nobody needs to read here."""

    Public.__module__ = "speaking"
    module.Public, module.join = Public, __import__("os").path.join
    monkeypatch.setitem(__import__("sys").modules, "speaking", module)
    assert text.docstrings(["speaking"]) == [PROSE, OTHER]


def test_the_standard_library_has_enough_to_say():
    found = text.docstrings()
    assert len(found) > 1500
    assert len(set(found)) == len(found)


def test_texts_are_spread_evenly():
    assert text.spread("abcdefgh", 4) == ["a", "c", "e", "g"]
    assert text.spread("ab", 5) == ["a", "b"]
