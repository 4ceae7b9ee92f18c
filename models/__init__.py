"""Networks only: backbones, segmentation head, losses, and the safetensors artefacts that hold them."""
