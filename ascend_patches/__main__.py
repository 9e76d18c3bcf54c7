"""``python -m ascend_patches``: the ascend-patches command."""

from ascend_patches.commands.command_line import main

if __name__ == "__main__":
    raise SystemExit(main())
