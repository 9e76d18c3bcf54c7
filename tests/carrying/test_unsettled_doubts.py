"""What looks as if it settled a doubt about a merge, and does not: every one of these would be wrong."""

from __future__ import annotations

import pytest
from carrying.test_settled_doubts import Edit, doubts


@pytest.mark.parametrize(
    ("body", "change", "own"),
    [
        pytest.param(
            """
    last = None
    for y in x:
        if y:
            go(y)
        else:
            skip(y)
    return last
""",
            ("go(y)", "go(y)\nlast = y"),
            ("skip(y)", "last = skip(y)"),
            id="loop-rival",
        ),
        pytest.param(
            """
    for y in x:
        if y.last:
            done(y)
            return y
        keep(y)
    return x
""",
            ("keep(y)", "keep(y)\nself.flush()"),
            ("done(y)", "done(y)\nself.flush()"),
            id="loop-left",
        ),
        pytest.param(
            """
    for y in x:
        if y.last:
            done(y)
        else:
            keep(y)
    return x
""",
            ("keep(y)", "keep(y)\nself.first = y"),
            ("done(y)", "done(y)\nself.first = y"),
            id="loop-same",
        ),
        pytest.param(
            """
    with suppress(KeyError):
        if x:
            y = 1
            raise KeyError(x)
        go(x)
    z = 2
    return z
""",
            ("z = 2", "out = 3\nz = 2"),
            ("y = 1", "y = 1\nout = 4"),
            id="with-suppress-raise",
        ),
        pytest.param(
            """
    if x:
        first(x)
    else:
        last(x)
    return x
""",
            ("last(x)", "last(x)\nself.mode = 3"),
            ("first(x)", "first(x)\nself.mode = 'fast'"),
            id="attribute-new-both",
        ),
        pytest.param(
            """
    def call(y):
        if y:
            a(y)
        else:
            b(y)
    return call
""",
            ("b(y)", "b(y)\nself.seen = 1"),
            ("a(y)", "a(y)\nself.seen = 2"),
            id="nested-def",
        ),
        pytest.param(
            """
    for y in x:
        try:
            if y:
                a(y)
                raise KeyError(y)
            b(y)
        except KeyError:
            pass
    return x
""",
            ("b(y)", "b(y)\nout = 1"),
            ("a(y)", "a(y)\nout = 2"),
            id="try-outer-loop",
        ),
    ],
)
def test_what_a_loop_or_another_call_comes_back_to_is_not_apart(
    body: str, change: Edit, own: Edit | tuple[Edit, ...]
) -> None:
    found = doubts(body, change, own)
    assert "there already" in found or "in code of its own" in found


@pytest.mark.parametrize(
    ("body", "change", "own"),
    [
        pytest.param(
            """
    config = self.config
    self.a = read(x)
    self.b = {}
    return self.b
""",
            ("self.b = {}", "self.b = {}\nself.config.flag = False"),
            ("self.a = read(x)", "self.a = read(x)\nself.config.flag = False\nconfig.flag = True"),
            id="alias",
        ),
        pytest.param(
            """
    self.a = read(x)
    yield self.a
    self.b = {}
""",
            ("self.b = {}", "self.b = {}\nself.flag = False"),
            ("self.a = read(x)", "self.a = read(x)\nself.flag = False"),
            id="yield",
        ),
        pytest.param(
            """
    config = self.config
    self.a = read(x)
    self.b = {}
    return self.b
""",
            ("self.b = {}", "self.b = {}\nself.flag = False"),
            ("self.a = read(x)", "self.a = read(x)\nself.flag = False\nprepare()"),
            id="other-call",
        ),
        pytest.param(
            """
    config = self.config
    self.a = read(x)
    self.b = {}
    return self.b
""",
            ("self.b = {}", "self.b = {}\nself.config.flag = False"),
            ("self.a = read(x)", "self.a = read(x)\nself.config.flag = False\nconfig.update(x)"),
            id="alias-call",
        ),
        pytest.param(
            """
    global COUNT
    a = read(x)
    b = {}
    return b
""",
            ("b = {}", "b = {}\nCOUNT = 0"),
            ("a = read(x)", "a = read(x)\nCOUNT = 0\nbump()"),
            id="global",
        ),
        pytest.param(
            """
    config = self.config
    self.a = read(x)
    self.b = {}
    return self.b
""",
            ("self.b = {}", "self.b = {}\nself.flag = False"),
            ("self.a = read(x)", "self.a = read(x)\nself.flag = False\nself.__dict__['flag'] = True"),
            id="dict",
        ),
        pytest.param(
            """
    self.a = read(x)
    await self.a
    self.b = {}
""",
            ("self.b = {}", "self.b = {}\nx.flag = False"),
            ("self.a = read(x)", "self.a = read(x)\nx.flag = False"),
            id="await",
        ),
        pytest.param(
            """
    count = 1
    def bump():
        nonlocal count
        count = 3
    a = read(x)
    b = {}
    return b
""",
            ("b = {}", "b = {}\ncount = 0"),
            ("a = read(x)", "a = read(x)\ncount = 0\nbump()"),
            id="nonlocal",
        ),
    ],
)
def test_a_constant_that_something_may_have_changed_is_doubted(
    body: str, change: Edit, own: Edit | tuple[Edit, ...]
) -> None:
    found = doubts(body, change, own)
    assert "there already" in found


@pytest.mark.parametrize(
    ("body", "change", "own"),
    [
        pytest.param(
            """
    out = run(x)
    if x:
        keep(out, config)
    else:
        size = 1
    return out
""",
            ("size = 1", "size = 1\nkeep(out, config)"),
            ("keep(out, config)", "config = widened(config)\nkeep(out, config)"),
            id="branch",
        ),
        pytest.param(
            """
    out = run(x)
    for y in x:
        go(y)
        keep(out)
        end(y)
    return out
""",
            ("go(y)", "keep(out)\ngo(y)"),
            ("end(y)", "out = end(y)"),
            id="loop",
        ),
        pytest.param(
            """
    out = run(x)
    if x:
        size = 1
        return out
    keep(out, config)
    return out
""",
            ("size = 1", "size = 1\nkeep(out, config)"),
            (
                ("out = run(x)", "config = widened(config)\nout = run(x)"),
                ("keep(out, config)", "config['a'] = 1\nkeep(out, config)"),
            ),
            id="subscript",
        ),
        pytest.param(
            """
    out = run(x)
    if x:
        size = 1
        return out
    keep(out, config)
    return out
""",
            ("size = 1", "size = 1\nkeep(out, config)"),
            (
                ("out = run(x)", "config = widened(config)\nout = run(x)"),
                ("keep(out, config)", "config.update(x)\nkeep(out, config)"),
            ),
            id="mutating",
        ),
    ],
)
def test_a_copy_that_the_release_prepares_otherwise_is_doubted(
    body: str, change: Edit, own: Edit | tuple[Edit, ...]
) -> None:
    found = doubts(body, change, own)
    assert "the change reads" in found


@pytest.mark.parametrize(
    ("body", "change", "own"),
    [
        pytest.param(
            """
    key = a(x)
    names = [key for key in x]
    go(names)
    return names
""",
            ("return names", "use(key)\nreturn names"),
            ("key = a(x)", "key = b(x)"),
            id="comprehension",
        ),
        pytest.param(
            """
    key = a(x)
    other(x)
    key = pad(key)
    go(x)
    return x
""",
            ("return x", "use(key)\nreturn x"),
            ("key = a(x)", "key = b(x)"),
            id="self",
        ),
        pytest.param(
            """
    self.key = a(x)
    other(x)
    self.key = self.key[1:]
    go(x)
    return x
""",
            ("return x", "use(self.key)\nreturn x"),
            ("self.key = a(x)", "self.key = b(x)"),
            id="self-attr",
        ),
        pytest.param(
            """
    self.size = 0
    other(x)
    self.size = len(x)
    go(x)
    end(x)
    return x
""",
            ("return x", "use(self.size)\nreturn x"),
            (("self.size = 0", "self.size = 1"), ("go(x)", "go(x)\nself.grow()")),
            id="attr-call",
        ),
        pytest.param(
            """
    out = 0
    other(x)
    out = list(x)
    go(x)
    end(x)
    return x
""",
            ("return x", "use(out)\nreturn x"),
            (("out = 0", "out = 1"), ("go(x)", "go(x)\nout.clear()")),
            id="mutation",
        ),
        pytest.param(
            """
    out = 0
    other(x)
    out = list(x)
    go(x)
    end(x)
    return x
""",
            ("return x", "use(out)\nreturn x"),
            (("out = 0", "out = 1"), ("go(x)", "go(x)\nout[0] = 1")),
            id="mutation-sub",
        ),
        pytest.param(
            """
    key = 0
    raw = a(x)
    other(x)
    key = pad(raw)
    go(x)
    return x
""",
            ("return x", "use(key)\nreturn x"),
            (("key = 0", "key = 1"), ("raw = a(x)", "raw = b(x)")),
            id="transitive",
        ),
        pytest.param(
            """
    key = a(x)
    match x:
        case [key]:
            go(x)
        case _:
            end(x)
    return x
""",
            ("return x", "use(key)\nreturn x"),
            ("case [key]:", "case [key, _]:"),
            id="match",
        ),
    ],
)
def test_a_value_that_another_value_was_made_into_is_doubted(
    body: str, change: Edit, own: Edit | tuple[Edit, ...]
) -> None:
    found = doubts(body, change, own)
    assert "the change reads" in found


@pytest.mark.parametrize(
    ("body", "change", "own"),
    [
        pytest.param(
            """
    check(x)
    y = 1
    x = prepare(x)
    z = 2
    out = run(config)
    return out
""",
            (
                "check(x)\ny = 1\nx = prepare(x)\nz = 2\nout = run(config)",
                "y = 1\nx = prepare(x)\nz = 2\nout = run(config, x)",
            ),
            ("x = prepare(x)\nz = 2", "z = 2"),
            id="param-deleted-read",
        ),
        pytest.param(
            """
    backup = copied(config)
    out = run(x)
    if out is None:
        config = backup
        out = self.fall_back(x)
    return out
""",
            ("config = backup\n", "self.size = backup\n"),
            ("self.fall_back(x)", "self.fall_back(x, config)"),
            id="call-newly-reads",
        ),
        pytest.param(
            """
    backup = copied(config)
    if x:
        config = backup
        self.note(1)
    self.note(x)
    return x
""",
            ("config = backup\n", "self.size = backup\n"),
            ("self.note(1)", "self.note(config)"),
            id="call-other-result",
        ),
        pytest.param(
            """
    y = 1
    x = prepare(x)
    z = 2
    out = run(config)
    return out
""",
            ("out = run(config)", "note(x)\nout = run(config)"),
            (("x = prepare(x)\n", ""), ("return out", "x = prepare(x)\nreturn out")),
            id="moved-later",
        ),
    ],
)
def test_a_parameter_that_upstream_prepares_and_the_release_does_not_is_doubted(
    body: str, change: Edit, own: Edit | tuple[Edit, ...]
) -> None:
    found = doubts(body, change, own)
    assert "does not set before" in found


@pytest.mark.parametrize(
    ("body", "change", "own"),
    [
        pytest.param(
            """
    for y in x:
        log(y)
    return x
""",
            ("log(y)", "self.delete(y)"),
            ("for y in x:", "for y in config:"),
            id="destructive",
        ),
        pytest.param(
            """
    for y in x:
        if y.done:
            self.delete(y)
    return x
""",
            ("if y.done:", "if y.done or y.late:"),
            ("for y in x:", "for y in [*x, *config]:"),
            id="condition-dropped",
        ),
        pytest.param(
            """
    for y in x:
        log(y)
    return x
""",
            ("log(y)", "return y"),
            ("for y in x:", "for y in config:"),
            id="return",
        ),
        pytest.param(
            """
    for y in x:
        out = y
    return x
""",
            ("out = y", "out = y.first(config)"),
            ("for y in x:", "for y in reversed(x):"),
            id="assign",
        ),
        pytest.param(
            """
    for i, y in enumerate(x):
        out[i] = y
    return x
""",
            ("out[i] = y", "out[i + 1] = y"),
            ("enumerate(x)", "enumerate(x, 1)"),
            id="index",
        ),
        pytest.param(
            """
    for a, b in zip(x, config):
        use(a)
    return x
""",
            ("use(a)", "use(a, b)"),
            ("zip(x, config)", "zip(config, x)"),
            id="swapped",
        ),
        pytest.param(
            """
    for a in x:
        use(a)
    return x
""",
            ("use(a)", "use(a, last=a is x[-1])"),
            ("for a in x:", "for a in x[:-1]:"),
            id="filter",
        ),
    ],
)
def test_what_takes_the_place_of_something_else_in_a_loop_is_doubted(
    body: str, change: Edit, own: Edit | tuple[Edit, ...]
) -> None:
    found = doubts(body, change, own)
    assert "in another block" in found


SHORT = """
    out = made(x)
    go(x)
    end(x)
    return x
"""


@pytest.mark.parametrize("own", ["out[0] = 1\ngo(x)", "out += 1\ngo(x)", "del out\ngo(x)", "import out\ngo(x)"])
def test_what_the_release_makes_of_a_value_before_it_is_read_is_doubted(own: str) -> None:
    assert "the change reads out" in doubts(SHORT, ("end(x)", "use(out)\nend(x)"), ("go(x)", own))


def test_a_name_that_the_release_imports_from_elsewhere_is_doubted() -> None:
    body = SHORT.replace("out = made(x)", "from a import out")
    own = ("from a import out", "from b import out")
    assert "the change reads out" in doubts(body, ("end(x)", "use(out)\nend(x)"), own)


def test_what_the_release_takes_away_after_the_change_sets_it_is_doubted() -> None:
    found = doubts(SHORT, ("go(x)", "go(x)\nself.cache = x"), ("end(x)", "end(x)\ndel self.cache"))
    assert "the release sets self.cache" in found


def test_a_copy_of_what_the_release_runs_on_a_condition_is_doubted() -> None:
    body = """
        if x:
            size = 1
            return x
        keep(x, config)
        return x
    """
    own = ("keep(x, config)", "if config:\n    keep(x, config)")
    assert "runs on another condition" in doubts(body, ("size = 1", "size = 1\nkeep(x, config)"), own)


def test_a_loop_over_another_number_is_another_loop() -> None:
    body = """
        for i in range(x.size):
            use(i)
        return x
    """
    found = doubts(body, ("use(i)", "use(i, config[i])"), ("range(x.size)", "range(x.length)"))
    assert "in another block" in found


def test_a_value_that_is_made_of_another_one_on_the_release_is_doubted() -> None:
    body = SHORT.replace("out = made(x)", "raw = made(x)\n    out = pad(raw)")
    found = doubts(body, ("end(x)", "use(out)\nend(x)"), ("raw = made(x)", "raw = read(x)"))
    assert "the change reads out" in found
