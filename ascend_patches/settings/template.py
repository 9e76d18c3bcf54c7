"""The settings file a deployment starts from, written from the declarations."""

from __future__ import annotations

import json
from collections.abc import Iterable
from textwrap import wrap

from ascend_patches.declaring.patch import OptionValue, Patch

_HEAD = """\
#:schema ./patches.schema.json
# Settings of ascend-patches: which patches are on, with which options, on which releases.
#
# Read from, in this order: the file named in code or by ASCEND_PATCHES_CONFIG, PREFIX/etc/ascend_patches/patches.toml
# of the Python environment, /etc/ascend_patches/patches.toml. On top of it, from the environment:
#   ASCEND_PATCHES=off|on|strict   ASCEND_PATCHES_ENABLE=name,...   ASCEND_PATCHES_DISABLE=name,...

# "on": a patch that does not fit is skipped with a reason. "strict": the server does not start without it.
# "off": nothing is done.
mode = "on"

# What to do where upstream's code is not code that a patch was verified against: "skip" or "apply".
unknown = "skip"

# The share of calls that run upstream's own code too, on copies, and compare: 0 to 1, such as 0.001. While it is 0,
# nothing of this is installed. ASCEND_PATCHES_SHADOW=0.001, or NAME=0.001,..., has the last word.
shadow = 0.0
# After how many differences a patch is reverted in the process that saw them; 0 for never.
quarantine = 1

# Who may read the reports in ASCEND_PATCHES_REPORT_DIR: "owner", "group" (the owner's group as well) or "all".
# ASCEND_PATCHES_REPORT_READERS has the last word.
report_readers = "group"

# A patch is switched, and its options are set, in a table of its own:
#
#   [patches.NAME]
#   enabled = true
#   shadow = 0.001
#
# Other values for some releases; a range is made of ==, !=, >=, <=, >, < and ==X.*:
#
#   [[patches.NAME.override]]
#   when = { vllm = ">=0.15,<0.16" }
#   enabled = false
#
#   [[patches.NAME.override]]
#   when = { vllm-ascend = "0.13.0" }
#   enabled = true
"""


def settings_file(patches: Iterable[Patch]) -> str:
    """A commented patches.toml with every patch, its default and its reason."""
    return "\n".join([_HEAD, *(_table(patch) for patch in patches)])


def _table(patch: Patch) -> str:
    lines = _comment(patch.summary)
    if patch.why:
        lines += _comment(f"Why: {patch.why}")
    lines += [line for url in patch.upstream for line in _comment(f"Upstream: {url}")]
    lines += [f"[patches.{patch.name}]", f"enabled = {_literal(patch.default)}"]
    for name, option in patch.options.items():
        lines += [*_comment(f"{option.meaning} ({option.expected()})"), f"{name} = {_literal(option.default)}"]
    return "\n".join(lines) + "\n"


def _comment(text: str) -> list[str]:
    return wrap(text, 118, initial_indent="# ", subsequent_indent="# ", break_long_words=False, break_on_hyphens=False)


def _literal(value: OptionValue) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        # What JSON escapes, TOML escapes alike, but for one control character.
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    return repr(value)
