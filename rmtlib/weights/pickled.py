"""What a pickle would make, counted from its instructions before anything is made."""

from __future__ import annotations

import pickle
import pickletools
from pathlib import Path
from typing import IO

from .limits import allowed
from .tensors import WeightsError

__all__ = ["check_pickle"]

# Tuples in tuples are hashed by a function of C that calls itself and does not count how often.
DEPTH = 1000
TUPLES = ("TUPLE", "TUPLE1", "TUPLE2", "TUPLE3")
# Bytes that an instruction takes: those that make a small thing, known before, need a pointer.
POINTER = 8
TAKEN = ("GET", "BINGET", "LONG_BINGET")
KNOWN = ("BININT1", "NONE", "NEWTRUE", "NEWFALSE", "EMPTY_TUPLE", *TAKEN, "DUP", "STOP", "PROTO", "FRAME")
KEPT = ("PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE")
BYTES = dict.fromkeys(KNOWN, POINTER) | dict.fromkeys(KEPT, 100)
BYTES |= {"MARK": 64, "EMPTY_LIST": 64, "EMPTY_DICT": 72, "EMPTY_SET": 224, "SETITEM": 104}
OTHER = 40
EACH = {"SETITEMS": 52, "DICT": 52, "ADDITEMS": 64, "FROZENSET": 64}  # and for each of the things that go into another


def check_pickle(path: Path, file: IO[bytes]) -> None:
    """Refuse a pickle that would fill the memory or end the process.

    Parameters
    ----------
    path : pathlib.Path
        The file that holds it.
    file : binary file
        Read from where it stands to the end of the pickle.

    Raises
    ------
    WeightsError
        If it would take more than ten times the file's size and 100 MB, or nests more than 1000 tuples.
    pickle.UnpicklingError
        If it is damaged.
    """
    limit, taken = allowed(path), 0
    stack: list[int] = []
    marks: list[int] = []
    memo: dict = {}
    try:
        for code, argument, _ in pickletools.genops(file):
            name = code.name
            taken += BYTES.get(name, OTHER) + (len(argument) if isinstance(argument, str | bytes | bytearray) else 0)
            if name == "MARK":
                marks.append(len(stack))
                continue
            if name in KEPT:
                memo[len(memo) if argument is None else argument] = stack[-1]
                continue
            if pickletools.markobject in code.stack_before or name == "POP" and marks and marks[-1] == len(stack):
                start = marks.pop()
                taken += EACH.get(name, POINTER) * (len(stack) - start)
                start -= code.stack_before.index(pickletools.markobject) if name != "POP" else 0
            else:
                start = len(stack) - len(code.stack_before)
            if start < (marks[-1] if marks else 0):
                msg = f"{name} takes more than there is"
                raise ValueError(msg)
            popped = stack[start:]
            del stack[start:]
            # How many tuples lie in one another: what is made of things holds them, and may be one of them.
            depth = max(popped, default=0) + (name in TUPLES)
            depth = memo[argument] if name in TAKEN else depth
            stack += [depth] * len(code.stack_after)
            if depth > DEPTH:
                msg = f"{path} holds a pickle of more than {DEPTH} tuples in one another"
                raise WeightsError(msg)
            if taken > limit:
                msg = f"{path} holds a pickle that takes more than ten times the file and 100 MB"
                raise WeightsError(msg)
    except WeightsError:
        raise
    except Exception as error:
        msg = f"it holds no whole pickle: {str(error) or type(error).__name__}"
        raise pickle.UnpicklingError(msg) from error
