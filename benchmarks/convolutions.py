"""Where the Fourier domain is faster than the direct convolution, and what the automatic choice makes of it.

    python benchmarks/convolutions.py                     the convolutions of our networks, in batches of 8, 32 and 128
    python benchmarks/convolutions.py --threads 1
    python benchmarks/convolutions.py --precision bf16    on processors that compute in it

Forward and backward pass on the CPU, the two in turns. The direct convolution gets its feature maps in PyTorch's
default layout, the Fourier domain with the channels last: each in what suits it. "multiplications" is the ratio that
the choice in fp32 goes by, "time" the median ratio of what was measured. In bf16, it goes by the same ratio.
"""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import torch
from report import print_headline, save_results
from timing import median_ratio, times_in_turns
from torch import Tensor, nn
from torch.nn import functional as F

from capsnet.networks.fourier import FourierConv2d, fourier_conv2d, multiplications


class Convolution(NamedTuple):
    """One of a network's convolutions."""

    name: str
    in_channels: int
    out_channels: int
    side: int
    kernel: int
    stride: int


CONVOLUTIONS = (
    Convolution("CapsNet, first", 1, 256, 28, 9, 1),
    Convolution("CapsNet at 28x28", 256, 256, 20, 9, 2),
    Convolution("CapsNet at 32x32", 256, 256, 24, 9, 2),
    Convolution("CapsNet at 48x48", 256, 256, 40, 9, 2),
    Convolution("small CapsNet", 64, 64, 20, 9, 2),
    Convolution("CNN, second", 256, 256, 32, 5, 1),  # 28, and padding of 2 on both sides
    Convolution("CNN, third", 256, 128, 32, 5, 1),
    Convolution("ResNet-18 at 28x28", 64, 64, 30, 3, 1),  # 28, and padding of 1 on both sides
    Convolution("ResNet-18 at 14x14", 128, 128, 16, 3, 1),
    Convolution("ResNet-18 at 7x7", 256, 256, 9, 3, 1),
    Convolution("ResNet-18 at 4x4", 512, 512, 6, 3, 1),
)


def steps(convolution: Convolution, batch: int, precision: str) -> dict[str, Callable[[], None]]:
    """Forward and backward pass, directly and through the Fourier domain. Precision: "fp32" or "bf16"."""
    shape = (convolution.out_channels, convolution.in_channels, convolution.kernel, convolution.kernel)
    weight = nn.Parameter(torch.randn(shape) / (shape[1] * shape[2] * shape[3]) ** 0.5)
    images = torch.rand(batch, convolution.in_channels, convolution.side, convolution.side)
    stride = (convolution.stride, convolution.stride)

    def step(convolve, images: Tensor):
        with autocast(precision), torch.no_grad():
            gradient = torch.randn_like(convolve(images, weight, stride=stride))  # of the output's type and layout
        images = images.requires_grad_(convolution.in_channels > 1)  # the first convolution reads pixels

        def run() -> None:
            images.grad = weight.grad = None
            with autocast(precision):
                output = convolve(images, weight, stride=stride)
            output.backward(gradient)

        return run

    channels_last = images.contiguous(memory_format=torch.channels_last)
    return {"direct": step(F.conv2d, images), "fourier": step(fourier_conv2d, channels_last)}


def autocast(precision: str) -> torch.autocast:
    return torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch-size", type=int, nargs="+", default=[8, 32, 128])
    parser.add_argument("--precision", choices=["fp32", "bf16"], default="fp32")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--json", type=Path, default=Path("outputs/benchmarks/convolutions.json"))
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    print_headline("cpu")
    print(f"{'convolution':<20}{'batch':>6}{'multiplications':>17}{'time':>8}   choice")
    rows = []
    for convolution in CONVOLUTIONS:
        for batch in arguments.batch_size:
            layer = FourierConv2d(*convolution[1:3], convolution.kernel, convolution.stride)
            shape = (batch, convolution.in_channels, convolution.side, convolution.side)
            direct, fourier = multiplications(shape, tuple(layer.weight.shape), layer.stride)
            with autocast(arguments.precision):
                choice = "fourier" if layer.uses_fourier(shape) else "direct"
            times = times_in_turns(steps(convolution, batch, arguments.precision), arguments.rounds, "cpu")
            row = {
                "convolution": convolution.name,
                "batch_size": batch,
                "multiplications": fourier / direct,
                "time": median_ratio(times, "fourier", "direct"),
                "choice": choice,
            }
            print("{convolution:<20}{batch_size:>6}{multiplications:>17.2f}{time:>8.2f}   {choice}".format(**row))
            rows.append(row)
    save_results(arguments.json, "cpu", rows, threads=arguments.threads, precision=arguments.precision)


if __name__ == "__main__":
    main()
