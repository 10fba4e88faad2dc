"""The job of LAVA's page about groups of virtual machines, as a document."""

from __future__ import annotations

from typing import Any

PAGE: dict[str, Any] = {
    "timeout": 18000,
    "job_name": "a group",
    "logging_level": "DEBUG",
    "vm_group": {
        "host": {"device_type": "arndale", "role": "host"},
        "auto_start_vms": True,
        "vms": [{"device_type": "kvm-arm", "role": "server"}, {"device_type": "kvm-arm", "role": "client"}],
    },
    "actions": [
        {"command": "deploy_linaro_image", "parameters": {"image": "file:///path/to/host.img", "role": role}}
        for role in ("host", "client", "server")
    ]
    + [{"command": "lava_test_shell", "parameters": {"testdef_urls": ["file:///path/to/mytestdef.yaml"]}}],
}
"""The keys and values of the page's own example."""
