"""A folded network on CUDA: Triton kernels for its blocks, torch.compile and CUDA graphs around them."""
