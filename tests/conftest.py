"""What holds for all tests."""

import signal

# A shell that starts something in the background has it ignore SIGINT, and so do all its children:
# the programs under test would not hear Ctrl-C.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
