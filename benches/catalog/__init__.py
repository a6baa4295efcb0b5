"""Known networks of torchvision and timm: their conversion, and the page about it."""
