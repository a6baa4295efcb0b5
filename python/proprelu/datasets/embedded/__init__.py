"""A class-balanced part of Fashion-MNIST, shipped with the package; see NOTICE and make.py."""
