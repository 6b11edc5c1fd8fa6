"""Train the example detector on the CPU and write it as ONNX.

A small one-stage, anchor-free detector after YOLOv8: strides 8, 16 and 32, one box and one score
per class at each cell, no objectness. It learns from the pictures of `shapes_data` alone and
needs torch, which CNET itself never imports: run it from a virtual environment of its own.
"""

from __future__ import annotations

import argparse
import copy
import json
import logging
import math
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
import torch
from detection_metrics import HELD_OUT_SEED, Detection, summarise
from numpy.typing import NDArray
from shapes_data import CLASSES, Picture, generate
from torch import Tensor, nn
from torch.nn import functional

STRIDES = (8, 16, 32)
MAX_SHAPES = 8  # rows of the padded truth; generate() draws at most six
BOX_WEIGHT, CLASS_WEIGHT = 4.0, 1.0

_log = logging.getLogger("train_shapes_yolo")


# --- network ----------------------------------------------------------------------------------


class ConvBlock(nn.Sequential):
    """Convolution, batch norm, ReLU: what ONNX Runtime fuses into a single kernel."""

    def __init__(self, inputs: int, outputs: int, kernel: int = 3, stride: int = 1) -> None:
        super().__init__(
            nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU(inplace=True),
        )


class SplitBlock(nn.Module):
    """Cross-stage partial block: half of the channels pass a residual pair of convolutions."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        half = outputs // 2
        self.enter = ConvBlock(inputs, outputs, kernel=1)
        self.inner = nn.Sequential(ConvBlock(half, half), ConvBlock(half, half))
        self.leave = ConvBlock(outputs + half, outputs, kernel=1)

    def forward(self, x: Tensor) -> Tensor:
        kept, worked = self.enter(x).chunk(2, dim=1)
        joined: Tensor = self.leave(torch.cat((kept, worked, worked + self.inner(worked)), dim=1))
        return joined


class WideView(nn.Module):
    """Pooling pyramid: lets the coarsest cells see the whole picture."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.enter = ConvBlock(channels, channels // 2, kernel=1)
        self.pool = nn.MaxPool2d(5, stride=1, padding=2)
        self.leave = ConvBlock(channels * 2, channels, kernel=1)

    def forward(self, x: Tensor) -> Tensor:
        views = [self.enter(x)]
        for _ in range(3):
            views.append(self.pool(views[-1]))
        joined: Tensor = self.leave(torch.cat(views, dim=1))
        return joined


class Head(nn.Module):
    """Per cell of one scale: four distances (log, in strides) and one logit per class."""

    def __init__(self, inputs: int, width: int = 32) -> None:
        super().__init__()
        box, score = nn.Conv2d(width, 4, 1), nn.Conv2d(width, len(CLASSES), 1)
        nn.init.constant_(box.get_parameter("bias"), math.log(2.0))  # first guess: 4 strides wide
        nn.init.constant_(score.get_parameter("bias"), math.log(0.01 / 0.99))  # shapes are rare
        self.box = nn.Sequential(ConvBlock(inputs, width), ConvBlock(width, width), box)
        self.score = nn.Sequential(ConvBlock(inputs, width), ConvBlock(width, width), score)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self.box(x).flatten(2), self.score(x).flatten(2)


class ShapesYolo(nn.Module):
    """float32 [B, 3, S, S] RGB 0 to 1 → boxes [B, 4, A], class logits [B, classes, A].

    Boxes are left, top, right, bottom in input pixels; A counts the cells of all strides.
    """

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        c2, c3, c4, c5 = 2 * width, 4 * width, 6 * width, 7 * width
        self.to_4 = nn.Sequential(ConvBlock(3, width, stride=2), ConvBlock(width, c2, stride=2))
        self.to_8 = nn.Sequential(SplitBlock(c2, c2), ConvBlock(c2, c3, stride=2))
        self.at_8 = SplitBlock(c3, c3)
        self.at_16 = nn.Sequential(ConvBlock(c3, c4, stride=2), SplitBlock(c4, c4))
        self.at_32 = nn.Sequential(ConvBlock(c4, c5, stride=2), SplitBlock(c5, c5), WideView(c5))
        self.merge_16 = SplitBlock(c5 + c4, c4)
        self.merge_8 = SplitBlock(c4 + c3, c3)
        self.heads = nn.ModuleList(Head(channels) for channels in (c3, c4, c5))

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        fine = self.at_8(self.to_8(self.to_4(images)))
        middle = self.at_16(fine)
        coarse = self.at_32(middle)
        middle = self.merge_16(
            torch.cat((functional.interpolate(coarse, scale_factor=2.0), middle), 1)
        )
        fine = self.merge_8(torch.cat((functional.interpolate(middle, scale_factor=2.0), fine), 1))
        outputs = [head(x) for head, x in zip(self.heads, (fine, middle, coarse), strict=True)]
        centres, strides = cells(int(images.shape[-1]))  # a constant in the exported graph
        distances = torch.cat([box for box, _ in outputs], dim=2).float().clamp(-4, 4).exp()
        distances = distances * strides
        boxes = torch.cat((centres - distances[:, :2], centres + distances[:, 2:]), dim=1)
        return boxes, torch.cat([score for _, score in outputs], dim=2).float()


class ServedYolo(nn.Module):
    """The network as YOLOv8 exports it: [B, 4 + classes, A] with cx, cy, w, h and scores 0 to 1."""

    def __init__(self, network: ShapesYolo) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        boxes, logits = self.network(images)
        low, high = boxes[:, :2], boxes[:, 2:]
        return torch.cat(((low + high) / 2, high - low, logits.sigmoid()), dim=1)


def cells(size: int) -> tuple[Tensor, Tensor]:
    """Centres [2, A] (x, y) and strides [1, A] in input pixels, finest scale first."""
    centres, strides = [], []
    for stride in STRIDES:
        axis = (torch.arange(size // stride) + 0.5) * stride
        y, x = torch.meshgrid(axis, axis, indexing="ij")
        centres.append(torch.stack((x.flatten(), y.flatten())))
        strides.append(torch.full((1, x.numel()), float(stride)))
    return torch.cat(centres, dim=1), torch.cat(strides, dim=1)


# --- loss -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Truth:
    """Padded truth of a batch: boxes [B, M, 4] left, top, right, bottom; labels, valid [B, M]."""

    boxes: Tensor
    labels: Tensor
    valid: Tensor


def complete_iou(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """IoU and CIoU of boxes [..., 4] that broadcast (Zheng et al., arXiv:1911.08287)."""
    shared = (torch.minimum(a[..., 2:], b[..., 2:]) - torch.maximum(a[..., :2], b[..., :2])).clamp(
        0
    )
    hull = torch.maximum(a[..., 2:], b[..., 2:]) - torch.minimum(a[..., :2], b[..., :2])
    size_a, size_b = a[..., 2:] - a[..., :2], b[..., 2:] - b[..., :2]
    overlap = shared.clamp(0).prod(-1)
    iou = overlap / (size_a.prod(-1) + size_b.prod(-1) - overlap + 1e-7)
    apart = (a[..., :2] + a[..., 2:] - b[..., :2] - b[..., 2:]).square().sum(-1) / 4
    skew = torch.atan2(size_a[..., 0], size_a[..., 1]) - torch.atan2(size_b[..., 0], size_b[..., 1])
    skew = skew.square() * (4 / math.pi**2)
    with torch.no_grad():
        alpha = skew / (1 - iou + skew + 1e-7)
    return iou, iou - apart / (hull.square().sum(-1) + 1e-7) - alpha * skew


@torch.no_grad()
def assign(boxes: Tensor, scores: Tensor, truth: Truth, centres: Tensor) -> tuple[Tensor, Tensor]:
    """Pick the cells that answer for each shape (task-aligned, Feng et al., arXiv:2108.07755).

    Returns for each cell the row of its shape [B, A] and the score it should give [B, A], 0
    where it should stay silent. The ten best cells by score^0.5 · IoU^6 among those with their
    centre inside the box answer; a cell wanted by several shapes takes the one it fits best.
    """
    low = centres.T - truth.boxes[:, :, None, :2]
    high = truth.boxes[:, :, None, 2:] - centres.T
    inside = (torch.cat((low, high), -1).amin(-1) > 0) & truth.valid[:, :, None]
    iou = complete_iou(boxes.transpose(1, 2)[:, None], truth.boxes[:, :, None])[0] * inside
    rows = truth.labels[:, :, None].expand(-1, -1, scores.shape[2])
    fit = scores.gather(1, rows).sqrt() * iou.pow(6) * inside
    best = fit.topk(10, dim=2)
    chosen = torch.zeros_like(fit).scatter_(2, best.indices, 1.0) * (fit > 0)
    shape_of_cell = (iou * chosen).argmax(1)
    chosen = chosen * functional.one_hot(shape_of_cell, fit.shape[1]).transpose(1, 2)
    fit = fit * chosen
    goal = fit / (fit.amax(2, keepdim=True) + 1e-12) * (iou * chosen).amax(2, keepdim=True)
    return shape_of_cell, goal.amax(1)


def detection_loss(boxes: Tensor, logits: Tensor, truth: Truth, size: int) -> Tensor:
    """Binary cross-entropy on the scores plus CIoU on the boxes of the chosen cells."""
    centres, _ = cells(size)
    shape_of_cell, goal = assign(boxes.detach(), logits.detach().sigmoid(), truth, centres)
    label_of_cell = truth.labels.gather(1, shape_of_cell)
    targets = functional.one_hot(label_of_cell, len(CLASSES)).transpose(1, 2) * goal[:, None]
    total = goal.sum().clamp(min=1.0)
    class_loss = (
        functional.binary_cross_entropy_with_logits(logits, targets, reduction="sum") / total
    )
    answering = goal > 0
    wanted = truth.boxes.gather(1, shape_of_cell[..., None].expand(-1, -1, 4))[answering]
    _, ciou = complete_iou(boxes.transpose(1, 2)[answering], wanted)
    box_loss = ((1 - ciou) * goal[answering]).sum() / total
    return CLASS_WEIGHT * class_loss + BOX_WEIGHT * box_loss


# --- pictures ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class Pool:
    """Training pictures on disk, mapped: images uint8 [N, S, S, 3] BGR, truth padded to 8 rows.

    `truth`: int64 [N, 8, 5] with label (-1 = no shape), x, y, w, h.
    """

    images: NDArray[np.uint8]
    truth: NDArray[np.int64]


def _render(task: tuple[int, int]) -> Picture:
    cv2.setNumThreads(1)  # the processes of the pool fill the cores already
    return generate(*task)


def make_pool(folder: Path, *, first_seed: int, pictures: int, size: int, workers: int) -> Pool:
    """Draw `pictures` pictures into `folder`, or map those already there."""
    folder.mkdir(parents=True, exist_ok=True)
    name = f"{first_seed}-{pictures}-{size}"
    image_file, truth_file = folder / f"images-{name}.npy", folder / f"truth-{name}.npy"
    if not truth_file.exists():
        images = np.lib.format.open_memmap(
            image_file, mode="w+", dtype=np.uint8, shape=(pictures, size, size, 3)
        )
        truth = np.full((pictures, MAX_SHAPES, 5), -1, np.int64)
        tasks = [(first_seed + index, size) for index in range(pictures)]
        with ProcessPoolExecutor(workers) as processes:
            for index, picture in enumerate(processes.map(_render, tasks, chunksize=64)):
                images[index] = picture.image
                truth[index, : len(picture.labels), 0] = picture.labels
                truth[index, : len(picture.labels), 1:] = picture.boxes
        images.flush()
        np.save(truth_file, truth)  # written last: its presence means the pool is whole
    return Pool(images=np.load(image_file, mmap_mode="r"), truth=np.load(truth_file))


def batches(
    pool: Pool, *, batch: int, rng: np.random.Generator
) -> Iterator[tuple[NDArray[np.uint8], NDArray[np.float32], NDArray[np.int64]]]:
    """Endless shuffled batches, each picture varied: RGB images, boxes (corners), labels."""
    while True:
        order = rng.permutation(len(pool.images))
        for start in range(0, len(order) - batch + 1, batch):
            chosen = [
                vary(pool.images[index], pool.truth[index], rng)
                for index in order[start : start + batch]
            ]
            images, boxes, labels = zip(*chosen, strict=True)
            yield np.stack(images), np.stack(boxes), np.stack(labels)


def vary(
    image: NDArray[np.uint8], truth: NDArray[np.int64], rng: np.random.Generator
) -> tuple[NDArray[np.uint8], NDArray[np.float32], NDArray[np.int64]]:
    """Flip, transpose, permute colours; sometimes shrink onto the grey of a letterbox."""
    size = image.shape[0]
    labels = truth[:, 0]
    low, high = truth[:, 1:3].astype(np.float32), (truth[:, 1:3] + truth[:, 3:5]).astype(np.float32)
    for axis in (0, 1):
        if rng.random() < 0.5:
            image = np.flip(image, 1 - axis)
            low[:, axis], high[:, axis] = size - high[:, axis], size - low[:, axis]
    if rng.random() < 0.5:
        image = image.transpose(1, 0, 2)
        low, high = low[:, ::-1], high[:, ::-1]
    image = image[..., rng.permutation(3)]
    if rng.random() < 0.2:
        part = float(rng.uniform(0.5, 0.95))
        shift = rng.uniform(0, size * (1 - part), 2).astype(np.float32)
        move = np.array([(part, 0, shift[0]), (0, part, shift[1])], np.float32)
        whole = np.ascontiguousarray(image)
        grey = (114, 114, 114)
        image = np.asarray(cv2.warpAffine(whole, move, (size, size), borderValue=grey), np.uint8)
        low, high = low * part + shift, high * part + shift
    boxes = np.concatenate((low, high), axis=1)
    boxes[labels < 0] = 0
    return np.asarray(image, np.uint8), boxes, labels


def to_tensors(
    images: NDArray[np.uint8], boxes: NDArray[np.float32], labels: NDArray[np.int64], size: int
) -> tuple[Tensor, Truth]:
    """A batch as the network takes it, resized to `size`."""
    scale = size / images.shape[1]
    if scale != 1:
        images = np.stack(
            [cv2.resize(image, (size, size), interpolation=cv2.INTER_AREA) for image in images]
        )
    tensor = torch.from_numpy(images).permute(0, 3, 1, 2)
    tensor = tensor.to(torch.float32, memory_format=torch.channels_last) / 255
    known = torch.from_numpy(labels)
    return tensor, Truth(
        boxes=torch.from_numpy(boxes * np.float32(scale)),
        labels=known.clamp(min=0),
        valid=known >= 0,
    )


# --- training ---------------------------------------------------------------------------------


class Training:
    """Network, running average and optimiser; everything a checkpoint holds."""

    def __init__(self, network: ShapesYolo, *, learning_rate: float) -> None:
        # The stub of Module.to lacks this form, which convolutions on a CPU need to be fast.
        self.network: ShapesYolo = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.average = copy.deepcopy(self.network).eval().requires_grad_(False)
        matrices = [p for p in network.parameters() if p.ndim > 1]
        others = [p for p in network.parameters() if p.ndim <= 1]
        self.optimiser = torch.optim.AdamW(
            [{"params": matrices, "weight_decay": 0.02}, {"params": others, "weight_decay": 0.0}],
            lr=learning_rate,
        )
        self.learning_rate = learning_rate
        self.step = 0
        self.elapsed_s = 0.0

    def learn(self, images: Tensor, truth: Truth, *, progress: float) -> float:
        """One step; `progress` (0 to 1) through the whole run sets the learning rate."""
        warm = min(1.0, (self.step + 1) / 200)
        rate = self.learning_rate * warm * (0.01 + 0.99 * (1 + math.cos(math.pi * progress)) / 2)
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        with torch.autocast("cpu", torch.bfloat16):
            boxes, logits = self.network(images)
        loss = detection_loss(boxes, logits, truth, images.shape[-1])
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self.network.parameters(), 10.0)
        self.optimiser.step()
        self.step += 1
        self._follow()
        return loss.item()

    @torch.no_grad()
    def _follow(self) -> None:
        keep = 0.998 * (1 - math.exp(-self.step / 300))
        current = self.network.state_dict()
        for name, value in self.average.state_dict().items():
            if value.dtype.is_floating_point:
                value.lerp_(current[name], 1 - keep)
            else:
                value.copy_(current[name])

    def save(self, file: Path) -> None:
        state = {
            "network": self.network.state_dict(),
            "average": self.average.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "step": self.step,
            "elapsed_s": self.elapsed_s,
        }
        part = file.with_suffix(".part")
        torch.save(state, part)
        part.replace(file)

    def load(self, file: Path) -> None:
        state: dict[str, Any] = torch.load(file, weights_only=True)
        self.network.load_state_dict(state["network"])
        self.average.load_state_dict(state["average"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.step, self.elapsed_s = state["step"], state["elapsed_s"]


def train(training: Training, pool: Pool, options: argparse.Namespace) -> None:
    """Run until the steps or the minutes are used up; small pictures first, full size last."""
    rng = np.random.default_rng((options.seed, training.step))
    begun = time.monotonic() - training.elapsed_s
    recent: list[float] = []
    for images, boxes, labels in batches(pool, batch=options.batch, rng=rng):
        training.elapsed_s = time.monotonic() - begun
        progress = max(
            training.step / options.steps, training.elapsed_s / (60 * options.time_limit_min)
        )
        if progress >= 1:
            break
        size = options.small_size if progress < options.small_part else options.image_size
        tensor, truth = to_tensors(images, boxes, labels, size)
        recent.append(training.learn(tensor, truth, progress=progress))
        if training.step % 50 == 0:
            _log.info(
                "step %d, %.0f s, %d px, loss %.3f",
                training.step,
                training.elapsed_s,
                size,
                sum(recent) / len(recent),
            )
            recent.clear()
        if training.step % 500 == 0 and options.checkpoint is not None:
            training.save(options.checkpoint)


# --- result -----------------------------------------------------------------------------------


@torch.no_grad()
def evaluate(served: ServedYolo, *, first_seed: int, pictures: int, size: int) -> dict[str, float]:
    """What `summarise` gives, over pictures never trained on."""
    held_out = [generate(first_seed + index, size) for index in range(pictures)]
    found = []
    for picture in held_out:
        rgb = np.ascontiguousarray(picture.image[..., ::-1].transpose(2, 0, 1))
        output = served(torch.from_numpy(rgb)[None].float() / 255)[0].numpy()
        found.append(decode(output, confidence=0.001, iou=0.45))
    return summarise(found, held_out)


def decode(output: NDArray[np.float32], *, confidence: float, iou: float) -> list[Detection]:
    """Detections of one picture from [4 + classes, A]: best class per cell, NMS per class."""
    scores = output[4:].max(axis=0)
    sure = scores >= confidence
    labels, scores = output[4:, sure].argmax(axis=0), scores[sure]
    corners = np.concatenate((output[:2, sure] - output[2:4, sure] / 2, output[2:4, sure])).T
    kept = cv2.dnn.NMSBoxesBatched(
        corners.tolist(), scores.tolist(), labels.tolist(), confidence, iou
    )
    return [
        Detection(int(labels[i]), float(scores[i]), *(float(side) for side in corners[i]))
        for i in np.asarray(kept, int).ravel()
    ]


def export(served: ServedYolo, file: Path, size: int) -> None:
    """Write ONNX with the metadata Ultralytics writes, which is how CNET learns the labels."""
    torch.onnx.export(
        served,
        (torch.zeros(1, 3, size, size),),
        str(file),
        input_names=["images"],
        output_names=["output0"],
        dynamic_axes={"images": {0: "batch"}, "output0": {0: "batch"}},
        opset_version=17,
        dynamo=False,
    )
    model = onnx.load(file)
    cells_in_all = sum((size // stride) ** 2 for stride in STRIDES)
    batch, rows, columns = model.graph.output[0].type.tensor_type.shape.dim
    batch.dim_param, rows.dim_value, columns.dim_value = "batch", 4 + len(CLASSES), cells_in_all
    metadata = {
        "description": "CNET example detector: circles, squares, triangles and stars",
        "author": "CNET",
        "license": "MIT",
        "task": "detect",
        "stride": str(max(STRIDES)),
        "batch": "1",
        "imgsz": str([size, size]),
        "names": str(dict(enumerate(CLASSES))),
    }
    onnx.helper.set_model_props(model, metadata)
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, file)


def parse_options(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "shapes_yolo.onnx")
    parser.add_argument("--pool", type=Path, default=Path("shapes-pool"), help="picture folder")
    parser.add_argument("--pictures", type=int, default=10_000, help="size of the pool")
    parser.add_argument("--image-size", type=int, default=320)
    parser.add_argument("--small-size", type=int, default=224, help="picture size at first")
    parser.add_argument("--small-part", type=float, default=0.4, help="part of the run, 0 to 1")
    parser.add_argument("--steps", type=int, default=6000)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--learning-rate", type=float, default=3e-3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--time-limit-min", type=float, default=math.inf)
    parser.add_argument("--checkpoint", type=Path, help="written every 500 steps and at the end")
    parser.add_argument("--resume", type=Path, help="checkpoint to go on from")
    parser.add_argument("--held-out", type=int, default=500, help="pictures to measure mAP50 on")
    return parser.parse_args(arguments)


def main() -> None:
    options = parse_options()
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    torch.manual_seed(options.seed)
    torch.set_num_threads(options.threads)
    training = Training(ShapesYolo(), learning_rate=options.learning_rate)
    parameters = sum(p.numel() for p in training.network.parameters())
    _log.info("%d parameters", parameters)
    if options.resume is not None:
        training.load(options.resume)
    pool = make_pool(
        options.pool,
        first_seed=0,
        pictures=options.pictures,
        size=options.image_size,
        workers=options.threads,
    )
    _log.info("%d pictures in %s", len(pool.images), options.pool)
    train(training, pool, options)
    if options.checkpoint is not None:
        training.save(options.checkpoint)
    served = ServedYolo(training.average.to(memory_format=torch.contiguous_format)).eval()
    export(served, options.output, options.image_size)
    precision = evaluate(
        served,
        first_seed=HELD_OUT_SEED,
        pictures=options.held_out,
        size=options.image_size,
    )
    result = {
        "model": str(options.output),
        "parameters": parameters,
        "steps": training.step,
        "minutes": round(training.elapsed_s / 60, 1),
        "pictures": options.held_out,
        **{name: round(value, 4) for name, value in precision.items()},
    }
    sys.stdout.write(json.dumps(result) + "\n")


if __name__ == "__main__":
    main()
