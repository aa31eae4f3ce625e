"""What goes to files of cgroup v1 that this kernel has not: rdma, the weights of CFQ, their leaves."""

from typing import Any

from pyrunc.cgroups.v1.limits import apply


class Files:
    """In the place of the cgroup: which files there are, and what is written to them, in order."""

    def __init__(self, *there: str) -> None:
        self.there = there
        self.written: list[tuple[str, str, str, str]] = []

    def has(self, _controller: str, file: str) -> bool:
        return file in self.there

    def put(self, controller: str, file: str, value: object, pointer: str) -> None:
        self.written.append((controller, file, str(value), pointer))


def written(resources: dict[str, Any], *there: str) -> list[tuple[str, str, str, str]]:
    files = Files(*there)
    apply(files, resources)  # type: ignore[arg-type]
    return files.written


def test_rdma() -> None:
    resources = {"rdma": {"mlx5_1": {"hcaHandles": 3, "hcaObjects": 10000}, "mlx/2": {"hcaObjects": 0}}}
    assert written(resources) == [
        ("rdma", "rdma.max", "mlx5_1 hca_handle=3 hca_object=10000", "/rdma/mlx5_1"),
        ("rdma", "rdma.max", "mlx/2 hca_object=0", "/rdma/mlx~12"),
    ]


def test_weights_of_cfq_and_bfq() -> None:
    resources = {
        "blockIO": {
            "weight": 300,
            "leafWeight": 200,
            "weightDevice": [
                {"major": 8, "minor": 0, "weight": 500, "leafWeight": 400},
                {"major": 8, "minor": 16, "leafWeight": 10},
            ],
        }
    }
    cfq = written(resources, "blkio.weight")
    assert cfq == [
        ("blkio", "blkio.weight", "300", "/blockIO/weight"),
        ("blkio", "blkio.leaf_weight", "200", "/blockIO/leafWeight"),
        ("blkio", "blkio.weight_device", "8:0 500", "/blockIO/weightDevice/0"),
        ("blkio", "blkio.leaf_weight_device", "8:0 400", "/blockIO/weightDevice/0"),
        ("blkio", "blkio.leaf_weight_device", "8:16 10", "/blockIO/weightDevice/1"),
    ]
    bfq = written(resources)
    assert [entry[1] for entry in bfq if entry[1].startswith("blkio.bfq")] == [
        "blkio.bfq.weight",
        "blkio.bfq.weight_device",
    ]


def test_huge_pages_reserved_and_used() -> None:
    resources = {"hugepageLimits": [{"pageSize": "2MB", "limit": 4096}, {"pageSize": "1GB", "limit": 0}]}
    assert written(resources, "hugetlb.2MB.rsvd.limit_in_bytes") == [
        ("hugetlb", "hugetlb.2MB.limit_in_bytes", "4096", "/hugepageLimits/0"),
        ("hugetlb", "hugetlb.2MB.rsvd.limit_in_bytes", "4096", "/hugepageLimits/0"),
        ("hugetlb", "hugetlb.1GB.limit_in_bytes", "0", "/hugepageLimits/1"),
    ]


def test_network() -> None:
    resources = {"network": {"classID": 0x100001, "priorities": [{"name": "eth0", "priority": 7}]}}
    assert written(resources) == [
        ("net_cls", "net_cls.classid", "1048577", "/network/classID"),
        ("net_prio", "net_prio.ifpriomap", "eth0 7", "/network/priorities/0"),
    ]
