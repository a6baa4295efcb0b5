"""A class-balanced part of Fashion-MNIST that is shipped with the package; see NOTICE, make.py."""
