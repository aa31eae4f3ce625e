"""The one image of this suite, made from Debian's static busybox: nothing is pulled.

podman and docker import the root file system, ctr an OCI archive that has it as its single layer.
"""

import hashlib
import io
import json
import platform
import subprocess
import tarfile
from pathlib import Path

BUSYBOX = Path("/bin/busybox")

#: What the image is called in every engine.
NAME = "localhost/pyrunc-busybox:latest"

_PASSWD = "root:x:0:0:root:/root:/bin/sh\nalice:x:1000:1000::/home/alice:/bin/sh\nnobody:x:65534:65534::/:/bin/false\n"
_GROUP = "root:x:0:\nalice:x:1000:\naudio:x:29:alice\nnogroup:x:65534:\n"
_FOLDERS = {"bin": 0o755, "dev": 0o755, "etc": 0o755, "home": 0o755, "home/alice": 0o755, "proc": 0o555, "root": 0o700}
_FOLDERS.update({"run": 0o755, "sys": 0o555, "tmp": 0o1777, "usr": 0o755, "var": 0o755, "data": 0o755})


def rootfs_tar() -> bytes:
    """The image's root file system as a tar archive."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, mode in sorted(_FOLDERS.items()):
            folder = tarfile.TarInfo(name)
            folder.type, folder.mode = tarfile.DIRTYPE, mode
            if name == "home/alice":
                folder.uid = folder.gid = 1000
            tar.addfile(folder)
        _add(tar, "bin/busybox", BUSYBOX.read_bytes(), 0o755)
        _add(tar, "etc/passwd", _PASSWD.encode(), 0o644)
        _add(tar, "etc/group", _GROUP.encode(), 0o644)
        # Neither binary nor script, yet executable: execve says ENOEXEC.
        _add(tar, "data/not-a-program", b"\x00\x01", 0o755)
        for applet in subprocess.run([BUSYBOX, "--list"], check=True, capture_output=True, text=True).stdout.split():
            if applet != "busybox":
                link = tarfile.TarInfo(f"bin/{applet}")
                link.type, link.linkname = tarfile.SYMTYPE, "busybox"
                tar.addfile(link)
    return buffer.getvalue()


def oci_archive(layer: bytes, *command: str, name: str = NAME) -> bytes:
    """An OCI image archive (image-spec: image-layout) with one uncompressed layer; it runs `command`, or a shell."""
    blobs: dict[str, bytes] = {}

    def blob(media_type: str, data: bytes) -> dict[str, object]:
        digest = hashlib.sha256(data).hexdigest()
        blobs[f"blobs/sha256/{digest}"] = data
        return {"mediaType": f"application/vnd.oci.image.{media_type}", "digest": f"sha256:{digest}", "size": len(data)}

    arch = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
    config = {
        "architecture": arch,
        "os": "linux",
        "config": {
            "Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"],
            "Cmd": command or ["sh"],
        },
        "rootfs": {"type": "layers", "diff_ids": ["sha256:" + hashlib.sha256(layer).hexdigest()]},
    }
    manifest = {
        "schemaVersion": 2,
        "config": blob("config.v1+json", json.dumps(config).encode()),
        "layers": [blob("layer.v1.tar", layer)],
    }
    entry = blob("manifest.v1+json", json.dumps(manifest).encode())
    entry["annotations"] = {"io.containerd.image.name": name, "org.opencontainers.image.ref.name": "latest"}
    blobs["index.json"] = json.dumps({"schemaVersion": 2, "manifests": [entry]}).encode()
    blobs["oci-layout"] = b'{"imageLayoutVersion": "1.0.0"}'
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, data in blobs.items():
            _add(tar, name, data, 0o644)
    return buffer.getvalue()


def _add(tar: tarfile.TarFile, name: str, data: bytes, mode: int) -> None:
    info = tarfile.TarInfo(name)
    info.size, info.mode = len(data), mode
    tar.addfile(info, io.BytesIO(data))
