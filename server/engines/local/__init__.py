"""What engines share whose weights lie on this machine: text in the server's process, and messages to a process of theirs."""
