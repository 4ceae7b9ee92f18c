"""``stego pretrain METHOD``: a backbone from images alone."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from stego_app import LARGEST_SEED

METHODS_HELP = (
    "Of images: simclr, simclrv2, swav, simsiam, byol, barlow-twins, vicreg, mae, simmim, ijepa, dino, ibot, dinov2, lejepa, neco. "
    "Of clips: vjepa, vjepa2. Of lidar scans: also. See docs/pretraining.md."
)
"""Of the argument METHOD; written out, since the methods' own room is too slow to import for help."""


def pretrain_method(
    method: Annotated[str, typer.Argument(help=METHODS_HELP)],
    data: Annotated[
        list[Path],
        typer.Argument(
            help="Folders of images, tar files of images, or @LIST, a file that names them; for vjepa and vjepa2 clips or folders of them, "
            "for also folders of scans. Labels are not used, but by simclrv2 where --set label_fraction asks for it."
        ),
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="The backbone file to write.")],
    init: Annotated[str | None, typer.Option(help="Go on from this backbone: 'default', a file, a .pth, or any timm ViT name.")] = None,
    tune: Annotated[str, typer.Option(help="What to train of --init: all, last:N (its last N blocks), or lora[:RANK] (adapters, merged in the end).")] = "all",
    architecture: Annotated[str | None, typer.Option(help="A timm ViT name, for a random start; vit_small_patch16_224 if not given.")] = None,
    image_size: Annotated[int, typer.Option(min=8, help="Side of the crops in pixels.")] = 224,
    patch_size: Annotated[int | None, typer.Option(min=1, help="Side of a patch, for a random start.")] = None,
    depth: Annotated[int | None, typer.Option(min=1, help="Number of blocks, for a random start.")] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="Optimiser steps.")] = None,
    epochs: Annotated[float | None, typer.Option(help="Passes over the images, if no steps are given; 100 if neither is.")] = None,
    batch: Annotated[int | None, typer.Option(min=1, help="Images (or scans) a step, over all devices; the method's own, mostly 256, if not given.")] = None,
    accumulate: Annotated[int, typer.Option(min=1, help="Micro-batches a step.")] = 1,
    checkpointing: Annotated[bool, typer.Option(help="Recompute activations in the backward pass, to save memory.")] = False,
    learning_rate: Annotated[float | None, typer.Option(help="Peak for the method's own batch, scaled to the batch; the method's own if not given.")] = None,
    weight_decay: Annotated[float | None, typer.Option(help="AdamW's weight decay; the method's own if not given.")] = None,
    layer_decay: Annotated[float, typer.Option(help="Rate of a block over that of the next one.")] = 1.0,
    drop_path: Annotated[float, typer.Option(help="Stochastic depth of the last block.")] = 0.0,
    ema: Annotated[float, typer.Option(help="Keep an average of the weights with this momentum; for methods without a teacher.")] = 0.0,
    pair: Annotated[Path | None, typer.Option(help="A second modality with the same file names, such as depth; vicreg only.")] = None,
    option: Annotated[list[str] | None, typer.Option("--set", help="An option of the method, NAME=VALUE; an unknown NAME lists them. Repeatable.")] = None,
    health_every: Annotated[
        int | None, typer.Option(min=1, help="Steps between two checks; if not given a twentieth of the run, or 512 images' if more.")
    ] = None,
    checkpoint_every: Annotated[int, typer.Option(min=1, help="Steps between two checkpoints.")] = 200,
    workers: Annotated[int | None, typer.Option(min=0, help="Processes that prepare views; none on a CPU and 8 beside a GPU if not given.")] = None,
    accelerator: Annotated[str, typer.Option(help="Lightning's: auto, cpu, gpu.")] = "auto",
    devices: Annotated[str, typer.Option(help="Lightning's: a number, a list of them, or auto.")] = "1",
    num_nodes: Annotated[int, typer.Option(min=1, help="Lightning's: machines that train together.")] = 1,
    strategy: Annotated[str, typer.Option(help="Lightning's: auto, ddp.")] = "auto",
    precision: Annotated[str, typer.Option(help="auto (bf16-mixed where the processor has it), or Lightning's: bf16-mixed, 32-true.")] = "auto",
    file_precision: Annotated[str, typer.Option(help="How the file stores weights: fp32, fp16 or int8.")] = "fp16",
    seed: Annotated[int, typer.Option(min=0, max=LARGEST_SEED, help="The same seed gives the same weights on the same machine.")] = 0,
) -> None:
    """Pretrain with METHOD (simclr, byol, mae, dino, ...). Run again after an interruption to go on."""
    from models.errors import StegoError
    from pretrain.methods import check_method, load_method

    check_method(method)  # before all that takes seconds to load
    from pretrain.run import pretrain as run
    from pretrain.settings import make_pretrain_config, parse_options
    from stego_app.progress import terminal_progress

    if init is not None and architecture is not None:
        raise StegoError("--architecture is for a random start; a backbone given with --init has its own")
    config = make_pretrain_config(
        method=method,
        data=tuple(data),
        out=out,
        init=init,
        tune=tune,
        **({} if architecture is None else {"architecture": architecture}),
        image_size=image_size,
        patch_size=patch_size,
        depth=depth,
        steps=steps,
        epochs=epochs,
        batch=load_method(method).defaults.batch if batch is None else batch,
        accumulate=accumulate,
        checkpointing=checkpointing,
        learning_rate=learning_rate,
        weight_decay=weight_decay,
        layer_decay=layer_decay,
        drop_path=drop_path,
        ema=ema,
        pair=pair,
        options=parse_options(option or []),
        health_every=health_every,
        checkpoint_every=checkpoint_every,
        workers=workers,
        accelerator=accelerator,
        devices=devices,
        num_nodes=num_nodes,
        strategy=strategy,
        precision=precision,
        file_precision=file_precision,
        seed=seed,
    )
    with terminal_progress() as progress:
        run(config, progress=progress, say=typer.echo)
