"""``autopkgtest-virt-vmtasks``: autopkgtest's virtualisation server with machines of ours.

::

    autopkgtest PACKAGE -- vmtasks bookworm
    sbuild --chroot-mode=autopkgtest --autopkgtest-virt-server=…/autopkgtest-virt-vmtasks …
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from functools import partial
from itertools import repeat

from vmtasks import events
from vmtasks.config.here import task_line
from vmtasks.errors import VmtasksError, outcome_of
from vmtasks.frameworks.autopkgtest.server import serve
from vmtasks.frameworks.autopkgtest.shell import shell_on_terminal
from vmtasks.frameworks.autopkgtest.testbed import Testbed
from vmtasks.process.host_commands import host_commands
from vmtasks.process.signals import interrupt_on_signals
from vmtasks.process.stdout import end_with_reader
from vmtasks.providers.boot import boot
from vmtasks.report.display.plain import Plain
from vmtasks.report.display.stream import SafeStream
from vmtasks.run.options import accelerator, network, number

_EXAMPLES = f"""\
examples:
  autopkgtest ./hello_2.10-3.dsc -- vmtasks bookworm
  autopkgtest hello -- vmtasks --on alice@big --memory-mib 4096 trixie

{task_line("images.list")} shows the images; each revert is a new machine, copied from the image's template.
"""


def main() -> None:
    """Be the program."""
    end_with_reader()
    sys.exit(virt_server(sys.argv[1:]))


def virt_server(words: Sequence[str]) -> int:
    """Serve autopkgtest on standard input and output; return the exit status."""
    options = _parser().parse_args(words)
    display = Plain(SafeStream(sys.stderr))
    shown = display if options.debug else partial(_only_what_matters, display)
    try:
        # autopkgtest closes the pipe of the answers before it sends its last request, which is to be met.
        with events.listening(shown), interrupt_on_signals(outputs={2: "standard error"}), host_commands() as host:
            machines = partial(
                boot,
                options.image,
                on=options.on,
                memory_mib=number("memory-mib", options.memory_mib, at_least=64),
                cpus=number("cpus", options.cpus, at_least=1),
                network=network(options.network),
                accel=accelerator(options.accel),
                cold=options.cold,
                purpose=f"autopkgtest in {options.image}",
            )
            reverts = not options.on.startswith("ssh://")
            testbed = Testbed(repeat(machines), host, reverts=reverts, look=shell_on_terminal)
            serve(testbed, iter(sys.stdin.readline, ""), _answer)
    except (VmtasksError, OSError, KeyboardInterrupt) as problem:
        message = problem.message if isinstance(problem, VmtasksError) else str(problem) or type(problem).__name__
        sys.stderr.write(f"autopkgtest-virt-vmtasks: {message}\n")
        return outcome_of(problem).exit_code
    return 0


def _answer(line: str) -> None:
    sys.stdout.write(line)
    sys.stdout.flush()


def _only_what_matters(display: Plain, event: events.Event) -> None:
    """Show waiting, baking and warnings; autopkgtest tells the rest itself."""
    if isinstance(event, events.Note) or (isinstance(event, events.PhaseStarted) and event.phase in _LONG):
        display(event)


_LONG = ("bake", "template")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="autopkgtest-virt-vmtasks",
        description="Give autopkgtest clean machines of an image of vmtasks.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("image", help="the image to test in")
    parser.add_argument("--on", default="", help="where machines run: local, USER@HOST, ssh://HOST or ec2")
    parser.add_argument("--accel", default="", help="accelerator: auto (try, the default), kvm or tcg")
    parser.add_argument("--network", default="", help="what each machine reaches: user (all), restricted or none")
    parser.add_argument("--memory-mib", default="", metavar="N", help="memory of each machine in MiB")
    parser.add_argument("--cpus", default="", metavar="N", help="processors of each machine")
    parser.add_argument("--cold", action="store_true", help="boot each machine from its disk, not from a template")
    parser.add_argument("-d", "--debug", action="store_true", help="tell all that goes on, on standard error")
    return parser
