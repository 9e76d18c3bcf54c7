"""Doubts about a merge that reading further settles, and beside each the like of it that stays one."""

from __future__ import annotations

import ast
from textwrap import dedent, indent

import pytest

from ascend_patches.carrying import merging
from ascend_patches.carrying.merge_doubts import merge_doubts
from ascend_patches.carrying.merging import Unit

Edit = tuple[str, str]


def doubts(body: str, change: Edit, own: Edit | tuple[Edit, ...]) -> str:
    """What is doubted where a change and the release each edited a function of this body."""
    base = dedent(body).strip("\n")
    edits = own if isinstance(own[0], tuple) else (own,)
    release = base
    for edit in edits:
        release = _edited(release, (edit[0], edit[1]))
    before, theirs, ours = (_units(text) for text in (base, _edited(base, change), release))
    merged = merging.merge(before, theirs, ours)
    assert not merged.conflicts
    return "; ".join(merge_doubts(before, theirs, ours, merged))


def _edited(text: str, edit: Edit) -> str:
    old, new = (dedent(each).strip("\n") for each in edit)
    assert old in text, old
    first = next(line for line in text.split("\n") if old.split("\n")[0] in line)
    margin = first[: len(first) - len(first.lstrip())]
    return text.replace(old, new.replace("\n", f"\n{margin}"), 1)


def _units(body: str) -> tuple[Unit, ...]:
    text = f"def f(self, x, config):\n{indent(body, '    ')}\n"
    return merging.units(ast.parse(text).body[0], text.split("\n"))


BRANCHES = """
    if x:
        out = first(x)
    else:
        y = 1
        out = last(x)
    return out
"""


def test_what_the_release_sets_on_another_branch_is_not_set_twice() -> None:
    assert doubts(BRANCHES, ("out = last(x)", "out = last(x, y)"), ("out = first(x)", "out = first(x, 1)")) == ""


@pytest.mark.parametrize(
    ("change", "own"),
    [
        (("y = 1", "y = 1\nout = 3"), ("return out", "out = 4\nreturn out")),
        (("out = last(x)", "out = last(x, out)"), ("out = first(x)", "out = first(out)")),
        (("out = last(x)", "out += last(x)"), ("out = first(x)", "out = first(x, 1)")),
    ],
)
def test_what_one_call_may_set_after_the_other_is_doubted(change: Edit, own: Edit) -> None:
    assert "in code of its own" in doubts(BRANCHES, change, own)


LEFT = """
    if x:
        y = 1
        return y
    z = 2
    return z
"""


def test_what_a_function_does_after_it_was_left_is_not_done_twice() -> None:
    assert doubts(LEFT, ("z = 2", "out = 3\nz = 2"), ("y = 1", "y = 1\nout = 4")) == ""


@pytest.mark.parametrize(("end", "inside"), [("pass", ""), ("return y", "if x > 2:\n            continue\n        ")])
def test_a_block_that_need_not_leave_the_function_is_followed_by_what_comes_after(end: str, inside: str) -> None:
    body = f"""
        for y in x:
            if y:
                {inside.replace(chr(10) + "        ", chr(10) + "                ")}y = 1
                {end}
            z = 2
        return x
    """
    found = doubts(body, ("z = 2", "out = 3\nz = 2"), ("y = 1", "y = 1\nout = 4"))
    assert "in code of its own" in found


PLAIN = """
    self.a = read(x)
    self.b = {}
    return self.b
"""


def test_a_constant_that_is_set_again_changes_nothing() -> None:
    again = ("self.b = {}", "self.b = {}\nself.flag = False")
    assert doubts(PLAIN, again, ("self.a = read(x)", "self.a = read(x)\nself.flag = False")) == ""


@pytest.mark.parametrize(
    ("put_in", "between"),
    [
        ("self.flag = False", "\nself.flag = True"),
        ("self.flag = False", "\nif x:\n    self.flag = True"),
        ("self.flag = False", "\nself.prepare()"),
        ("self.flag = False", "\nprepare(self)"),
        ("self.flag = []", ""),
        ("count = count + 1", ""),
    ],
)
def test_what_may_have_been_set_to_another_value_between_is_doubted(put_in: str, between: str) -> None:
    own = ("self.a = read(x)", f"self.a = read(x)\n{put_in}{between}")
    assert "there already" in doubts(PLAIN, ("self.b = {}", f"self.b = {{}}\n{put_in}"), own)


COPIED = """
    out = run(x)
    if x:
        size = 1
        return out
    keep(out, config)
    return out
"""
COPY = ("size = 1", "size = 1\nkeep(out, config)")


def test_the_copy_of_a_statement_reads_what_the_statement_reads() -> None:
    assert doubts(COPIED, COPY, ("out = run(x)", "config = widened(config)\nout = run(x)")) == ""


def test_a_copy_that_reads_what_is_set_only_later_is_doubted() -> None:
    found = doubts(COPIED, COPY, ("keep(out, config)", "config = widened(config)\nkeep(out, config)"))
    assert "the change reads config" in found


RESTORED = """
    backup = copied(config)
    out = run(config)
    if out is None:
        config = backup
        out = self.fall_back(config)
    return out
"""
GONE = ("config = backup\n", "config.size = backup\n")


def test_a_parameter_that_upstream_no_longer_sets_before_a_call_has_its_own_value_in_the_same_call() -> None:
    assert doubts(RESTORED, GONE, ("self.fall_back(config)", "self.fall_back(config, 1)")) == ""


def test_in_another_call_it_is_doubted() -> None:
    found = doubts(RESTORED, GONE, ("out = self.fall_back(config)", "out = self.fall_back(config)\nself.note(config)"))
    assert "reads config, which the merge does not set before" in found


LOOP = """
    for key, value in zip(x, config):
        if key == "a":
            use(value)
    return x
"""


def test_a_statement_that_is_replaced_in_a_loop_over_other_things_runs_for_all_of_them() -> None:
    change = ('if key == "a":', 'if key in ("a", "b"):')
    assert doubts(LOOP, change, ("zip(x, config)", "zip(x.keys(), config)")) == ""


def test_a_statement_that_is_put_into_such_a_loop_is_doubted() -> None:
    change = ('if key == "a":', 'self.see(key)\nif key == "a":')
    assert "in another block" in doubts(LOOP, change, ("zip(x, config)", "zip(x.keys(), config)"))


def test_a_statement_that_is_replaced_under_another_condition_is_doubted() -> None:
    body = LOOP.replace("for key, value in zip(x, config):", "if x.ready:")
    assert "in another block" in doubts(body, ("use(value)", "use(value, 1)"), ("if x.ready:", "if not x.ready:"))


TWICE = """
    if x:
        key = x.name
    else:
        key = config
        size = look(key)
    return size
"""


def test_a_name_that_every_new_reader_has_from_the_same_statement_is_as_upstream_has_it() -> None:
    assert doubts(TWICE, ("size = look(key)", "size = look(key, 1)"), ("key = x.name", "key = x.label")) == ""


def test_an_else_that_another_statement_follows_now_is_no_new_statement() -> None:
    body = BRANCHES.replace("        y = 1\n", "")
    change = ("out = last(x)", "if x is None:\n    return x\nout = last(x)")
    assert doubts(body, change, ("out = first(x)", "out = first(x, 1)\nout = seen(out)")) == ""
