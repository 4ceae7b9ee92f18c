"""Networks on lidar scans: voxels, sparse convolutions in plain torch, a U-Net of them, and the file that holds it."""
