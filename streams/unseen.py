"""Starting a program without showing the secrets among its arguments to everyone who lists processes.

A command line can be read by every user of a machine, an environment only by its owner. So a secret argument
travels as a variable, and the command line holds stars in its place. The program is stopped before its first
instruction, while nothing of it has run, and its argument vector is pointed at the variable's value; the
stars stay where the kernel looks for the command line. Linux only: see ptrace(2), proc(5).
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

_VARIABLE = "DIFFIR_ARGUMENT_"
_PTRACE_DETACH = 17
_WORD = ctypes.sizeof(ctypes.c_void_p)
# Stops for its parent as soon as it has become the program; what may not be traced ends before.
_LAUNCHER = (
    "import ctypes, os, sys\n"
    "if ctypes.CDLL(None, use_errno=True).ptrace(0, 0, None, None): os._exit(125)\n"
    "os.execvp(sys.argv[1], sys.argv[1:])\n"
)
# Where proc(5) has them in /proc/PID/stat, counted from 0 behind the name.
_START_STACK, _ARGUMENTS_START, _ARGUMENTS_END = 25, 45, 46


class CannotHideError(Exception):
    """The system lets nobody change a starting program's arguments."""


def start(command: Sequence[str], hide: Callable[[str], str], **options: Any) -> subprocess.Popen[bytes]:
    """`subprocess.Popen(command, **options)`, its command line shown as `hide` shows each argument.

    Returns when the program runs. Raises CannotHideError where there are secrets and the system refuses.
    """
    shown = [hide(argument) for argument in command]
    secrets = {
        f"{_VARIABLE}{index}": argument for index, argument in enumerate(command) if argument != shown[index]
    }
    if not secrets:
        return _popen(command, **options)
    launcher = [sys.executable, "-I", "-S", "-c", _LAUNCHER, *shown]
    process = _popen(launcher, env=os.environ | secrets, **options)
    try:
        _insert(process.pid, secrets)
    except BaseException:
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout, process.stderr):
            if pipe is not None:
                pipe.close()
        raise
    return process


def _popen(command: Sequence[str], **options: Any) -> subprocess.Popen[bytes]:
    return cast("subprocess.Popen[bytes]", subprocess.Popen(command, **options))


def _insert(pid: int, secrets: Mapping[str, str]) -> None:
    """Point the arguments of a process that has just become another program at its variables; let it run."""
    # Only looked at, so that whoever started the process can still learn how it ended.
    state = os.waitid(os.P_PID, pid, os.WEXITED | os.WSTOPPED | os.WNOWAIT)
    if state is None or state.si_code != os.CLD_TRAPPED or state.si_status != signal.SIGTRAP:
        raise CannotHideError("a new process may not be traced by the one that starts it")
    try:
        with Path(f"/proc/{pid}/mem").open("r+b", buffering=0) as memory:
            _redirect(memory, int(_stat(pid)[_START_STACK]), secrets)
    except OSError as exc:
        raise CannotHideError(f"the memory of a new process can't be changed: {exc.strerror}") from exc
    detach = ctypes.CDLL(None, use_errno=True).ptrace
    if detach(_PTRACE_DETACH, pid, None, None):
        raise CannotHideError(f"a new process can't be let go: {os.strerror(ctypes.get_errno())}")


def _redirect(memory: Any, stack: int, secrets: Mapping[str, str]) -> None:
    """The stack begins with the count of arguments, their addresses, 0, and the variables' addresses."""
    count = _word(memory, stack)
    variables = stack + _WORD * (count + 2)
    wanted = {f"{name}=".encode(): int(name.removeprefix(_VARIABLE)) for name in secrets}
    while address := _word(memory, variables):
        memory.seek(address)
        start = memory.read(len(_VARIABLE) + 8)
        name = start[: start.find(b"=") + 1]
        if name in wanted:
            memory.seek(stack + _WORD * (1 + wanted.pop(name)))
            memory.write((address + len(name)).to_bytes(_WORD, sys.byteorder))
        variables += _WORD
    if wanted:
        raise OSError(0, "its variables were not found")


def _word(memory: Any, address: int) -> int:
    memory.seek(address)
    return int.from_bytes(memory.read(_WORD), sys.byteorder)


def _stat(pid: int | str) -> list[str]:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


def hide_own_arguments(hide: Callable[[str], str]) -> None:
    """Put what `hide` puts in place of the secrets of this process's own arguments, for those who list it."""
    stat = _stat("self")
    start, end = int(stat[_ARGUMENTS_START]), int(stat[_ARGUMENTS_END])
    with Path("/proc/self/mem").open("r+b", buffering=0) as memory:
        memory.seek(start)
        arguments = memory.read(end - start).split(b"\0")
        hidden = [_of_length(hide(os.fsdecode(each)), each) for each in arguments]
        memory.seek(start)
        memory.write(b"\0".join(hidden))


def _of_length(shown: str, argument: bytes) -> bytes:
    return os.fsencode(shown)[: len(argument)].ljust(len(argument))
