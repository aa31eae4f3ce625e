"""pyrunc under the engines that people use: podman, docker, containerd's ctr, buildah."""
