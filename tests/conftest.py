"""What every test process starts from, whatever the shell that started it."""

import os
import signal

# Waiting OpenMP threads sleep: on a busy machine, two that spin run many times slower than one.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
# A shell's background jobs inherit an ignored Ctrl-C, and so would the programs that tests interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)
