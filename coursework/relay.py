"""Inside the sandbox: a Jupyter kernel, and lines of JSON between it and the grader, one on standard input for each on output.

The kernel listens on sockets in the sandbox's own files, which end with it. Nothing that is said here is trusted: a submission
can say it as well.
"""

import json
import os
import subprocess
import sys
from queue import Empty

import wire
from jupyter_client import KernelManager

SHOWN = ("stream", "display_data", "execute_result", "error")
LOOK = 0.2  # seconds


def say(**line):
    text = json.dumps(line)
    if len(text) > wire.LARGEST + 1000:
        text = json.dumps({"omitted": len(text)})
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def execute(manager, client, code, expressions=None):
    """Run code; its outputs are said as they come, and the reply last."""
    options = {"silent": expressions is not None, "store_history": expressions is None, "user_expressions": expressions}
    sent = client.execute(code, allow_stdin=False, stop_on_error=False, **options)
    reply, silent = None, 0
    # the last message can be lost among very many: after the reply a short silence is the end as well
    while silent < 3:
        try:
            message = client.get_iopub_msg(timeout=LOOK)
        except Empty:
            if not manager.is_alive():
                say(ended=True)
                sys.exit()
            reply = reply or received(client, sent)
            silent += reply is not None
            continue
        if message["parent_header"].get("msg_id") != sent:
            continue
        if message["msg_type"] == "status" and message["content"]["execution_state"] == "idle":
            break
        if expressions is None and message["msg_type"] in SHOWN:
            say(output={"type": message["msg_type"], **message["content"]})
    while reply is None and manager.is_alive():
        reply = received(client, sent)
    shown = (reply or {}).get("user_expressions", {}).get("reply", {}).get("data", {}).get("text/plain")
    say(done=shown)


def received(client, sent):
    try:
        while True:
            message = client.get_shell_msg(timeout=LOOK)
            if message["parent_header"].get("msg_id") == sent:
                return message["content"]
    except Empty:
        return None


def main():
    # Windows has no such sockets
    transport = "ipc" if sys.platform != "win32" else "tcp"
    manager = KernelManager(transport=transport)
    manager.start_kernel(
        extra_arguments=["--HistoryManager.enabled=False"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    client = manager.blocking_client()
    client.start_channels()
    client.wait_for_ready(timeout=300)
    say(ready=True)
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 2)
    for line in sys.stdin:
        asked = json.loads(line)
        if "run" in asked:
            execute(manager, client, asked["run"])
        elif "hide" in asked:
            execute(manager, client, "", {"reply": f"__import__('hidden').hide({asked['hide']!r})"})
        else:
            execute(manager, client, "", {"reply": f"__import__('wire').answer({asked['call']!r})"})
    manager.shutdown_kernel(now=True)


if __name__ == "__main__":
    main()
