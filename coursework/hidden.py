"""Functions of libraries that solve an exercise by themselves, put out of reach while it is graded.

The functions stay where they are and refuse to be called, under whatever name they were imported. It is no wall: a module that is
loaded anew, inner functions and a new process get around it. Whoever does that, or copies the body of one, has at least read it.
"""

import importlib
from types import FunctionType, ModuleType

WORDS = "{name} solves this exercise by itself and cannot be called while it is graded"


def find(name):
    """For a dotted name such as ``rmtlib.unfold``: the object that holds the function, its name there, the function."""
    parts = name.split(".")
    for end in range(len(parts) - 1, 0, -1):
        try:
            owner = importlib.import_module(".".join(parts[:end]))
        except ImportError:
            continue
        for part in parts[end:-1]:
            owner = getattr(owner, part)
        return owner, parts[-1], getattr(owner, parts[-1])
    msg = f"no module holds {name}"
    raise ImportError(msg)


def hide(names):
    """Replace the functions of these names."""
    for name in names:
        owner, attribute, function = find(name)
        if isinstance(function, type):
            function.__init__ = refusal(name)
        elif not isinstance(owner, ModuleType):
            setattr(owner if isinstance(owner, type) else type(owner), attribute, refusal(name))
        elif isinstance(function, FunctionType) and not function.__closure__:
            # under every name, wherever it was imported
            function.__code__ = _refuse.__code__
            function.__defaults__, function.__kwdefaults__ = None, {"_words": WORDS.format(name=name)}
        else:
            setattr(owner, attribute, refusal(name))


def refusal(name):
    """A function in the place of one that is hidden."""

    def refuse(*_, **__):
        raise PermissionError(WORDS.format(name=name))

    return refuse


def _refuse(*_, _words="", **__):
    raise PermissionError(_words)
