"""Something that plays EC2: moto answers what is asked, and where it says that a machine is, there is one.

Such a machine is Debian as one of the shipped images has it, in a network and with processes of its own, over a disk in
memory; its sshd has the keys that the user data brings, as cloud-init would have seen to. It ends with its instance, or
goes when that is stopped, and is another boot with the same disk when that is started. An AMI that is made of it has
what is on its disk then.
"""

from __future__ import annotations

import base64
import json
import os
import secrets
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import boto3

from vmtasks.deadline import Deadline

LIMIT_S = 60.0
REGION = "eu-central-1"
ENVIRONMENT = {
    "AWS_ACCESS_KEY_ID": "testing",
    "AWS_SECRET_ACCESS_KEY": "testing",
    "AWS_REGION": REGION,
    "AWS_DEFAULT_REGION": REGION,
    "AWS_CONFIG_FILE": os.devnull,
    "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
    "AWS_EC2_METADATA_DISABLED": "true",
}
_SERVER = """
import subprocess
import sys
from pathlib import Path
from moto.ec2.models.amis import AmiBackend
from moto.server import ThreadedMotoServer

create_image = AmiBackend.create_image
disks = Path(sys.argv[1])

def with_tagged_snapshot(self, instance_id, *arguments, tag_specifications):
    known = [one for one in tag_specifications if one["ResourceType"] != "snapshot"]
    image = create_image(self, instance_id, *arguments, tag_specifications=known)
    if (disk := disks / instance_id).exists():  # there is a machine
        subprocess.run(["cp", "--archive", f"{disk}/.", disks / image.id], check=True)
        (disks / f"{image.id}.base").write_text((disks / f"{instance_id}.base").read_text())
    for one in tag_specifications:
        if one not in known:
            image.ebs_snapshot.add_tags({tag["Key"]: tag["Value"] for tag in one["Tags"]})
    return image

AmiBackend.create_image = with_tagged_snapshot  # which refuses them otherwise
server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
server.start()
print("http://%s:%d" % server.get_host_and_port(), flush=True)
sys.stdin.read()
"""
_MACHINE = """
set -e
ip link set lo up
ip link add eth0 type veth peer name "$link" netns "$outside"
ip link set eth0 up
ip address add "$address/32" dev eth0
ip route add default dev eth0
nsenter --net="/proc/$outside/ns/net" sh -e -c '
    ip address add 192.0.2.1/32 dev "$link"
    ip link set "$link" up
    ip route add "$address/32" dev "$link" src 192.0.2.1
'
mount -t tmpfs tmpfs "$room"
mkdir "$room/upper" "$room/work" "$room/root"
mount -t overlay overlay -o "lowerdir=$layers,upperdir=$room/upper,workdir=$room/work" "$room/root"
mount --rbind /dev "$room/root/dev"
cd "$room/root"
mkdir -p run/sshd
mkdir -m 700 -p root/.ssh
printf '%s' "$authorized_key" >root/.ssh/authorized_keys
umask 077
printf '%s' "$host_key" >etc/ssh/ssh_host_ed25519_key
umask 022
cat /proc/sys/kernel/random/uuid >"$room/boot_id"
exec unshare --pid --fork --kill-child --mount-proc="$room/root/proc" sh -e -c '
    mount --bind "$room/boot_id" "$room/root/proc/sys/kernel/random/boot_id"
    exec chroot "$room/root" /usr/sbin/sshd -D -e
'
"""


@contextmanager
def moto(disks: Path) -> Iterator[str]:
    """Yield the address of what answers in EC2's stead; it ends with this process.

    :param disks: has what machines have written, by instance, and AMIs.
    """
    environment = {**os.environ, "MOTO_EC2_LOAD_DEFAULT_AMIS": "false"}
    with subprocess.Popen(
        [sys.executable, "-c", _SERVER, str(disks)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
    ) as server:
        assert server.stdout
        try:
            yield server.stdout.readline().strip()
        finally:
            server.kill()


@dataclass(slots=True, kw_only=True)
class Cloud:
    """EC2, and machines in it while :meth:`alive` says so."""

    endpoint: str
    rooms: Path
    disks: Path
    host_key: str = ""
    """What their sshd has instead of the key that it was given."""
    trees: dict[str, Path] = field(default_factory=dict)
    """The files of the machines of an AMI that is not like the others."""
    client: Any = None
    _machines: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    _addresses: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        session = boto3.Session("testing", "testing", region_name=REGION)
        self.client = session.client("ec2", endpoint_url=self.endpoint)

    def post(self, path: str, data: bytes = b"") -> None:
        """Tell moto something about itself."""
        url, plain = f"{self.endpoint}/moto-api/{path}", {"Content-Type": "text/plain"}
        urllib.request.urlopen(urllib.request.Request(url, data, plain)).close()  # noqa: S310 - our own

    def instances(self) -> list[dict[str, Any]]:
        """Return all instances that there have been."""
        found = self.client.describe_instances()["Reservations"]
        return [instance for reservation in found for instance in reservation["Instances"]]

    def states(self) -> list[str]:
        """Return how they are."""
        return [str(instance["State"]["Name"]) for instance in self.instances()]

    def has_instances(self, count: int) -> None:
        """Wait until there have been so many."""
        deadline = Deadline.after(LIMIT_S)
        while len(self.instances()) < count:
            assert not deadline.passed

    def cloud_config(self, instance_id: str) -> dict[str, Any]:
        """Return what an instance's user data says."""
        found = self.client.describe_instance_attribute(InstanceId=instance_id, Attribute="userData")
        text = base64.b64decode(found["UserData"]["Value"]).decode()
        assert text.startswith("#cloud-config\n")
        return dict(json.loads(text.partition("\n")[2]))

    @contextmanager
    def alive(self, tree: Path) -> Iterator[None]:
        """Have a machine with the files of *tree* for every instance that runs, until the block ends."""
        ended = threading.Event()
        thread = threading.Thread(target=self._play, args=[tree, ended])
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()
            for machine in self._machines.values():
                machine.kill()
                machine.wait()

    def _play(self, tree: Path, ended: threading.Event) -> None:
        while not ended.wait(0.1):
            for instance in self.instances():
                name, state = instance["InstanceId"], instance["State"]["Name"]
                address = instance.get("PublicIpAddress", "")
                if state == "running" and self._addresses.get(name, address) != address:
                    self._end(name, keeps_disk=True)  # it was stopped, and started before we had a look
                if state == "running" and name not in self._machines:
                    self._machines[name] = self._boot(instance, tree)
                elif state != "running" and name in self._machines:
                    self._end(name, keeps_disk=state == "stopped")

    def _end(self, name: str, *, keeps_disk: bool) -> None:
        machine, disk, kept = self._machines[name], self.disks / name, self.disks / f"{name}.stopped"
        if keeps_disk and disk.exists():
            subprocess.run(["cp", "--archive", f"{disk}/.", kept], check=True)
        machine.kill()
        if keeps_disk:
            machine.wait()
            disk.unlink()
            del self._machines[name], self._addresses[name]

    def _boot(self, instance: Mapping[str, Any], tree: Path) -> subprocess.Popen[bytes]:
        config = self.cloud_config(instance["InstanceId"])
        assert config["disable_root"] is False
        (user,) = config["users"]
        assert user["name"] == "root"
        self._addresses[instance["InstanceId"]] = instance["PublicIpAddress"]
        room = self.rooms / instance["InstanceId"]
        room.mkdir(exist_ok=True)
        disk, written = self.disks / instance["InstanceId"], self.disks / instance["ImageId"]
        base = str(self.trees.get(instance["ImageId"], tree))
        if written.exists():
            base = f"{written}:{written.with_suffix('.base').read_text()}"
        if (stopped := self.disks / f"{instance['InstanceId']}.stopped").exists():
            base = f"{stopped}:{base}"
        disk.with_suffix(".base").write_text(base)
        facts = {
            "address": instance["PublicIpAddress"],
            "authorized_key": user["ssh_authorized_keys"][0],
            "host_key": self.host_key or config["ssh_keys"]["ed25519_private"],
            "link": f"vmt{secrets.token_hex(5)}",  # that of an earlier boot goes when the kernel gets to it
            "outside": str(os.getpid()),
            "room": str(room),
            "layers": base,
        }
        log = (self.rooms / f"{instance['InstanceId']}.log").open("wb")
        with log:
            machine = subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", "unshare", "--net", "--mount", "sh", "-c", _MACHINE],
                env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", **facts},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        disk.symlink_to(f"/proc/{machine.pid}/root{room}/upper")
        return machine
