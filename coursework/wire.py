"""Numbers, arrays and lists of them as JSON, between the tests and a submission. Nothing else passes, and no code does."""

import base64
import io
import json
import os

import numpy


def encode(value):
    """A value for JSON."""
    if isinstance(value, (numpy.ndarray, numpy.generic)) and value.dtype.kind in "biufcU":
        buffer = io.BytesIO()
        numpy.save(buffer, value, allow_pickle=False)
        return {"array": base64.b64encode(buffer.getvalue()).decode()}
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, (list, tuple)):
        return {"list" if isinstance(value, list) else "tuple": [encode(item) for item in value]}
    return {"other": type(value).__name__}


def decode(value):
    """The value again; an array of one value and no dimension becomes a scalar."""
    if not isinstance(value, dict):
        return value
    if "array" in value:
        return numpy.load(io.BytesIO(base64.b64decode(value["array"])), allow_pickle=False)[()]
    if "other" in value:
        raise TypeError(f"a {str(value['other'])[:50]} is neither a number nor an array or a list of numbers")
    kind, items = next(iter(value.items()))
    return (list if kind == "list" else tuple)(decode(item) for item in items)


def answer(user, number):
    """In the submission's process: call one of its functions as a file asks for, and leave the result in another."""
    with open(f"call-{number}.json") as file:
        call = json.load(file)
    try:
        if call["function"] not in user:
            raise NameError(f"name '{call['function']}' is not defined")
        result = user[call["function"]](*map(decode, call["positional"]), **{k: decode(v) for k, v in call["named"].items()})
        reply = {"value": encode(result)}
    except Exception as error:
        reply = {"error": f"{type(error).__name__}: {error}".removesuffix(": ")[:500]}
    with open(f"reply-{number}.part", "w") as file:
        json.dump(reply, file)
    os.replace(f"reply-{number}.part", f"reply-{number}.json")
