"""Speaks as tools/engines/serve.py does, without a vLLM: what it answers depends on the request's seed alone.

fake_engine.py [SEED]...      SEED: requests that are answered otherwise than they should
"""

from __future__ import annotations

import json
import sys


def answer(seed: int) -> dict[str, object]:
    token = seed % 7 + (100 if str(seed) in sys.argv[1:] else 0)
    return {"tokens": [token], "best": [[[token, -0.5], [8, -2.0]]]}


def main() -> None:
    print(json.dumps({"vllm": "0.32.0", "platform": "Fake"}), flush=True)
    for line in sys.stdin:
        asked = json.loads(line)
        storm = isinstance(asked, dict)
        found = {"rotary-embedding": "reverted"} if storm else [answer(request["seed"]) for request in asked]
        print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main()
