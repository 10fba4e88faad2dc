from __future__ import annotations

import ast

from vmtasks.integrations.buildbot.worker_machine import WorkerConfig


def test_what_the_worker_is_told_is_a_program_whatever_the_password() -> None:
    config = WorkerConfig(image="bookworm", name="vm1", password='it\'s {"a"}\\', master="/m.sock")  # noqa: S106 - of nothing
    (call,) = (
        node
        for node in ast.walk(ast.parse(config.tac(40123)))
        if isinstance(node, ast.Call) and "Worker" in ast.dump(node.func)
    )
    assert [ast.literal_eval(argument) for argument in call.args[:4]] == ["127.0.0.1", 40123, "vm1", config.password]
