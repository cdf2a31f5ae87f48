"""How machine code is made: the decorator of kernels, and the threads that compile."""
