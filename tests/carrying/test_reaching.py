"""From which statement another has a name: only what is certain clears a value that the release computes otherwise."""

from __future__ import annotations

import ast
from textwrap import dedent

import pytest

from ascend_patches.carrying import merging, reaching


def source(body: str) -> str:
    """Where ``use(x)`` has ``x`` from, each time that it stands there."""
    text = "def f(self, x):\n" + "\n".join(f"    {line}" for line in dedent(body).strip().split("\n")) + "\n"
    row = merging.units(ast.parse(text).body[0], text.split("\n"))
    return "; ".join(reaching.last_set("x", "use(x)", row))


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("x = 1\nuse(x)", "x = 1"),
        ("x = 1\ny = 2\nif y:\n    use(x)", "x = 1"),
        ("x = 0\nif x:\n    x = 1\n    use(x)", "x = 1"),
        ("use(x)", "(parameter)"),
        ("if a:\n    x = 1\nuse(x)", ""),
        ("x = 0\nif a:\n    x = 1\nelse:\n    use(x)", ""),
        ("if a:\n    x = 1\nelse:\n    y = 2\n    use(x)", ""),
        ("if a:\n    x = 1\nelif b:\n    use(x)", ""),
        ("try:\n    x = 1\nexcept E:\n    use(x)", ""),
        ("try:\n    x = 1\nfinally:\n    use(x)", ""),
        ("for x in y:\n    use(x)", ""),
        ("x = 1\nfor y in z:\n    use(x)\n    x = 2", ""),
        ("x = 1\nwhile y:\n    if x:\n        use(x)\n    x = 2", ""),
        ("for y in z:\n    x = 1\n    use(x)", "x = 1"),
        ("x = 1\nx += 2\nuse(x)", ""),
        ("x = 1\ndel x\nuse(x)", ""),
        ("global x\nuse(x)", ""),
        ("x = 1\nimport x\nuse(x)", "import x"),
        ("x = 1\nuse(x)\nuse(x)", "x = 1; x = 1"),
        ("x = 1\nuse(x)\nx = 2\nuse(x)", "x = 1; x = 2"),
        ("if a:\n    y = 1\nelse:\n    x = 1\n    use(x)", "x = 1"),
        ("x = 1\ndef g():\n    use(x)", ""),
        ("x = 1\ndef g():\n    x = 2\nuse(x)", ""),
        ("if (x := 3):\n    use(x)", "if (x := 3):"),
    ],
)
def test_the_statement_that_certainly_sets_a_name(body: str, expected: str) -> None:
    assert source(body) == expected
