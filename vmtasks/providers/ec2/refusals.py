"""What EC2 refuses, in words, and whose mistake it is."""

from __future__ import annotations

from collections.abc import Mapping

from vmtasks.config.here import page, task_line
from vmtasks.errors import HostError, UsageError

_CREDENTIALS = "see which credentials boto3 finds: `aws sts get-caller-identity`"
_HINTS = {
    "AuthFailure": _CREDENTIALS,
    "ExpiredToken": _CREDENTIALS,
    "InvalidClientTokenId": _CREDENTIALS,
    "RequestExpired": "is this host's clock right?",
    "SignatureDoesNotMatch": _CREDENTIALS,
    "UnauthorizedOperation": f"{page('providers')} lists what these credentials must be allowed",
    "InstanceLimitExceeded": f"{task_line('vm.ps --on ec2')} lists the machines of vmtasks",
    "VcpuLimitExceeded": f"{task_line('vm.ps --on ec2')} lists the machines of vmtasks",
    "InsufficientInstanceCapacity": "try again later, or name another `instance_type` in the image's [ec2]",
    "VPCIdNotSpecified": "no network is this account's default: name a subnet, as `ec2_subnet` in the host's settings",
}
_ASKED_WRONGLY = (
    "InvalidAMIID",
    "InvalidBlockDeviceMapping",
    "InvalidGroup",
    "InvalidInstanceType",
    "InvalidParameter",
    "InvalidSecurityGroupID",
    "InvalidSubnet",
    "Unsupported",
    "VPCIdNotSpecified",
)
"""What the codes begin with that mean the image's ``[ec2]``, or the host's settings."""


class NotThere(UsageError):
    """EC2 knows no such thing, or no longer."""


FAILURES = (HostError, UsageError)
"""What a request may come to; an interrupt is none of it."""


def error_of(operation: str, error: Mapping[str, str]) -> UsageError | HostError:
    """Return EC2's error_of as an error of ours."""
    code = error.get("Code", "")
    message = f"cannot {_in_words(operation)} on ec2: {(error.get('Message') or '').rstrip('.')} ({code})"
    is_missing = code.endswith((".NotFound", ".Unavailable"))
    if is_missing or code.startswith(_ASKED_WRONGLY):
        hint = _HINTS.get(code, "see [ec2] of the image, and ec2_… of the host's settings; ids are of one region")
        return (NotThere if is_missing else UsageError)(message, hint=hint)
    return HostError(message, hint=_HINTS.get(code, ""))


def _in_words(operation: str) -> str:
    return operation.replace("_", " ")
