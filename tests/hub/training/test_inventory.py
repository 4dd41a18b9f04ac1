"""What a machine says of itself. The files and the library stand for machines that are not here."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from hub.training.accelerators import Found, by_kfd, by_nvml, graphics
from hub.training.inventory import found_labels, inventory, trouble


class Nvml(SimpleNamespace):
    """As `pynvml` answers on a machine with two accelerators; `rows` is what it says of remapped rows."""

    class NVMLError(Exception):
        pass

    def __init__(self, rows: tuple[int, int, int, int] = (0, 0, 0, 0), uuid: bytes = bytes(16)) -> None:
        def fabric(_: object, info: Any) -> None:
            info.clusterUuid, info.cliqueId = uuid, 7

        super().__init__(
            nvmlInit=lambda: None,
            nvmlShutdown=lambda: None,
            nvmlDeviceGetCount=lambda: 2,
            nvmlDeviceGetHandleByIndex=lambda number: number,
            nvmlDeviceGetName=lambda _: b"NVIDIA H200",
            nvmlDeviceGetMemoryInfo=lambda _: SimpleNamespace(total=141 << 30),
            nvmlDeviceGetRemappedRows=lambda _: rows,
            c_nvmlGpuFabricInfo_t=SimpleNamespace,
            nvmlDeviceGetGpuFabricInfo=fabric,
        )


def test_nvidia_s_library_tells_kind_memory_and_domain() -> None:
    assert by_nvml(Nvml()) == [Found("NVIDIA H200", 141 << 30)] * 2
    linked = by_nvml(Nvml(uuid=b"0123456789abcdef"))
    assert {each.domain for each in linked} == {f"{b'0123456789abcdef'.hex()}.7"}
    assert found_labels(linked, Path("/nowhere")) == {"nvlink": linked[0].domain}


def test_a_machine_with_the_library_and_no_driver_has_none() -> None:
    nvml = Nvml()

    def fail() -> None:
        raise nvml.NVMLError

    nvml.nvmlInit = fail
    assert by_nvml(nvml) == []


@pytest.mark.parametrize(
    ("rows", "why"),
    [
        ((1, 0, 0, 0), ""),
        ((0, 1, 1, 0), "accelerator 0 (NVIDIA H200) must be reset: memory waits to be remapped"),
        ((0, 9, 0, 1), "accelerator 0 (NVIDIA H200) has memory that cannot be remapped"),
    ],
)
def test_an_accelerator_with_bad_memory_makes_its_node_ill(
    rows: tuple[int, int, int, int], why: str, tmp_path: Path
) -> None:
    assert trouble(by_nvml(Nvml(rows)), tmp_path) == why


def test_amd_s_driver_tells_by_the_kernel_s_files(tmp_path: Path) -> None:
    processor, accelerator = tmp_path / "0", tmp_path / "10"
    for node, version in ((processor, 0), (accelerator, 90402)):
        (node / "mem_banks" / "0").mkdir(parents=True)
        (node / "properties").write_text(f"cpu_cores_count 8\ngfx_target_version {version}\n")
        (node / "mem_banks" / "0" / "properties").write_text("heap_type 1\nsize_in_bytes 206141652992\n")
    assert by_kfd(tmp_path) == [Found("AMD gfx942", 206_141_652_992)]
    assert by_kfd(tmp_path / "nothing") == []
    assert graphics(90010) == "gfx90a"
    assert graphics(110501) == "gfx1151"


def test_the_fabric_is_found_by_its_subnet(tmp_path: Path) -> None:
    for device, state, layer in (("mlx5_0", "1: DOWN", "InfiniBand"), ("mlx5_1", "4: ACTIVE", "InfiniBand")):
        port = tmp_path / device / "ports" / "1"
        (port / "gids").mkdir(parents=True)
        (port / "state").write_text(state)
        (port / "link_layer").write_text(layer)
        (port / "gids" / "0").write_text("fe80:0000:0000:0001:0002:c903:00a1:b2c3\n")
    assert found_labels([], tmp_path) == {"ib": "fe80000000000001"}


def test_what_the_operator_says_stands_and_this_machine_is_well(tmp_path: Path) -> None:
    offer = inventory("127.0.0.1", {"rack": "r1", "ib": "mine"}, tmp_path)
    assert (offer.labels["rack"], offer.labels["ib"], offer.host, offer.health) == ("r1", "mine", "127.0.0.1", "")
    assert offer.cores > 0
    assert offer.memory > 0
