"""Every public name has its text, and every example of a docstring runs."""

from __future__ import annotations

import ast
import asyncio
import doctest
import inspect
from pathlib import Path

import pytest

import mailport
from servers import Server


def test_the_examples_of_the_docstrings_run(server: Server) -> None:
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


def test_every_field_is_documented() -> None:
    """A field's text stands below it, where tools for documentation look for it."""
    for module in ["_plan", "_report", "_dial", "_errors"]:
        source = (Path(mailport.__file__).parent / f"{module}.py").read_text()
        for node in ast.walk(ast.parse(source)):
            if not isinstance(node, ast.ClassDef) or node.name in ("Word", "Dial"):
                continue
            for field, after in zip(node.body, [*node.body[1:], None], sequential=True):
                if not isinstance(field, (ast.AnnAssign, ast.Assign)):
                    continue
                name = ast.unparse(field).split(":")[0].split("=")[0].strip()
                if not name.startswith("_"):
                    assert isinstance(after, ast.Expr), f"{node.name}.{name}"


def test_the_version_is_the_distribution_s() -> None:
    from importlib.metadata import version

    assert mailport.__version__ == version("mailport")
