"""Drop executed chapters when something they depend on changed: jupyter-cache looks at the text of the chapter alone.

Usage: drop_stale_cache.py FILE...

Of a file of requirements counts also which of its packages are installed, and their versions.
"""

import hashlib
import re
import shutil
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

PINNED = re.compile(r"^([\w.-]+)(?:\[[\w,.-]+\])?==", re.MULTILINE)


def installed(requirements):
    """The packages that these lines name, each with its version or as missing."""
    for package in PINNED.findall(requirements):
        try:
            yield f"{package} {version(package)}\n"
        except PackageNotFoundError:
            yield f"{package} missing\n"


digest = hashlib.sha256()
for name in sys.argv[1:]:
    digest.update(name.encode() + b"\0" + hashlib.sha256(Path(name).read_bytes()).digest())
    if Path(name).name.startswith("requirements"):
        digest.update("".join(installed(Path(name).read_text())).encode())
key, build = digest.hexdigest(), Path("_build")
stamp = build / "executed-with.sha256"
if not stamp.exists() or stamp.read_text() != key:
    if stamp.exists():
        print("the library, its data, the requirements or what is installed of them changed: all chapters are executed again")
    shutil.rmtree(build / ".jupyter_cache", ignore_errors=True)
    shutil.rmtree(Path("chapters") / "runs", ignore_errors=True)
    build.mkdir(exist_ok=True)
    stamp.write_text(key)
