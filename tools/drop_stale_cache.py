"""Drop executed chapters when something they depend on changed: jupyter-cache looks at the text of the chapter alone.

Usage: drop_stale_cache.py FILE...
"""

import hashlib
import shutil
import sys
from pathlib import Path

digest = hashlib.sha256()
for name in sys.argv[1:]:
    digest.update(name.encode() + b"\0" + hashlib.sha256(Path(name).read_bytes()).digest())
key, build = digest.hexdigest(), Path("_build")
stamp = build / "executed-with.sha256"
if not stamp.exists() or stamp.read_text() != key:
    if stamp.exists():
        print("the library, its data or the requirements changed: all chapters are executed again")
    shutil.rmtree(build / ".jupyter_cache", ignore_errors=True)
    shutil.rmtree(Path("chapters") / "runs", ignore_errors=True)
    build.mkdir(exist_ok=True)
    stamp.write_text(key)
