"""What lives how long: buffers, threads, processes, the interpreter."""
