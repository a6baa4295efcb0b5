"""ResNet-20 on the whole of Fashion-MNIST: one recipe, trained by PyTorch and by us."""
