"""Ways out of a submission that were tried: each is refused or harmless, for root and for an ordinary user.

Where a test looks at the machine itself, it looks from outside, after the submission has done its worst.
"""

import contextlib
import json
import os
import shutil
import socket
import stat
import subprocess
import sys
import time
import tracemalloc
from pathlib import Path

import psutil
import pytest

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "coursework"))
import apart  # noqa: E402
import cgroups  # noqa: E402
import outputs  # noqa: E402
import sandbox  # noqa: E402

sys.path.pop(0)

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="bubblewrap needs Linux")

# takes the pipe of the relay, which writes to the grader, from inside: its name may be closed, and then its number is copied
RELAY = """import ctypes, os
relay = os.getppid()
try:
    pipe = open(f'/proc/{relay}/fd/1', 'wb', buffering=0)
except PermissionError:
    pipe = open(ctypes.CDLL(None).syscall(438, os.pidfd_open(relay), 1, 0), 'wb', buffering=0)
"""

# calls of the system for which Python has no function
SYSTEM = """
import ctypes

def system(call, *arguments):
    libc = ctypes.CDLL(None, use_errno=True)
    if getattr(libc, call)(*arguments):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
"""


@pytest.fixture(scope="module")
def submission():
    with apart.Submission(seconds=60, total=1000) as found:
        found.run(f"import os, socket, resource, stat\nimport numpy as np\n{SYSTEM}")
        yield found


@pytest.fixture
def precious(tmp_path):
    """A file of the instructor, which must stay as it is."""
    file = tmp_path / "precious.ipynb"
    file.write_text("the instructor's")
    os.utime(file, (1_000_000, 1_000_000))
    before = file.stat()
    yield file
    after = file.stat()
    assert file.read_text() == "the instructor's"
    assert (after.st_mode, after.st_mtime, after.st_nlink, after.st_uid) == (
        before.st_mode,
        before.st_mtime,
        before.st_nlink,
        before.st_uid,
    )


def outcome(submission, code):
    """What the last output of a cell says, in words."""
    output = submission.run(code)[-1]
    if output.output_type == "error":
        return f"{output.ename}: {output.evalue}"
    return output.get("text") or output.data["text/plain"]


def test_bubblewrap_works_here():
    sandbox.refuse_unconfined()


@pytest.mark.parametrize(
    "code",
    [
        "open({file!r}).read()",
        "open({file!r}, 'w')",
        "os.listdir({folder!r})",
        "os.chmod({file!r}, 0o777)",
        "os.utime({file!r}, (0, 0))",
        "os.chown({file!r}, 1, 1)",
        "os.unlink({file!r})",
        "os.rename({file!r}, 'mine')",
        "os.link({file!r}, 'mine')",
        "os.truncate({file!r}, 0)",
        "os.symlink({file!r}, 'mine'); open('mine').read()",
        "import shutil; shutil.copytree({root!r} + '/coursework', 'copy')",
        "open({root!r} + '/coursework/answers/unfolding.md').read()",
        "open({root!r} + '/tests/test_coursework.py').read()",
        "open('/etc/shadow').read()",
        "os.listdir('/var')",
        "os.listdir('/run/dbus')",
        "open('/proc/{grader}/environ').read()",
        "open('/proc/{grader}/mem', 'rb').read(1)",
        "os.listdir('/proc/{grader}/fd')",
        "open('/proc/1/root/etc/hostname').read()",
        "os.chroot('.')",
        "os.mknod('device', 0o600 | stat.S_IFBLK, os.makedev(8, 0)); open('device', 'rb').read(1)",
        "os.mknod('device', 0o600 | stat.S_IFCHR, os.makedev(1, 1)); open('device', 'rb').read(1)",
        "os.setuid(0)",  # nobody is 0 inside: no such number
        # opened and not written: where this succeeds it would harm the machine
        "os.open('/proc/sys/kernel/core_pattern', os.O_WRONLY)",
        "os.open('/proc/sys/vm/drop_caches', os.O_WRONLY)",
        "os.open('/proc/sysrq-trigger', os.O_WRONLY)",
        "open('/usr/bin/stray', 'w')",
        "os.chmod('/usr/bin/env', 0o777)",
        "os.utime('/usr/bin/env', (0, 0))",
        "os.mkfifo('/usr/stray')",
        "os.mkdir('/stray')",
        "open({packages!r} + '/stray', 'w')",
        "open({tools!r} + '/wire.py', 'w')",
        "os.kill({grader}, 9)",
        "resource.prlimit({grader}, resource.RLIMIT_NOFILE, (10, 10))",
        "os.setpriority(os.PRIO_PROCESS, {grader}, 19)",
        "os.sched_setaffinity({grader}, [0])",
        "os.setpriority(os.PRIO_PROCESS, 0, -5)",
        "resource.setrlimit(resource.RLIMIT_AS, (-1, -1))",
        "system('mount', b'x', b'/tmp', b'tmpfs', 0, None)",
        "system('ptrace', 16, {grader}, 0, 0)",
        "socket.create_connection(('127.0.0.1', {port}), timeout=5)",
        "socket.socket(socket.AF_INET, socket.SOCK_STREAM).sendto(b'x', 0x20000000, ('127.0.0.1', {port}))",
        "socket.socket(socket.AF_INET, socket.SOCK_STREAM, 262).connect(('127.0.0.1', {port}))",
        "socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'x', ('192.0.2.1', 53))",
        "socket.getaddrinfo('example.org', 80)",
        "socket.socket(socket.AF_UNIX).connect({socket!r})",
        "socket.socket(socket.AF_UNIX).connect('\\0course-{grader}')",
        "socket.socket(socket.AF_PACKET, socket.SOCK_RAW)",
        "socket.socket(socket.AF_INET, socket.SOCK_RAW, 1)",
    ],
)
def test_it_is_kept_from(submission, precious, code):
    named, listening, abstract = (
        socket.socket(socket.AF_UNIX),
        socket.create_server(("127.0.0.1", 0)),
        socket.socket(socket.AF_UNIX),
    )
    # the names of sockets are short
    folder = Path(os.path.realpath(f"/tmp/course-{os.getpid()}"))
    folder.mkdir(exist_ok=True)
    with named, listening, abstract:
        named.bind(str(folder / "named"))
        named.listen()
        abstract.bind(f"\0course-{os.getpid()}")
        abstract.listen()
        words = {"file": str(precious), "folder": str(precious.parent), "root": str(ROOT), "grader": os.getpid()}
        words |= {"packages": str(Path(psutil.__file__).parents[1]), "tools": sandbox.TOOLS, "port": listening.getsockname()[1]}
        said = outcome(submission, code.format(**words, socket=str(folder / "named")))
        for each in (named, listening, abstract):
            each.settimeout(0)
            with pytest.raises(BlockingIOError):
                each.accept()
    shutil.rmtree(folder)
    refused = (
        "PermissionError",
        "FileNotFoundError",
        "ProcessLookupError",
        "ConnectionRefusedError",
        "NotADirectoryError",
        "gaierror",
    )
    assert said.startswith(
        (
            *refused,
            "OSError: [Errno 22]",
            "OSError: [Errno 30]",
            "OSError: [Errno 18]",
            "OSError: [Errno 101]",
            "ValueError: not allowed",
        )
    ), said


def test_a_process_of_one_thread_gets_no_namespace_where_it_is_root(submission):
    code = "import subprocess\nprint(subprocess.run(['unshare', '--user', 'true'], capture_output=True, text=True).stderr)"
    assert "unshare failed" in outcome(submission, code)


def test_what_it_listens_to_is_not_heard_outside(submission):
    port = int(outcome(submission, "ears = socket.socket()\near = ears.listen()\nprint(ears.getsockname()[1])"))
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), timeout=5)


def test_it_sees_no_process_but_its_own(submission):
    seen = outcome(submission, "print([int(name) for name in os.listdir('/proc') if name.isdigit()])")
    assert len(json.loads(seen)) <= 5
    assert "submission" not in outcome(submission, "print(open('/proc/self/cgroup').read(), os.uname().nodename)")


ENVIRONMENT = """import os, glob
print(dict(os.environ))
for file in glob.glob('/proc/[0-9]*/environ'):
    try:
        print(open(file).read())
    except OSError:
        pass
"""


def test_it_does_not_see_the_environment(monkeypatch):
    monkeypatch.setenv("SOME_PASSWORD", "secret")
    with apart.Submission() as found:
        assert "secret" not in outcome(found, ENVIRONMENT)


@pytest.mark.parametrize(
    "name", ["call-1.json", "reply-1.json", "reply-1.part", "kernel.log", "kernel.json", "relay.py", "wire.py"]
)
@pytest.mark.parametrize("kind", ["symlink", "fifo"])
def test_links_and_pipes_in_its_folder_are_neither_followed_nor_waited_for(precious, name, kind):
    make = f"os.symlink({str(precious)!r}, {name!r})" if kind == "symlink" else f"os.mkfifo({name!r})"
    with apart.Submission(seconds=60) as found:
        found.run(f"import os\nif os.path.exists({name!r}): os.remove({name!r})\n{make}\ndef one():\n    return 1")
        assert found.call("one") == 1


def test_it_can_write_into_its_own_folder_and_not_without_end(submission):
    assert outcome(submission, "open('note', 'w').write('x'); print(open('note').read())") == "x\n"
    code = "for i in range(100):\n    with open(f'big{i}', 'wb') as file:\n        file.write(bytes(2**24))"
    assert outcome(submission, code).startswith("OSError: [Errno 28]")
    submission.run("import glob\nfor name in glob.glob('big*'): os.remove(name)")


@pytest.mark.parametrize("folder", ["/tmp", "/dev/shm"])
def test_folders_in_memory_are_small(submission, folder):
    assert outcome(submission, f"open('{folder}/big', 'wb').write(bytes(2**25))").startswith("OSError: [Errno 28]")


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("open('long', 'wb').truncate(2**27)", "OSError: [Errno 27]"),  # file too large
        ("files = [open('/dev/null') for _ in range(1000)]", "OSError: [Errno 24]"),  # too many open files
        ("page = ctypes.create_string_buffer(2**22); system('mlock', page, 2**22)", "OSError: [Errno 12]"),
        ("system('mq_open', b'/queue', os.O_CREAT | os.O_RDWR, 0o600, None)", "OSError: [Errno 24]"),
        ("print(resource.getrlimit(resource.RLIMIT_CORE))", "(0, 0)"),  # it may crash: that writes no memory to disk
    ],
)
def test_the_system_keeps_limits(submission, code, said):
    assert outcome(submission, code).startswith(said)
    submission.run("files = None")


# each leaves processes behind whose command line says which they are
LEAVING = {
    "in a session of its own": """
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        sleep()
    os._exit(0)
os.wait()
""",
    "deaf to signals": """
if os.fork() == 0:
    os.setsid()
    for number in (1, 2, 15):
        signal.signal(number, signal.SIG_IGN)
    sleep()
""",
    "after its kernel": """
if os.fork() == 0:
    os.setsid()
    sleep()
os._exit(0)
""",
    "after all that it can kill": """
if os.fork() == 0:
    os.setsid()
    os.kill(os.getppid(), 9)
    sleep()
os.kill(-1, 9)
""",
}


def alive(seconds):
    return [each for each in psutil.process_iter() if seconds in _line(each)]


def _line(process):
    try:
        return process.cmdline()
    except psutil.Error:
        return []


@pytest.mark.parametrize("how", LEAVING)
def test_what_it_leaves_behind_ends_with_it(how):
    seconds = f"{os.getpid()}{list(LEAVING).index(how)}.{time.time_ns() % 10**9}"
    with apart.Submission(seconds=30) as found:
        # some end their own kernel with it
        with contextlib.suppress(apart.StoppedError):
            found.run(f"import os, signal\ndef sleep():\n    os.execvp('sleep', ['sleep', {seconds!r}])\n{LEAVING[how]}")
    until = time.monotonic() + 60
    while alive(seconds) and time.monotonic() < until:
        time.sleep(0.1)
    assert alive(seconds) == []


def test_it_ends_with_the_grader():
    seconds = f"{os.getpid()}9.{time.time_ns() % 10**9}"
    code = "import apart\nfound = apart.Submission(seconds=600)\nfound.run('1')\n"
    code += f"found.run('import subprocess; subprocess.Popen([\"sleep\", \"{seconds}\"])')\nprint('up', flush=True)\ninput()"
    paths = {"PYTHONPATH": os.pathsep.join([str(ROOT / "coursework"), os.environ.get("PYTHONPATH", str(ROOT))])}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-c", code], env={**os.environ, **paths}, **pipes) as grader:
        assert grader.stdout.readline() == b"up\n"
        assert alive(seconds)
        grader.kill()
    until = time.monotonic() + 60
    while alive(seconds) and time.monotonic() < until:
        time.sleep(0.1)
    assert alive(seconds) == []


AGAINST_THE_CLOCK = {
    # its children are reaped by nobody who counts their time
    "ignored SIGCHLD": """
import os, signal, time
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
while True:
    pid = os.fork()
    if pid == 0:
        until = time.process_time() + 0.05
        while time.process_time() < until:
            pass
        os._exit(0)
    try:
        os.waitpid(pid, 0)
    except ChildProcessError:
        pass
""",
    # one that waits for its child this way looks as if it waited for a disk
    "vfork": "import ctypes\nlibc = ctypes.CDLL(None)\nif libc.vfork() == 0:\n    libc.sleep(100000)",
    "sleep": "import time\ntime.sleep(100000)",
    "a stopped process": "import os, signal\nos.kill(os.getpid(), signal.SIGSTOP)",
    "a stopped relay": "import os, signal\nos.kill(os.getppid(), signal.SIGSTOP)\nimport time\ntime.sleep(100000)",
    "a loop that catches everything": "while True:\n    try:\n        while True: pass\n    except BaseException: pass",
}


@pytest.mark.parametrize("counted", [True, False], ids=["cgroup", "no cgroup"])
@pytest.mark.parametrize("how", AGAINST_THE_CLOCK)
def test_the_clock_cannot_be_stopped(monkeypatch, how, counted):
    if not counted:
        monkeypatch.setattr(cgroups, "create", lambda *_: None)
    with apart.Submission(seconds=1, total=3) as found:
        found.run("1")
        begun = time.monotonic()
        with pytest.raises(apart.StoppedError, match="did not end within 1 seconds|has used all of its time"):
            found.run(AGAINST_THE_CLOCK[how])
        # ten times the allowance; the rest is for a machine that is busy
        assert time.monotonic() - begun < 10 + 60


def idle_until_stopped(submission):
    for _ in range(600):
        time.sleep(0.1)
        submission.run("1")


def test_work_in_the_background_is_counted():
    code = "import threading\ndef work():\n    while True: pass\nthreading.Thread(target=work, daemon=True).start()"
    with apart.Submission(seconds=2, total=2) as found:
        found.run(code)
        with pytest.raises(apart.StoppedError):
            idle_until_stopped(found)


FORKS = "import os, time\nfor _ in range({number}):\n    if os.fork() == 0:\n        time.sleep(1000)\ntime.sleep(1000)"


@pytest.mark.parametrize("counted", [True, False], ids=["cgroup", "no cgroup"])
def test_one_that_starts_processes_without_end_is_stopped(monkeypatch, counted):
    if not counted:
        monkeypatch.setattr(cgroups, "create", lambda *_: None)
    code = FORKS.format(number=apart.PROCESSES + 10)
    with apart.Submission(seconds=60) as found, pytest.raises(apart.StoppedError, match=f"more than {apart.PROCESSES} processes"):
        found.run(code)


def test_a_fork_bomb_ends():
    bomb = "import os\nwhile True:\n    try:\n        os.fork()\n    except OSError:\n        pass"
    with apart.Submission(seconds=5) as found, pytest.raises(apart.StoppedError):
        found.run(bomb)
    assert len(psutil.pids()) < 10_000


def test_one_that_asks_for_too_much_memory_is_refused_it(submission):
    assert outcome(submission, "np.ones(10**10)").startswith(("MemoryError", "_ArrayMemoryError"))


@pytest.mark.parametrize("counted", [True, False], ids=["cgroup", "no cgroup"])
def test_memory_of_all_its_processes_is_counted(monkeypatch, counted):
    if not counted:
        monkeypatch.setattr(cgroups, "create", lambda *_: None)
    code = FORKS.format(number=5).replace("time.sleep", "x = bytearray(100 * 2**20); time.sleep", 1)
    monkeypatch.setattr(apart, "MEMORY", 300 * 2**20)
    with apart.Submission(seconds=60) as found, pytest.raises(apart.StoppedError, match="memory|ended the process"):
        found.run(code)


def peak(function):
    """What a call needs of the grader's memory."""
    tracemalloc.start()
    try:
        function()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_a_large_reply_costs_the_grader_little():
    code = (
        "import numpy as np\ndef large():\n    return np.zeros(12 * 2**20, dtype='u1')\ndef long():\n    return 'x' * 12 * 2**20"
    )
    with apart.Submission(seconds=60) as found:
        found.run(code)
        for name in ("large", "long"):

            def call(name=name):
                with pytest.raises(apart.SubmissionError, match=f"the value that {name} returns cannot be used|gave no answer"):
                    found.call(name)

            assert peak(call) < 20 * 2**20


@pytest.mark.parametrize(
    "line",
    [
        "b'x' * 300 * 2**20",
        "b'[' * 1_000_000 + b'\\n'",
        '(b\'{"output": {"type": "stream", "name": "stdout", "text": "\' + b\'x\' * 1_000_000 + b\'"}}\\n\') * 300',
    ],
    ids=["a line without end", "brackets", "a flood"],
)
def test_what_it_writes_to_the_grader_costs_little_memory(line):
    with apart.Submission(seconds=20) as found:
        assert found.run(RELAY) == []

        def run():
            with contextlib.suppress(apart.StoppedError):
                found.run(f"pipe.write({line})")

        assert peak(run) < 60 * 2**20


FORGED = [
    {},
    [],
    5,
    {"done": 1},
    {"done": {"value": 1}},
    {"done": '{"value": {"array": "AAAA", "dtype": "<f8", "shape": [1000000000000]}}'},
    {"done": '{"value": {"array": "AAAA", "dtype": "O", "shape": [1]}}'},
    {"done": '{"value": {"list": {"list": []}}}'},
    {"done": '{"error": {"a": "\\u001b[2J"}, "words": ["=1"]}'},
    {"done": "[" * 100_000},
    {"output": 5},
    {"output": {"type": "stream"}},
    {"output": {"type": "display_data", "data": {"text/html": "<script>alert(1)</script>"}}},
    {"output": {"type": "error", "ename": 5, "evalue": [], "traceback": {"a": 1}}},
    {"omitted": "x"},
    {"omitted": -(10**30)},
    {"ended": 1},
    {"ready": True},
]


def answer(submission, name):
    """The value of a call, or what is said of it."""
    try:
        return str(submission.call(name))
    except (apart.SubmissionError, apart.StoppedError) as error:
        return str(error)


@pytest.mark.parametrize("line", FORGED, ids=map(str, range(len(FORGED))))
def test_a_forged_line_is_an_answer_at_most(line):
    """A submission may say what it likes: the grader takes it for a value, an error or nothing, and goes on."""
    with apart.Submission(seconds=20) as found:
        data = json.dumps(line).encode() + b"\n"
        found.run(f"{RELAY}def forge():\n    pipe.write({data!r})\n    return 7\n\ndef eight():\n    return 8")
        said = [answer(found, "forge"), answer(found, "eight"), answer(found, "eight")]
        assert not any("NameError" in text for text in said), "the relay was not found"
        assert all(text.isprintable() for text in said), said
        assert "8" in said or any("stopped" in text or "ended" in text for text in said), said


@pytest.mark.parametrize(
    "code",
    [
        "kernel.iopub_socket.send_multipart([b'x'])",
        "kernel.session.send(kernel.iopub_socket, 'status', content={})",
        "kernel.session.send(kernel.iopub_socket, 'stream', content={'name': 5}, parent=kernel.get_parent())",
        "kernel.session.send(kernel.iopub_socket, 'status', content={'execution_state': 'idle'}, parent=kernel.get_parent())",
        "kernel.session.send(kernel.iopub_socket, 'error', content={}, parent={})",
        "kernel.session.key = b'another'",
        "kernel.session.send = lambda *_, **__: None",
    ],
)
def test_kernel_messages_that_are_malformed_or_forged_do_not_reach_the_grader(code):
    with apart.Submission(seconds=5, total=10) as found:
        found.run("def one():\n    return 1")
        try:
            found.run(f"kernel = get_ipython().kernel\n{code}")
            assert found.call("one") == 1
        except apart.StoppedError:
            assert found.call("one") == 1


def test_an_output_is_text_or_a_picture():
    html = {
        "type": "display_data",
        "data": {"text/html": "<script>", "text/plain": "a\x1b[2Jb\x07", "application/javascript": "alert(1)"},
    }
    assert outputs.read(html) == {"output_type": "display_data", "metadata": {}, "data": {"text/plain": "ab"}}
    assert (
        outputs.read({"type": "display_data", "data": {"image/svg+xml": "<svg onload=alert(1)>", "image/png": "not one"}}) is None
    )
    assert outputs.read({"type": "stream", "name": "stdout", "text": "\x07x\u202e\x9b2J\ty\n"}).text == "x2J\ty\n"
    error = outputs.read({"type": "error", "ename": "E\x1b[31m", "evalue": "v\r\x1b[2K", "traceback": ["\x1b[31mred\x1b[0m", 5]})
    assert (error.ename, error.evalue, error.traceback) == ("E", "v", ["red"])


def test_without_bubblewrap_nothing_is_run(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(
        sandbox.IsolationError, match="the program bwrap is missing. Install bubblewrap .* or type --without-isolation"
    ):
        sandbox.refuse_unconfined()
    (tmp_path / "bwrap").write_text("#!/bin/sh\necho No permissions to create new namespace >&2\nexit 1\n")
    for name in ("prlimit", "setpriv"):
        (tmp_path / name).write_text('#!/bin/sh\nwhile [ "$1" != -- ]; do shift; done\nshift\nexec "$@"\n')
    for file in tmp_path.iterdir():
        file.chmod(stat.S_IRWXU)
    with pytest.raises(sandbox.IsolationError, match="cannot be confined: No permissions to create new namespace"):
        sandbox.refuse_unconfined()


def test_without_isolation_it_runs_as_whoever_grades():
    with apart.Submission(confined=False) as found:
        assert outcome(found, "import os\nprint(os.getuid())") == f"{os.getuid()}\n"
        found.run("def one():\n    return 1")
        assert found.call("one") == 1
        folder = found.folder
    assert not folder.exists()
    assert sandbox.isolation(confined=False).startswith("NONE, as you asked")


def test_cgroups_are_removed():
    group = cgroups.create(2**30, 100)
    if group is None:  # an ordinary user makes none in most places; what keeps the limits then is tested above
        assert os.getuid() or not os.access("/sys/fs/cgroup/memory", os.W_OK)
        return
    with apart.Submission() as found:
        found.run("1")
        folders = list(found.group.folders.values())
        assert all(folder.exists() for folder in folders)
        assert found.group.seconds() > 0
    assert not any(folder.exists() for folder in folders)
    group.remove()


def test_all_of_this_holds_for_an_ordinary_user(tmp_path):
    if os.getuid():
        return  # as it just did
    folder = Path(os.path.realpath(f"/tmp/course-nobody-{os.getpid()}"))
    folder.mkdir()
    os.chown(folder, int(sandbox.NOBODY), int(sandbox.NOBODY))
    # the tests count processes of the machine
    become = [word for word in sandbox.as_nobody() if word != "--unshare-pid"]
    pytest_ = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-x",
        "-p",
        "no:cacheprovider",
        "--basetemp",
        str(folder / "tests"),
        str(Path(__file__)),
    ]
    environment = {
        "HOME": str(folder),
        "PATH": os.environ["PATH"],
        "PYTHONPATH": os.environ.get("PYTHONPATH", ""),
        "OMP_NUM_THREADS": "1",
    }
    done = subprocess.run(
        [*become, *pytest_, "-k", "not ordinary_user"], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=3000
    )
    shutil.rmtree(folder, ignore_errors=True)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-2000:]
    assert " passed" in done.stdout
    assert "skipped" not in done.stdout
