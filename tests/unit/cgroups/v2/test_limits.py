"""What of linux.resources goes to which file of cgroup v2."""

import pytest

from pyrunc.cgroups.v2 import limits
from pyrunc.config.types import Resources
from pyrunc.errors import ConfigError


def test_rdma_on_v2() -> None:
    resources: Resources = {"rdma": {"mlx5_1": {"hcaHandles": 3, "hcaObjects": 10000}}}
    found = limits.settings(resources, "/linux/resources", "/no/such/cgroup")
    assert found == [("rdma.max", "mlx5_1 hca_handle=3 hca_object=10000", "/rdma")]


def test_swappiness_on_v2() -> None:
    """Engines write -1, unsigned, for what they were not told."""
    assert limits.settings({"memory": {"swappiness": 2**64 - 1}}, "/linux/resources", "/no/such/cgroup") == []
    with pytest.raises(ConfigError, match="swappiness does not exist on cgroup v2"):
        limits.settings({"memory": {"swappiness": 60}}, "/linux/resources", "/no/such/cgroup")
