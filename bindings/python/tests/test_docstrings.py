"""Every public name has its text, and every example of a docstring runs."""

from __future__ import annotations

import asyncio
import doctest
import enum
import inspect
import re
import subprocess
import sys

import pytest

import mailport
from servers import Server


def test_the_examples_of_the_docstrings_run(server: Server) -> None:
    # Some classes are made at their first use.
    assert all(hasattr(mailport, name) for name in mailport.__all__)
    names = {"mailport": mailport, "asyncio": asyncio, "server": server, **vars(mailport)}
    runner = doctest.DocTestRunner()
    tried = set()
    for example in doctest.DocTestFinder().find(mailport, globs=names):
        if example.examples:
            tried.add(example.name)
            runner.run(example)
    assert runner.failures == 0
    functions = {f"mailport.{name}" for name in mailport.__all__ if name[0].islower()}
    assert {*functions, "mailport.SMTP", "mailport.Plan", "mailport.Config"} <= tried | {
        "mailport.__version__"
    }


def public() -> list[tuple[str, object]]:
    """Every public name, and every public name of a class."""
    found: list[tuple[str, object]] = []
    for name in mailport.__all__:
        value = getattr(mailport, name)
        if name in ("Ask", "AsyncAsk"):
            # An alias has no text; the module's has it.
            assert name in str(inspect.getdoc(mailport))
            continue
        found.append((name, value))
        if inspect.isclass(value):
            found += [
                (f"{name}.{inner}", part)
                for inner, part in vars(value).items()
                if not inner.startswith("_") and (callable(part) or isinstance(part, property))
            ]
    return found


@pytest.mark.parametrize(("name", "value"), public())
def test_everything_public_is_documented(name: str, value: object) -> None:
    assert inspect.getdoc(value), name


def fields() -> list[tuple[type, str]]:
    """Every class with a field, a member or an attribute, and its name."""
    found: list[tuple[type, str]] = []
    for name in mailport.__all__:
        value = getattr(mailport, name)
        if not inspect.isclass(value):
            continue
        if issubclass(value, enum.Enum):
            found += [(value, member.name) for member in value]
        else:
            annotated = inspect.get_annotations(value)
            found += [(value, field) for field in annotated if not field.startswith("_")]
    return found


@pytest.mark.parametrize(("owner", "name"), fields())
def test_help_explains_every_field(owner: type, name: str) -> None:
    """In a list of the class's text, for `help()` shows no other."""
    heads = re.findall(r"^(\S.*)$", inspect.cleandoc(str(owner.__doc__)), re.MULTILINE)
    names = [word for head in heads for word in re.split(r"[ :,]+", head)]
    if owner is mailport.Plan:
        return  # Its attribute NAMES is a value; help() shows it.
    assert name in names, f"{owner.__name__}.{name}"


def test_help_lists_every_class_before_one_is_used() -> None:
    program = "import mailport, pydoc; print(pydoc.render_doc(mailport, renderer=pydoc.plaintext))"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    # An alias of a type is a class for CPython 3.10, but not for its pydoc.
    named = {name: getattr(mailport, name) for name in mailport.__all__}
    classes = {name for name, value in named.items() if issubclass(type(value), type)}
    assert classes >= {"Report", "Attempt", "Dial"}
    listed = set(re.findall(r"^    class (\w+)\(", done.stdout, re.MULTILINE))
    assert classes <= listed


def test_a_name_that_the_package_does_not_have_is_an_error() -> None:
    assert not hasattr(mailport, "Reports")


def test_the_version_is_the_distribution_s() -> None:
    from importlib.metadata import version

    assert mailport.__version__ == version("mailport")
